"""Mail from our own users (RFC 6409): they send as themselves, and missing header fields are added."""

from esp.core.envelope import Arrived
from esp.core.errors import SenderDeniedError
from esp.services.reception import Reception, Transaction


class Submission(Reception):
    """Mail from principals."""

    # RFC 6409 §8 allows it, and RFC 5322 §3.6.3 asks for it: a client that leaves Bcc in does not know better.
    strip_bcc = True

    async def authorise(self, transaction: Transaction) -> None:
        """Let the principal send as itself; the null path is for receipts (RFC 8098 §3).

        Raises:
            SenderDeniedError: it does not own the reverse-path.
            UnavailableError: the database does not answer.
        """
        principal, reverse_path = transaction.client.principal, transaction.reverse_path
        if principal is None or (
            reverse_path is not None and not await self._directory.owns(principal.account, reverse_path)
        ):
            raise SenderDeniedError("You may not send from this address")

    def _trace_lines(self, transaction: Transaction, arrived: Arrived) -> bytes:
        lines = super()._trace_lines(transaction, arrived)
        # RFC 6409 §8.2, §8.3.
        if not arrived.has_date:
            lines += f"Date: {self._date()}\r\n".encode()
        if not arrived.has_message_id:
            lines += f"Message-ID: <{transaction.id}@{self._hostname}>\r\n".encode()
        return lines
