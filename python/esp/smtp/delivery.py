"""What becomes of a message that came completely, and what its client is told (RFC 5321 §4.2.5, RFC 2033 §4.2)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from esp.core.envelope import Arrived
from esp.core.errors import EspError
from esp.native import SmtpMessage, Spool
from esp.smtp.replies import FAULTS, LOCAL_ERROR, reply_for
from esp.telemetry.log import Logger, cause_of

if TYPE_CHECKING:
    from esp.services.reception import Transaction
    from esp.smtp.door import Door


async def deliver(
    door: "Door",
    log: Logger,
    transaction: "Transaction",
    message: SmtpMessage,
    answer: Callable[[list[bytes]], None],
    *,
    spool: Spool | None = None,
    error: EspError | None = None,
) -> None:
    """Deliver a message, answer its client, then log the outcome: in this order, for the client waits.

    Args:
        door: where it came in.
        log: gets the outcome.
        transaction: the reverse-path and the recipients.
        message: its octets, or those that are not in the spool.
        answer: takes the replies to the message: one, or with LMTP one for each recipient.
        spool: all octets of a large message.
        error: why the spool could not be written.
    """
    recipients = len(transaction.accepted)
    answers = recipients if door.lmtp else 1
    if message.fault is not None:
        answer([FAULTS[message.fault]] * answers)
        log.info(
            "message_refused",
            source=__name__,
            transaction=transaction.id,
            reason=message.fault,
            size=message.size,
        )
        return
    body: bytes | Spool = message.rest if spool is None else spool
    arrived = Arrived(message.size, message.received, message.has_date, message.has_message_id)
    accepted = b"250 2.0.0 OK %s" % transaction.id.encode()
    outcomes: Sequence[EspError | None] = [None] * recipients
    try:
        if error is not None:
            raise error
        if door.lmtp:
            outcomes = await door.reception.data_for_each(transaction, body, arrived)
        else:
            await door.reception.data(transaction, body, arrived)
    except EspError as failure:
        answer([reply_for(failure)] * answers)
        log.warning(
            "message_refused",
            source=__name__,
            transaction=transaction.id,
            reason=failure.detail,
            cause=cause_of(failure),
            size=message.size,
        )
    except Exception:
        # Whether it was delivered is unknown. The reply is temporary: a double is better than a loss.
        answer([LOCAL_ERROR] * answers)
        log.exception("delivery_failed", source=__name__, transaction=transaction.id)
    else:
        answer([accepted if outcome is None else reply_for(outcome) for outcome in outcomes[:answers]])
        if delivered := _tell_refused(log, transaction, outcomes):
            log.info(
                "message_accepted",
                source=__name__,
                transaction=transaction.id,
                peer=transaction.client.address,
                reverse_path=str(transaction.reverse_path or ""),
                recipients=delivered,
                size=message.size,
            )
            door.accepted(message.size)


def _tell_refused(log: Logger, transaction: "Transaction", outcomes: Sequence[EspError | None]) -> int:
    """Log the recipients that did not get the message after all; return how many did."""
    for accepted, outcome in zip(transaction.accepted, outcomes, strict=True):
        if outcome is not None:
            log.warning(
                "recipient_refused",
                source=__name__,
                transaction=transaction.id,
                recipient=str(accepted.recipient.address or "postmaster"),
                reason=outcome.detail,
                cause=cause_of(outcome),
            )
    return outcomes.count(None)
