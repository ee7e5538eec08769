"""What a client says, and how it is answered (RFC 5321, 1870, 2033, 3030, 3207, 4954, 6152, 6409, 6531).

The verbs of a transaction come as typed events of the native reader. The rare ones come as lines and go through the
command table of aiosmtpd's class, whose syntax and session they use.
"""

import unicodedata
from base64 import b64encode
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

from aiosmtpd.smtp import Session, syntax

from esp.core.address import Address, parse_domain
from esp.core.envelope import MailParameters, Recipient
from esp.core.errors import AddressSyntaxError, EspError, InvalidError
from esp.core.sasl import Challenge, decoded
from esp.native import (
    SmtpBdat,
    SmtpChunkEnd,
    SmtpDeparture,
    SmtpLine,
    SmtpMail,
    SmtpMessage,
    SmtpPart,
    SmtpProblem,
    SmtpRcpt,
    SmtpVerb,
)
from esp.services import file_failures
from esp.services.certificates import HANDSHAKE_TIMEOUT, bindings_of
from esp.services.reception import Transaction
from esp.smtp.connection import SmtpConnection, Waiting
from esp.smtp.delivery import deliver
from esp.smtp.replies import FAULTS, OUT_OF_STEP, PROBLEMS, reply_for
from esp.telemetry.log import bind

if TYPE_CHECKING:
    import asyncio
    from ipaddress import IPv4Address, IPv6Address


