"""What the server knows of one client: who it is, what it has selected, what it has enabled (RFC 3501 §3)."""

import asyncio
from collections.abc import Iterable, Sequence
from traceback import format_exception
from typing import TYPE_CHECKING

from esp.core.annotation import LONGEST_VALUE
from esp.core.errors import EspError, NotFoundError
from esp.core.mailbox import MailboxId
from esp.core.principal import Principal
from esp.core.rights import Rights, settable_flags
from esp.imap import commands, responses
from esp.imap.capabilities import capabilities
from esp.imap.connection import Connection, Event
from esp.imap.progress import Progress
from esp.imap.selected import Selected
from esp.native import (
    AppendLiteral,
    AppendOctets,
    AppendUrl,
    BadCommand,
    Command,
    CommandReader,
    ContinueRequest,
    RawLine,
)
from esp.telemetry import metrics
from esp.telemetry.log import Logger, bind, cause_of, get_logger

if TYPE_CHECKING:
    from esp.imap.appending import Append
    from esp.imap.notifying import Notification
    from esp.imap.server import ImapServer
    from esp.services.access import Reached

log = get_logger(__name__)

MOST_BAD_COMMANDS = 20
"""In a row; a client that sends so many does not speak IMAP."""


class Session:
    """Handles the events of one connection, one at a time."""

    __slots__ = ("_following", "append", "appended_to", "bad_commands", "condstore", "connection", "door",
                 "failed_logins", "idle_tag", "imap4rev2", "notification", "number", "principal", "progress",
                 "qresync", "selected", "trusted", "uidonly", "utf8_accept")  # fmt: skip

    def __init__(self, door: "ImapServer") -> None:
        self.door = door
        self.number = next(door.numbers)
        """The connection's number in the log; never used twice in one process."""
        self.connection = Connection(
            self,
            CommandReader(max_append=door.settings.max_literal, max_annotation=LONGEST_VALUE),
            door.settings.login_timeout,
        )
        self.principal: Principal | None = None
        self.selected: Selected | None = None
        self.append: Append | None = None
        self.appended_to: Reached | None = None
        """The client's own mailbox that it last added a message to: a client seldom adds only one."""
        self.idle_tag: str | None = None
        self.condstore = False
        self.qresync = False
        self.progress = Progress(self.connection, "", 0)
        self.uidonly = False
        self.imap4rev2 = False
        self.utf8_accept = False
        self.notification: Notification | None = None
        self.trusted = False
        """Whether it comes from a network that may log in without TLS."""
        self.bad_commands = 0
        self.failed_logins = 0
        self._following: asyncio.Task[None] | None = None

    # Facts

    @property
    def log(self) -> Logger:
        """Logs with the number of the connection, and with the account that has logged in."""
        return log.bind(**self._context())

    def _context(self) -> dict[str, object]:
        return {"connection": self.number, "user": None if self.principal is None else self.principal.address}

    @property
    def owner(self) -> Principal:
        """The account that is logged in; commands that need it are not allowed before."""
        assert self.principal is not None
        return self.principal

    @property
    def may_show_password(self) -> bool:
        """Whether a password may be sent over this connection (RFC 3501 §6.2.3)."""
        return self.connection.secure or self.trusted

    def capabilities(self) -> str:
        """Return the capability list as it is now."""
        mechanisms: tuple[str, ...] = ()
        if self.may_show_password:
            bound = self.connection.binding is not None
            mechanisms = self.door.authentication.mechanisms(bound=bound)
        return capabilities(
            authenticated=self.principal is not None,
            starttls=self.door.tls is not None and not self.connection.secure,
            mechanisms=mechanisms,
            append_limit=self.door.settings.max_literal,
            save_limit=self.door.settings.save_limit,
            compressed=self.connection.compressed,
            unauthenticate=self.door.settings.unauthenticate,
            admin=self.principal is not None and self.principal.admin,
        )

    # Responses

    def untagged(self, response: str) -> None:
        """Write an untagged response."""
        self.connection.write(f"* {response}\r\n".encode())

    def tagged(self, tag: str, response: str) -> None:
        """Write the response that completes a command."""
        self.connection.write(f"{tag} {response}\r\n".encode())

    def bye(self, reason: str) -> None:
        """Say BYE with the reason, and close."""
        self.untagged(f"BYE {reason}")
        self.connection.close()

    # Events

    async def opened(self) -> None:
        """Greet (RFC 3501 §7.1.1, §7.1.5)."""
        if (reason := self.door.admit(self)) is not None:
            self.bye(reason)
            return
        self.trusted = self.door.is_plaintext_network(self.connection.peer)
        self.untagged(f"OK [CAPABILITY {self.capabilities()}] {self.door.hostname} ready")

    async def handle(self, event: Event) -> None:
        """Answer an event of the reader."""
        match event:
            case Command():
                await self._command(event)
            case AppendOctets():
                await commands.append_octets(self, event)
            case AppendLiteral():
                await commands.append_literal(self, event)
            case AppendUrl():
                await commands.append_url(self, event)
            case ContinueRequest():
                self.connection.write(b"+ OK\r\n")
            case RawLine():
                await commands.end_idle(self, event)
            case BadCommand():
                self._bad(event)
        if self.notification is not None:
            await self.notification.push()
        if self.selected is not None:
            await self.selected.contexts.fetch(self)

    async def _command(self, command: Command) -> None:
        started = asyncio.get_running_loop().time()
        name = command.name
        try:
            with bind(**self._context()):
                response = await commands.execute(self, command)
            if self.selected is not None and response is not None:
                await self.selected.contexts.settle(self)
        except responses.Refusal as refusal:
            response = refusal.response
        except EspError as error:
            if error.transient:
                self.log.warning("command_failed", command=name, error=repr(error), cause=cause_of(error))
            response = responses.response_for(error)
        finally:
            self.forget_append()
        if response is None:
            return  # the command goes on (IDLE), or has written its last response itself
        self.tagged(command.tag, response)
        outcome = response.partition(" ")[0]
        self.bad_commands = self.bad_commands + 1 if outcome == "BAD" else 0
        self._check_manners()
        metrics.IMAP_COMMANDS.labels(name, outcome).inc()
        metrics.IMAP_COMMAND_SECONDS.labels(name).observe(asyncio.get_running_loop().time() - started)
        if self.selected is not None and self.selected.opened.deleted:
            self._mailbox_gone()
        elif self.door.draining:
            self.bye("The server is going down")

    def forget_append(self) -> None:
        """Let go of messages that are coming."""
        if self.append is not None:
            self.append.close()
            self.append = None

    def _bad(self, event: BadCommand) -> None:
        self.forget_append()
        if event.unsaved and self.selected is not None:
            self.selected.view.save([])
        self.tagged(event.tag or "*", event.response)
        self.bad_commands += 1
        if event.fatal:
            self.bye("The connection cannot be followed any longer")
        else:
            self._check_manners()

    def _check_manners(self) -> None:
        if self.bad_commands >= MOST_BAD_COMMANDS:
            self.bye("Too many bad commands")

    # Changes of the selected mailbox

    async def refresh(self, *, ask: bool = False) -> None:
        """Bring the selected mailbox up to date before a command; the command goes on even if the database fails.

        Raises:
            NotFoundError: the mailbox was deleted.
        """
        if self.selected is not None:
            try:
                await self.selected.opened.refresh(ask=ask)
            except NotFoundError:
                raise
            except EspError as error:
                self.log.warning("refresh_failed", error=repr(error))

    async def follow_rights(self) -> bool:
        """Take the rights on the selected mailbox as they are now; return whether it is still selected.

        Raises:
            NotFoundError: the mailbox was deleted.
            UnavailableError: the rights cannot be read.
        """
        # A client that saw a right withdrawn may send its next command before the notification of that has come.
        await self.refresh(ask=self.selected is not None and not self.selected.own)
        selected = self.selected
        if selected is None or selected.acl_version == selected.opened.acl_version:
            return selected is not None
        rights, version = await self.door.sharing.rights_now(self.owner, selected.opened.mailbox)
        selected.rights, selected.acl_version = rights, version
        if Rights.READ not in rights:
            # RFC 4314 §5.1.1 allows it, and clients do not understand a NO to everything they do.
            self.bye("Access to the selected mailbox was withdrawn")
            self.select(None)
            return False
        self.connection.write(selected.view.permit(settable_flags(rights)))
        return True

    async def may_be_told(self) -> bool:
        """Return whether the session may still be told of the selected mailbox; end the session where it may not."""
        selected = self.selected
        if selected is None or selected.acl_version == selected.opened.acl_version:
            return selected is not None
        try:
            return await self.follow_rights()
        except EspError as error:
            self.log.warning("refresh_failed", error=repr(error))
            return False

    def tell(self, *, expunges: bool = True, uid: bool = False, own: bool = False) -> None:
        """Write what the session has not been told of its selected mailbox."""
        if self.selected is not None:
            self.sync(self.selected, expunges=expunges, uid=uid, own=own)

    def sync(
        self,
        selected: Selected,
        *,
        expunges: bool,
        uid: bool,
        own: bool = False,
        announce: Sequence[int] = (),
        silent: Sequence[int] = (),
        silent_modseq: int = 0,
        silent_after: int = 0,
    ) -> None:
        """Write the changes that `View.sync` finds and NOTIFY allows; with `own`, everything that came and went."""
        notification = self.notification
        held = notification is not None and not (own or notification.messages)
        selected.contexts.before(self, expunges=expunges and not held)
        self.connection.write(
            selected.view.sync(
                expunges=expunges,
                # RFC 5465 §5.1: flags are told with UID.
                uid=uid or notification is not None,
                announce=announce,
                silent=silent,
                silent_modseq=silent_modseq,
                silent_after=silent_after,
                hold_messages=held,
                hold_flags=notification is not None and not notification.flags,
            )
        )
        if not held:
            selected.contexts.after(self, selected)

    def notify(self, notification: "Notification | None") -> None:
        """Tell what NOTIFY asks for from now on; `None`: what is told without it."""
        if self.notification is not None:
            self.notification.close()
        self.notification = notification
        if notification is not None and self.selected is not None:
            notification.opened(self.selected)

    def placed(self, mailbox: MailboxId, uids: Iterable[int]) -> None:
        """The session itself has put messages into a mailbox."""
        selected = self.selected
        if self.notification is not None and selected is not None and selected.opened.mailbox == mailbox:
            self.notification.placed(uids)

    def mailbox_changed(self) -> None:
        """The index has changed (a listener of `OpenMailbox`; acts only for IDLE and NOTIFY)."""
        listens = self.idle_tag is not None or self.notification is not None
        if self.selected is None or not listens or self.connection.busy or self.connection.paused:
            return
        if self.selected.opened.deleted:
            self._mailbox_gone()
        elif self.selected.acl_version != self.selected.opened.acl_version:
            self._following = asyncio.create_task(self._follow_rights())
        elif self.notification is not None:
            self.connection.begin(self.notification.push)
        else:
            self.tell()

    async def _follow_rights(self) -> None:
        """Do what commands do otherwise: while the session idles there is none."""
        try:
            if await self.follow_rights():
                self.mailbox_changed()
        except EspError as error:
            self.log.warning("refresh_failed", error=repr(error))
        except ConnectionError:
            pass
        finally:
            self._following = None

    def select(self, selected: Selected | None) -> None:
        """Change the selected mailbox."""
        if self.selected is not None:
            self.selected.opened.listeners.discard(self.mailbox_changed)
            self.door.close_selected(self.selected)
        self.selected = selected
        if selected is not None and self.notification is not None:
            self.notification.opened(selected)

    def log_out(self) -> None:
        """Forget the login, and all that was enabled (RFC 8437 §4.1)."""
        self.notify(None)
        self.select(None)
        self.door.dismiss_login(self)
        self.principal = None
        self.appended_to = None
        self.condstore = self.qresync = self.uidonly = self.imap4rev2 = self.utf8_accept = False
        self.connection.reader.utf8 = False
        self.connection.patience = self.door.settings.login_timeout

    def end_login(self) -> None:
        """The account was deleted or disabled, or its password was changed (a listener of `Presence`)."""
        self.bye("[UNAVAILABLE] This login has ended")

    def _mailbox_gone(self) -> None:
        # RFC 2180 §3.3: there is no other way to tell a client that its mailbox was deleted.
        self.bye("The selected mailbox was deleted")

    # The connection's life

    def writable(self) -> None:
        """The client reads again: send what was held back."""
        if self.notification is not None:
            self.connection.begin(self.notification.push)
        else:
            self.mailbox_changed()

    def silent(self) -> None:
        """The client was silent for too long, unless the server keeps it waiting, or it waits for changes."""
        if self.idle_tag is not None:
            # Outlook 2003 to 365 never leaves IDLE by itself, and does not come back when it is sent away. A client
            # that is really gone does not acknowledge this response, and so its connection ends.
            self.untagged("OK Still here")
            self.remind()
            return
        if self.connection.busy and self.principal is not None:
            self.connection.deadline += self.connection.patience
            self.door.wheel.add(self.connection)
            return
        self.bye("Idle for too long")
        self.connection.deadline += self.connection.patience
        self.door.wheel.add(self.connection)

    def remind(self) -> None:
        """Have `silent` called when it is time to send a sign of life."""
        wheel, connection = self.door.wheel, self.connection
        wheel.remove(connection)  # it stands at the end of its patience, which is later
        connection.deadline = asyncio.get_running_loop().time() + self.door.settings.idle_reminder
        wheel.add(connection)

    def failed(self, error: BaseException) -> None:
        """This is a bug; the client is told that the error is not its own."""
        # A plain traceback, not the log's own rendering, which shows the values of variables.
        self.log.error("command_crashed", error=repr(error), traceback="".join(format_exception(error)))
        self.untagged("BYE [SERVERBUG] Internal error")

    def closed(self) -> None:
        """Let go of everything."""
        self.forget_append()
        self.notify(None)
        self.select(None)
        self.door.dismiss(self)
