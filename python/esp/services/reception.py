"""Incoming mail: who may send what to whom, and where it goes (RFC 5321 §3.3, RFC 2033).

In: what a door read, stage by stage. Out: a transaction, or the error to answer with. Recipients are decided at RCPT
and never later, so that after DATA no accepted recipient is refused while others get the message. Reply codes are not
known here.
"""

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from esp.core.address import Address
from esp.core.envelope import Accepted, Arrived, Client, MailParameters, Recipient
from esp.core.errors import (
    EspError,
    MailLoopError,
    NotFoundError,
    OverQuotaError,
    TooLargeError,
    TooManyRecipientsError,
    UnavailableError,
)
from esp.core.principal import AccountId, Principal
from esp.core.quota import Quota
from esp.core.routing import LocalTarget, NoSuchUser, Resolution, route
from esp.core.trace import authentication_results, date_time, received, return_path
from esp.native import Spool
from esp.services.dispatch import Incoming, Placed, Target

MAX_HOPS = 100
"""RFC 5321 §6.3: a large limit, at least 100 Received fields."""


class Directory(Protocol):
    """Whose an address is (see `services.directory`)."""

    def remembered(self, recipient: Address) -> tuple[tuple[LocalTarget, ...], list[Quota]] | None: ...
    async def resolve(self, recipient: Address) -> Resolution: ...
    async def postmaster(self) -> Resolution: ...
    async def folder(self, target: LocalTarget, poster: AccountId | None) -> LocalTarget: ...
    async def quota(self, account: AccountId) -> Quota: ...
    async def owns(self, account: AccountId, address: Address) -> bool: ...


class Deliverer(Protocol):
    """Makes a message durable (`services.dispatch`)."""

    async def deliver(self, incoming: Incoming) -> tuple[Placed, ...]: ...


class Located(msgspec.Struct, frozen=True):
    """A recipient, with the quotas of its accounts."""

    accepted: Accepted
    quotas: Sequence[Quota]
    """One for each of the recipient's targets."""

    def check(self, size: int) -> None:
        """Check that there is room for a message of `size` octets.

        Raises:
            OverQuotaError: one of the accounts has no room.
        """
        if not all(quota.fits(size) for quota in self.quotas):
            raise OverQuotaError("The mailbox is full")

    @property
    def room(self) -> int | None:
        """Octets that the fullest account may still keep; `None` if none has a limit."""
        return min(
            (quota.limit - quota.used for quota in self.quotas if quota.limit is not None), default=None
        )


class Transaction:
    """A mail transaction, from MAIL to the end of DATA, or RSET."""

    __slots__ = ("accepted", "client", "id", "octets_left", "parameters", "reverse_path")

    def __init__(
        self, id_: str, client: Client, reverse_path: Address | None, parameters: MailParameters
    ) -> None:
        self.id = id_
        self.client = client
        self.reverse_path = reverse_path
        self.parameters = parameters
        self.accepted: list[Accepted] = []
        self.octets_left: int | None = None
        """What the fullest account of the recipients may still keep, as of RCPT."""

    def targets(self) -> list[LocalTarget]:
        """Return every inbox once, however many recipients lead to it."""
        found: dict[int, LocalTarget] = {}
        for accepted in self.accepted:
            for target in accepted.targets:
                found[target.mailbox] = target
        return list(found.values())