class SmtpSession(SmtpConnection):
    """A connection to a `Door`, with all its verbs."""

    verbs: ClassVar[dict[str, Callable[["SmtpSession", str], Coroutine[Any, Any, None]]]] = {}
    """The `smtp_` methods by verb; aiosmtpd would search for them for each connection."""

    def _go_on(self, departure: SmtpDeparture) -> None:
        """Continue what the front has begun."""
        if self._closing:
            return
        session, mail = cast("Session", self.session), departure.mail
        if departure.hello is not None:
            session.host_name = departure.hello
        session.extended_smtp = departure.extended
        self._eof = self._eof or departure.ended
        if departure.data_left is not None:
            self._data_deadline = self.loop.time() + departure.data_left
        if mail is not None:
            self._transaction = self.door.reception.resume(
                self._who(smtputf8=False),
                path_of(mail.local_part, mail.domain),
                parameters_of(mail),
                departure.recipients,
            )
        if departure.unsent:
            cast("asyncio.Transport", self.transport).write(departure.unsent)
        self._count_errors(departure.errors)
        if departure.late:
            self.expire()
        else:
            self._resume()

    # --- the verbs of a transaction -----------------------------------------------------------------------------

    def _on_mail(self, mail: SmtpMail) -> Waiting | None:
        session = cast("Session", self.session)
        if not session.host_name:
            return self._answer(b"503 5.5.1 Send %s first" % self.door.hello, "MAIL")
        if self.door.submission and self.principal is None:
            # RFC 6409 §4.3.
            return self._answer(b"530 5.7.0 Authentication required", "MAIL")
        if self._transaction is not None:
            return self._answer(b"503 5.5.1 Nested MAIL", "MAIL")
        if mail.extended and not session.extended_smtp:
            return self._answer(b"555 5.5.4 Parameters need EHLO", "MAIL")
        if mail.ret is not None or mail.envid is not None:
            # DSN is not announced (RFC 5321 §4.1.1.11): RFC 3461 promises notifications, and nothing sends them yet.
            return self._answer(PROBLEMS["unknown-parameter"], "MAIL")
        if not (mail.ascii or mail.smtputf8):
            return self._answer(b"553 5.6.7 Non-ASCII address needs SMTPUTF8", "MAIL")
        try:
            reverse_path = path_of(mail.local_part, mail.domain)
        except AddressSyntaxError:
            return self._answer(b"553 5.1.7 Sender address syntax", "MAIL")
        try:
            transaction = self.door.reception.mail(
                self._who(smtputf8=mail.smtputf8), reverse_path, parameters_of(mail)
            )
        except EspError as error:
            return self._answer(reply_for(error), "MAIL")
        if self.door.submission:
            return self._authorise(transaction)
        self._transaction = transaction
        return self._answer(b"250 2.1.0 Sender OK", "MAIL")

    async def _authorise(self, transaction: Transaction) -> None:
        await self.door.reception.authorise(transaction)
        self._transaction = transaction
        self._reply(b"250 2.1.0 Sender OK", "MAIL")

    def _on_rcpt(self, rcpt: SmtpRcpt) -> Waiting | None:
        transaction = self._transaction
        if transaction is None:
            return self._answer(b"503 5.5.1 Need MAIL first", "RCPT")
        if self._chunking:
            return self._answer(b"503 5.5.1 BDAT has begun", "RCPT")
        if rcpt.extended and not cast("Session", self.session).extended_smtp:
            return self._answer(b"555 5.5.4 Parameters need EHLO", "RCPT")
        if rcpt.notify is not None or rcpt.orcpt is not None:
            return self._answer(PROBLEMS["unknown-parameter"], "RCPT")
        if not (rcpt.ascii or transaction.parameters.smtputf8):
            return self._answer(b"553 5.6.7 Non-ASCII address needs SMTPUTF8", "RCPT")
        try:
            address = path_of(rcpt.local_part, rcpt.domain) if rcpt.domain else None
        except AddressSyntaxError:
            return self._answer(b"553 5.1.3 Recipient address syntax", "RCPT")
        recipient = Recipient(address)
        try:
            if not self.door.reception.rcpt_at_once(transaction, recipient):
                return self._rcpt(transaction, recipient)
        except EspError as error:
            self._refuse(transaction, recipient, error)
            return None
        return self._answer(b"250 2.1.5 Recipient OK", "RCPT")

    async def _rcpt(self, transaction: Transaction, recipient: Recipient) -> None:
        try:
            await self.door.reception.rcpt(transaction, recipient)
        except EspError as error:
            self._refuse(transaction, recipient, error)
        else:
            self._reply(b"250 2.1.5 Recipient OK", "RCPT")

    def _refuse(self, transaction: Transaction, recipient: Recipient, error: EspError) -> None:
        self.log.info(
            "recipient_refused",
            transaction=transaction.id,
            recipient=str(recipient.address or "postmaster"),
            reason=error.detail,
        )
        self._reply(reply_for(error), "RCPT")

    def _on_verb(self, verb: SmtpVerb) -> None:
        if verb == SmtpVerb.DATA:
            self._on_data()
        elif verb == SmtpVerb.NOOP:
            self._reply(b"250 2.0.0 OK", "NOOP")
        elif verb == SmtpVerb.RSET:
            self._forget()
            self._reply(b"250 2.0.0 OK", "RSET")
        else:
            self._reply(b"221 2.0.0 %s Bye" % self.hostname.encode(), "QUIT")
            self._close()

    def _on_data(self) -> None:
        transaction = self._transaction
        if transaction is None:
            return self._reply(b"503 5.5.1 Need MAIL first", "DATA")
        if self._chunking:
            # RFC 3030 §2: DATA and BDAT cannot be mixed.
            return self._reply(b"503 5.5.1 BDAT has begun", "DATA")
        if not transaction.accepted:
            # RFC 2033 §4.2 for LMTP, RFC 5321 §3.3 for SMTP.
            return self._reply(b"503 5.5.1 No valid recipients", "DATA")
        self.native.begin_data(strip_bcc=self.door.reception.strip_bcc)
        self._data_deadline = self.loop.time() + self.door.data_timeout
        return self._reply(b"354 End data with <CR><LF>.<CR><LF>", "DATA")

    def _on_bdat(self, bdat: SmtpBdat) -> None:
        """The chunk follows whatever the reply; the reply waits for the end of the chunk (RFC 3030 §2)."""
        transaction = self._transaction
        if self._data_deadline is None:
            self._data_deadline = self.loop.time() + self.door.data_timeout
        if transaction is None:
            self._refused = b"503 5.5.1 Need MAIL first"
        elif not transaction.accepted:
            self._refused = b"503 5.5.1 No valid recipients"
        elif bdat.size > self.door.max_message_size:
            # RFC 3030 §2: the chunk is read all the same. A client cut off while sending never reads why.
            self._refused = FAULTS["too-large"]
        else:
            self._chunking = True
            self._refused = None
            self.native.keep_chunk(strip_bcc=self.door.reception.strip_bcc)

    def _on_chunk_end(self, end: SmtpChunkEnd) -> None:
        if not end.kept:
            refused, transaction = self._refused or b"503 5.5.1 Not expected", self._transaction
            # RFC 2033 §4.2: at the end of a message each recipient has a reply.
            each = self.door.lmtp and end.last and transaction is not None and transaction.accepted
            self._reply_each([refused] * len(each or (None,)), "BDAT")
            self._refused = None
            if refused == FAULTS["too-large"]:
                self._forget()
            elif not self._chunking:
                self._data_deadline = None
        elif end.fault is not None:
            # RFC 3030 §2: the transaction is over; chunks that are already on their way find none open.
            self._reply(FAULTS[end.fault], "BDAT")
            self._forget()
        else:
            self._reply(b"250 2.0.0 Chunk OK", "BDAT")

    def _on_part(self, part: SmtpPart) -> Waiting:
        return self._write(part.octets)

    async def _write(self, octets: bytes) -> None:
        if self._spool_error is not None:
            return
        try:
            if self._spool is None:
                self._spool = await self.loop.run_in_executor(None, self.door.spool)
            await self.loop.run_in_executor(None, self._spool.write, octets)
        except OSError as error:
            self.log.warning("spool_failed", error=str(error))
            self._spool_error = file_failures.meaning_of(error)

    async def _on_message(self, message: SmtpMessage) -> None:
        transaction = cast("Transaction", self._transaction)
        if message.fault is None and self._spool is not None and message.rest:
            await self._write(message.rest)
        spool, error = self._spool, self._spool_error
        # The transaction ends here for the client; what follows only needs `transaction`.
        self._spool = None
        self._forget()

        def answer(replies: list[bytes]) -> None:
            if self._closing:
                self.log.info(
                    "client_left_before_reply",
                    transaction=transaction.id,
                    replies=[reply.decode() for reply in replies],
                )
            self._reply_each(replies, "MESSAGE")
            self._flush()

        try:
            await deliver(self.door, self.log, transaction, message, answer, spool=spool, error=error)
        finally:
            if spool is not None:
                spool.close()

    def _on_problem(self, problem: SmtpProblem) -> None:
        self._reply(PROBLEMS[problem.kind], "")
        if problem.kind in OUT_OF_STEP:
            self._close()

    # --- rare verbs ---------------------------------------------------------------------------------------------

    def _on_line(self, line: SmtpLine) -> Waiting | None:
        verb, _, argument = line.octets.partition(b" ")
        method = self.verbs.get(verb.decode("ascii", "replace").upper())
        if method is None or method.__name__ in self.door.hidden:
            return self._answer(b"500 5.5.1 Command not recognized", "")
        waiting = method(self, argument.strip().decode("utf-8", "replace"))
        if method not in _WAIT_FOR_NOTHING:
            return waiting
        try:
            waiting.send(None)
        except StopIteration:
            return None
        raise RuntimeError(f"{method.__name__} waits")

    @syntax("HELO hostname")
    async def smtp_HELO(self, hostname: str) -> None:  # noqa: N802 - aiosmtpd's name, as below
        """`HELO` (RFC 5321 §4.1.1.1)."""
        if not hostname:
            return self._reply(b"501 5.5.4 Syntax: HELO hostname", "HELO")
        self._greeted(hostname, extended=False)
        return self._reply(b"250 " + self.hostname.encode(), "HELO")

    @syntax("EHLO hostname")
    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802
        """`EHLO`."""
        if not hostname:
            return self._reply(b"501 5.5.4 Syntax: %s hostname" % self.door.hello, "EHLO")
        self._greeted(hostname, extended=True)
        features = self.door.features(
            tls=bool(self._tls_protocol), login=self._may_log_in(), bound=self._binding is not None
        )
        return self._reply(features, "EHLO")

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, hostname: str) -> None:  # noqa: N802
        """`LHLO` (RFC 2033 §4.1)."""
        await self.smtp_EHLO(hostname)

    def _greeted(self, hostname: str, *, extended: bool) -> None:
        # RFC 5321 §4.1.4: as if RSET had been sent.
        self._forget()
        self._client = None
        session = cast("Session", self.session)
        session.host_name = hostname
        session.extended_smtp = extended

    @syntax("VRFY address")
    async def smtp_VRFY(self, arg: str) -> None:  # noqa: N802
        """`VRFY`: refers to RCPT, which tells as much but is counted."""
        if not arg:
            return self._reply(b"501 5.5.4 Syntax: VRFY address", "VRFY")
        return self._reply(b"252 2.5.0 Cannot VRFY user, but will take mail and try", "VRFY")

    async def smtp_EXPN(self, _arg: str) -> None:  # noqa: N802
        """`EXPN`: refused, nobody may ask who is on a list (RFC 5321 §7.3)."""
        self._reply(b"502 5.5.1 EXPN not implemented", "EXPN")

    @syntax("HELP [command]")
    async def smtp_HELP(self, arg: str) -> None:  # noqa: N802
        """`HELP`."""
        verb = arg.upper()
        method = self.verbs.get(verb)
        if method is not None and method.__name__ not in self.door.hidden:
            return self._reply(
                b"214 2.0.0 Syntax: " + getattr(method, "__smtp_syntax__", verb).encode(), "HELP"
            )
        known = sorted({*self.verbs, "BDAT"} - {name.removeprefix("smtp_") for name in self.door.hidden})
        return self._reply(b"214 2.0.0 Commands: " + " ".join(known).encode(), "HELP")

    @syntax("AUTH mechanism [initial-response]")
    async def smtp_AUTH(self, arg: str) -> None:  # noqa: N802
        """`AUTH` (RFC 4954)."""
        session = cast("Session", self.session)
        authentication = self.door.authentication
        if not session.extended_smtp or authentication is None:
            return self._reply(b"503 5.5.1 Send EHLO first", "AUTH")
        if self.principal is not None or self._transaction is not None:
            return self._reply(b"503 5.5.1 Not now", "AUTH")
        if not self._may_log_in():
            return self._reply(b"538 5.7.11 Encryption required", "AUTH")
        mechanism, _, initial = arg.partition(" ")
        if not mechanism:
            return self._reply(b"501 5.5.4 Syntax: AUTH mechanism [initial-response]", "AUTH")
        bindings = bindings_of(self._binding, cast("asyncio.Transport", self.transport))
        try:
            exchange = authentication.exchange(
                mechanism, remote=str(self._address), door=self.door.name, bindings=bindings
            )
        except InvalidError:
            return self._reply(b"504 5.5.4 Mechanism not offered", "AUTH")
        try:
            response = decoded(initial.encode(), initial=True) if initial else None
            # The outcome of the login is logged by the service that decides it.
            with bind(connection=self.number):
                while isinstance(step := await exchange.respond(response), Challenge):
                    self._reply(b"334 " + b64encode(step.data), "AUTH")
                    line = await self.readline()
                    if isinstance(line, SmtpProblem):
                        return self._on_broken_exchange(line)
                    response = decoded(line.octets)
        except InvalidError as error:
            # RFC 4954 §4: a client that cancels gets this reply, too.
            return self._reply(b"501 5.5.2 " + error.detail.encode(), "AUTH")
        except EspError as error:
            return self._reply(reply_for(error), "AUTH")
        self.principal = step
        self._client = self._log = None
        return self._reply(b"235 2.7.0 Authentication successful", "AUTH")

    def _on_broken_exchange(self, problem: SmtpProblem) -> None:
        if problem.kind == "line-too-long":
            # RFC 4954 §6.
            return self._reply(b"500 5.5.6 Authentication exchange line is too long", "AUTH")
        return self._on_problem(problem)

    def _may_log_in(self) -> bool:
        return self.door.submission and (
            bool(self._tls_protocol)
            or self.door.plaintext_login(cast("IPv4Address | IPv6Address", self._address))
        )

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        """`STARTTLS` (RFC 3207)."""
        if arg:
            return self._reply(b"501 5.5.4 No argument allowed", "STARTTLS")
        if self._tls_protocol:
            return self._reply(b"503 5.5.1 TLS is active", "STARTTLS")
        if self.door.tls is None:
            return self._reply(b"502 5.5.1 TLS not available", "STARTTLS")
        if self.native.buffered:
            # RFC 3207 §4: the client must wait for the 220. What came before it may be from somebody else.
            self._reply(b"503 5.5.0 Nothing may follow STARTTLS before the reply", "STARTTLS")
            return self._close()
        self._reply(b"220 2.0.0 Ready to start TLS", "STARTTLS")
        self._flush()
        transport = cast("asyncio.Transport", self.transport)
        self._forget()
        upgraded: asyncio.Transport | None = None
        try:
            upgraded = await self.loop.start_tls(
                transport, self, self.door.tls, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
            )
        finally:
            if upgraded is None:
                # asyncio does not tell us of it: between two transports the connection belongs to neither.
                self._abort()
                self.connection_lost(None)
        if upgraded is None or self._closing:
            return self._abort()
        self.transport = upgraded
        self._read_paused = False
        self._remember_tls(upgraded)
        # RFC 3207 §4.2: nothing that the client said in clear text is remembered.
        self.native.discard()
        self._client = self._log = None
        self.principal = None
        session = cast("Session", self.session)
        session.host_name = None
        session.extended_smtp = False
        return None


_WAIT_FOR_NOTHING = {SmtpSession.smtp_HELO, SmtpSession.smtp_EHLO, SmtpSession.smtp_LHLO}
"""These wait for nothing, but are coroutines as in aiosmtpd. A task for each would be costly: every connection sends
one."""

SmtpSession.handlers = {
    SmtpMail: SmtpSession._on_mail,
    SmtpRcpt: SmtpSession._on_rcpt,
    SmtpVerb: SmtpSession._on_verb,
    SmtpBdat: SmtpSession._on_bdat,
    SmtpChunkEnd: SmtpSession._on_chunk_end,
    SmtpPart: SmtpSession._on_part,
    SmtpMessage: SmtpSession._on_message,
    SmtpProblem: SmtpSession._on_problem,
    SmtpLine: SmtpSession._on_line,
}
SmtpSession.verbs = {
    name.removeprefix("smtp_"): getattr(SmtpSession, name)
    for name in dir(SmtpSession)
    if name.startswith("smtp_")
}


@lru_cache(maxsize=4096)
def path_of(local_part: str, domain: str) -> Address | None:
    """Return the address of a path, or `None` for the null path; the native reader has checked the grammar.

    Raises:
        AddressSyntaxError: the domain is invalid.
    """
    if not local_part and not domain:
        return None
    # A domain of letters, digits and dots in lower case is already in its one form.
    plain = domain.isascii() and not domain.startswith("[")
    # RFC 6532 §3.1: the same text must not be two addresses.
    return Address(unicodedata.normalize("NFC", local_part), domain if plain else parse_domain(domain))


def parameters_of(mail: SmtpMail) -> MailParameters:
    """Return what a delivery has to know of MAIL's parameters."""
    return MailParameters(mail.size or 0, mail.smtputf8)