class Reception:
    """Mail from any client, for our own accounts only."""

    strip_bcc = False

    def __init__(
        self,
        *,
        directory: Directory,
        dispatch: Deliverer,
        hostname: str,
        max_message_size: int,
        max_recipients: int,
        numbers: Iterator[int] | None = None,
    ) -> None:
        """Make it.

        Args:
            directory: knows whose an address is.
            dispatch: makes messages durable.
            hostname: our own.
            max_message_size: in octets.
            max_recipients: of one transaction.
            numbers: numbers for the transactions, shared by the receptions of one process so that no two transactions
                have the same id; by default, the reception has its own.
        """
        self._directory = directory
        self._dispatch = dispatch
        self._hostname = hostname
        self._max_message_size = max_message_size
        self._max_recipients = max_recipients
        self._numbers = itertools.count(1) if numbers is None else numbers
        self._id_prefix = f"{os.getpid():x}.{int(time.time()):x}."
        self._date_cache = (0, "")

    def mail(self, client: Client, reverse_path: Address | None, parameters: MailParameters) -> Transaction:
        """Begin a transaction.

        Raises:
            TooLargeError: the declared size is above the limit.
        """
        if parameters.size > self._max_message_size:
            raise TooLargeError(f"Messages have at most {self._max_message_size} octets")
        return Transaction(self._next_id(), client, reverse_path, parameters)

    async def authorise(self, transaction: Transaction) -> None:
        """Let the client use its reverse-path: it has not logged in, so nobody can tell whose address that is."""

    def rcpt_at_once(self, transaction: Transaction, recipient: Recipient) -> bool:
        """Add a recipient if all about it is remembered, and tell whether it was; otherwise call `rcpt`.

        Raises:
            TooManyRecipientsError, OverQuotaError: as `rcpt` says.
        """
        self._check_number(transaction)
        located = self.remembered(recipient)
        if located is None:
            return False
        _accept(transaction, located)
        return True

    async def rcpt(self, transaction: Transaction, recipient: Recipient) -> None:
        """Add a recipient.

        Raises:
            TooManyRecipientsError: the transaction is full.
            NotFoundError: nobody has the address.
            RelayDeniedError: the address is elsewhere.
            NoRouteError: the address is elsewhere, and the client would be allowed to send there.
            AccountDisabledError: the account is disabled.
            OverQuotaError: the account has no room for a message of the declared size.
            UnavailableError: the database does not answer.
        """
        self._check_number(transaction)
        _accept(transaction, await self.locate(recipient, transaction.client.principal))

    def remembered(self, recipient: Recipient) -> Located | None:
        """Return where a recipient's mail goes, if that is remembered."""
        known = None if recipient.address is None else self._directory.remembered(recipient.address)
        return None if known is None else Located(Accepted(recipient, known[0]), known[1])

    async def locate(self, recipient: Recipient, principal: Principal | None = None) -> Located:
        """Return where a recipient's mail goes; the client is `principal`, or unknown.

        Raises:
            EspError: as `rcpt` says, except for what depends on the transaction.
        """
        decision = route(await self._resolve(recipient.address), authenticated=principal is not None)
        if isinstance(decision, EspError):
            raise decision
        poster = principal.account if principal is not None else None
        targets = tuple([await self._directory.folder(target, poster) for target in decision])
        quotas = [await self._directory.quota(target.account) for target in targets]
        return Located(Accepted(recipient, targets), quotas)

    def resume(
        self,
        client: Client,
        reverse_path: Address | None,
        parameters: MailParameters,
        recipients: Sequence[Located],
    ) -> Transaction:
        """Return a transaction whose reverse-path and recipients were accepted already."""
        transaction = Transaction(self._next_id(), client, reverse_path, parameters)
        for located in recipients:
            _add(transaction, located)
        return transaction

    async def data(
        self, transaction: Transaction, body: bytes | Spool, arrived: Arrived
    ) -> tuple[Placed, ...]:
        """Deliver to all recipients, or to none.

        Raises:
            MailLoopError: the message went through too many servers.
            OverQuotaError: the message is larger than was declared, and too large for one of the recipients.
            StorageFullError, UnavailableError: as `Dispatch.deliver` says.
        """
        self._check(transaction, arrived)
        try:
            return await self._deliver(transaction, transaction.targets(), body, arrived)
        except NotFoundError as error:
            # A mailbox was deleted after RCPT. The others exist: at the next attempt RCPT tells them apart.
            raise _later(error) from error

    async def data_for_each(
        self, transaction: Transaction, body: bytes | Spool, arrived: Arrived
    ) -> Sequence[EspError | None]:
        """Deliver, and return the outcome for each recipient, in their order (RFC 2033 §4.2)."""
        try:
            self._check(transaction, arrived)
            await self._deliver(transaction, transaction.targets(), body, arrived)
        except (OverQuotaError, NotFoundError) as error:
            # One recipient failed; the others must get the message. A spooled body is used up by the first try.
            if not isinstance(body, bytes) or len(transaction.accepted) == 1:
                return [_later(error)] * len(transaction.accepted)
        except EspError as error:
            return [error] * len(transaction.accepted)
        else:
            return [None] * len(transaction.accepted)
        outcomes: list[EspError | None] = []
        delivered: set[int] = set()
        for accepted in transaction.accepted:
            targets = [target for target in accepted.targets if target.mailbox not in delivered]
            try:
                if targets:
                    await self._deliver(transaction, targets, body, arrived)
            except EspError as error:
                outcomes.append(error)
            else:
                delivered.update(target.mailbox for target in targets)
                outcomes.append(None)
        return outcomes

    def _next_id(self) -> str:
        return f"{self._id_prefix}{next(self._numbers):x}"

    def _check_number(self, transaction: Transaction) -> None:
        if len(transaction.accepted) >= self._max_recipients:
            raise TooManyRecipientsError(f"At most {self._max_recipients} recipients at once")

    async def _resolve(self, address: Address | None) -> Resolution:
        if address is None:
            return await self._directory.postmaster()
        resolution = await self._directory.resolve(address)
        # RFC 5321 §4.5.1: every domain of ours has a postmaster, even if no such address was created.
        if isinstance(resolution, NoSuchUser) and address.local_part.lower() == "postmaster":
            return await self._directory.postmaster()
        return resolution

    def _check(self, transaction: Transaction, arrived: Arrived) -> None:
        if arrived.received > MAX_HOPS:
            raise MailLoopError(f"More than {MAX_HOPS} Received fields")
        if transaction.octets_left is not None and arrived.size > transaction.octets_left:
            raise OverQuotaError("The message is larger than the room left in a mailbox")

    async def _deliver(
        self,
        transaction: Transaction,
        targets: Sequence[LocalTarget],
        body: bytes | Spool,
        arrived: Arrived,
    ) -> tuple[Placed, ...]:
        incoming = Incoming(
            prefix=self._trace_lines(transaction, arrived),
            body=body,
            targets=tuple([Target(target.account, target.mailbox, target.folder) for target in targets]),
        )
        return await self._dispatch.deliver(incoming)

    def _trace_lines(self, transaction: Transaction, arrived: Arrived) -> bytes:
        """Return the lines above the message; they are the same for all recipients, which share one file."""
        only = transaction.accepted[0].recipient.address if len(transaction.accepted) == 1 else None
        client = transaction.client
        return (
            return_path(transaction.reverse_path)
            # RFC 8601 §4.1: above the Received of the server that checked.
            + authentication_results(client, self._hostname)
            + received(client, self._hostname, transaction.id, only, self._date())
        )

    def _date(self) -> str:
        second = int(time.time())
        if self._date_cache[0] != second:
            self._date_cache = (second, date_time(datetime.fromtimestamp(second, UTC)))
        return self._date_cache[1]


def _accept(transaction: Transaction, located: Located) -> None:
    """Add a recipient whose inboxes all have room, as far as that is known before the message."""
    located.check(max(transaction.parameters.size, 1))
    _add(transaction, located)


def _add(transaction: Transaction, located: Located) -> None:
    room, left = located.room, transaction.octets_left
    if room is not None:
        transaction.octets_left = room if left is None else min(left, room)
    transaction.accepted.append(located.accepted)


def _later(error: EspError) -> EspError:
    """Make one recipient's permanent error a temporary one for the recipients that it does not concern."""
    return error if error.transient else UnavailableError("Delivery failed; try again")
