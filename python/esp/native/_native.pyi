import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any, ClassVar, Literal, Self, final

# ----------------------------------------------------------------------------------------------------
# imap: commands in, the mailbox index, what a session was told, FETCH and SEARCH (rust/esp-imap)
#
# One `CommandReader` for each connection. One `MailboxIndex` for each open mailbox of a process, shared by its
# sessions. One `View` for each selected mailbox of a session. One `ContentCache` and one `TextCache` for each process.
#
#     reader.feed(octets)                    await copy(ROWS, output=index.feed); index.commit(…)
#     while event := reader.next():          view.sync(expunges=…) -> untagged responses
#         match event: Command(), …          view.fetch(…).step() -> octets to write, or rows to bring
#
# Mailbox names are Unicode (`str`) on this side and modified UTF-7 on the wire (RFC 3501 §5.1.3). Flag sets are the
# bits of `core.message`; bit 8 + n is keyword n of the mailbox. Times are microseconds since the epoch, UTC. Nothing
# here knows SQL: rows come as the octets of `COPY (…) TO STDOUT (FORMAT binary)`; the SELECT lists are given as
# constants, so that the SQL and the parser cannot drift apart.

ROW_COLUMNS: str
"""Columns of `message` that `MailboxIndex.feed` reads, in this order, for `ORDER BY uid`:
`uid, content_id, modseq, flags, size, internal_date, saved_at, file, file_flags`."""

CONTENT_COLUMNS: str
"""Columns of `content` that `ContentCache.load` reads: `id, envelope, bodystructure, body`."""

INDEXED_COLUMNS: str
"""Columns of `content_index` that `ContentCache.load_indexed` reads: `content_id, thread_id, preview`."""

HEAD_COLUMNS: str
"""Columns of `content_index` that `MailboxIndex.load_heads` reads: `content_id, head`."""

SIGNATURE_COLUMNS: str
"""Columns of `content_index` that `TextCache.load_signatures` reads: `content_id, signature`."""

TEXT_COLUMNS: str
"""Columns of `content_index` that `TextCache.load_texts` reads: `content_id, text`."""

@final
class CommandReader:
    """Reads the commands of one connection; does no I/O (RFC 3501 §2.2.1, §9; RFC 9051 §9).

    Octets go in with `feed` in pieces of any size; events come out of `next` until it returns `None`, which means that
    more octets are needed. Events are made one at a time, so what an event changes (`expect_line`, `accept`, `utf8`)
    holds for all octets after it. Memory is bounded by the limits and by what is fed between calls of `next`.

    Args:
        max_line: octets of the longest command, without its literals. A longer one is a fatal `BadCommand`.
        max_literal: octets of all literals of a command together, without those of APPEND.
        max_append: largest literal of APPEND; a larger one is answered by a `BadCommand` with `[TOOBIG]`, without an
            `AppendLiteral`. A refused literal without synchronisation is read and dropped if it is not larger than
            this; otherwise the `BadCommand` is fatal.
        max_annotation: largest literal for the value of an annotation; a larger one is answered by a `BadCommand` with
            `[METADATA MAXSIZE]` (RFC 5464 §4.3).
    """

    def __new__(
        cls,
        *,
        max_line: int = 65_536,
        max_literal: int = 65_536,
        max_append: int = 67_108_864,
        max_annotation: int = 32_768,
    ) -> Self: ...
    def feed(self, octets: bytes) -> None:
        """Take octets from the connection."""
    def next(
        self,
    ) -> Command | ContinueRequest | AppendLiteral | AppendUrl | AppendOctets | BadCommand | RawLine | None:
        """Return the next event, or `None` when more octets are needed.

        Raises:
            RuntimeError: an `AppendLiteral` was returned and neither `accept` nor `refuse` was called.
        """
    def accept(self) -> None:
        """Take the literal of the last `AppendLiteral`: its octets come as `AppendOctets`.

        If the literal is synchronising, the caller writes `+ …` first.
        """
    def refuse(self) -> None:
        """Drop the command of the last `AppendLiteral` or `AppendUrl`; the caller answers it.

        The octets of a literal without synchronisation, and the rest of the command, are passed over without an event.
        May also be called between `AppendOctets` (mailbox gone, disk full): the rest of the command is passed over.
        """
    def expect_line(self) -> None:
        """Make the next event a `RawLine` (a SASL response, the `DONE` of IDLE) instead of a command."""
    def discard(self) -> int:
        """Drop what was fed but not read yet, and return how many octets that was.

        Call this before a TLS handshake: octets sent in clear text behind STARTTLS must not be read as protected ones.
        """
    @property
    def buffered(self) -> int:
        """Octets fed but not read yet; a pipelining client may have sent the next command already."""
    @property
    def utf8(self) -> bool:
        """Whether mailbox names are UTF-8 instead of modified UTF-7 (RFC 6855 §3, RFC 9051 §5.1); false at first."""
    @utf8.setter
    def utf8(self, value: bool) -> None: ...

@final
class Command:
    """A complete, well-formed command.

    `arguments` by `name` (always upper case, without `UID `, which is `uid`):
        CAPABILITY NOOP LOGOUT STARTTLS CHECK CLOSE UNSELECT IDLE NAMESPACE UNAUTHENTICATE   None
        LOGIN                                            LoginArguments
        AUTHENTICATE                                     AuthenticateArguments
        ID                                               IdArguments
        ENABLE                                           EnableArguments
        SELECT EXAMINE                                   SelectArguments
        CREATE                                           CreateArguments
        DELETE SUBSCRIBE UNSUBSCRIBE GETQUOTAROOT        MailboxArguments
        GETQUOTA                                         QuotaArguments
        RENAME                                           RenameArguments
        LIST LSUB                                        ListArguments
        STATUS                                           StatusArguments
        APPEND                                           AppendArguments
        EXPUNGE                                          ExpungeArguments when `uid`, else None
        SEARCH                                           SearchArguments
        SORT                                             SortArguments
        THREAD                                           ThreadArguments
        ESEARCH                                          EsearchArguments
        CANCELUPDATE                                     CancelUpdateArguments
        COMPRESS                                         CompressArguments
        NOTIFY                                           NotifyArguments
        FETCH                                            FetchArguments
        STORE                                            StoreArguments
        COPY MOVE                                        CopyArguments

    `uid` may be true for COPY, MOVE, FETCH, STORE, SEARCH, SORT, THREAD and EXPUNGE.
    """

    @property
    def tag(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> bool: ...
    @property
    def arguments(
        self,
    ) -> (
        LoginArguments
        | AuthenticateArguments
        | IdArguments
        | EnableArguments
        | SelectArguments
        | CreateArguments
        | MailboxArguments
        | QuotaArguments
        | RenameArguments
        | ListArguments
        | StatusArguments
        | AppendArguments
        | ExpungeArguments
        | SearchArguments
        | SortArguments
        | ThreadArguments
        | EsearchArguments
        | CancelUpdateArguments
        | CompressArguments
        | NotifyArguments
        | FetchArguments
        | StoreArguments
        | CopyArguments
        | None
    ): ...

@final
class ContinueRequest:
    """The client waits for `+` before it sends a literal (RFC 3501 §7.5); the caller writes `+ OK`."""

@final
class AppendHead:
    """Which part of which message of APPEND or REPLACE comes next."""

    @property
    def tag(self) -> str: ...
    @property
    def name(self) -> str:
        """`APPEND` or `REPLACE`."""
    @property
    def uid(self) -> bool:
        """Whether `replaces` is a UID."""
    @property
    def replaces(self) -> SequenceSet | None:
        """The one message that REPLACE replaces (RFC 8508 §3)."""
    @property
    def mailbox(self) -> str: ...
    @property
    def position(self) -> int:
        """The number of the message, counted from 0 (RFC 3502)."""
    @property
    def part(self) -> int | None:
        """The number of the part in CATENATE, counted from 0 (RFC 4469); `None` if the literal is the whole message."""
    @property
    def flags(self) -> int:
        """System flags as bits of `core.message`; `\\Recent` is ignored."""
    @property
    def keywords(self) -> tuple[str, ...]: ...
    @property
    def internal_date(self) -> int | None:
        """Microseconds since the epoch, or `None` if no date was given."""

@final
class AppendLiteral:
    """A message, or a part of one, is announced: check mailbox, quota and size, then `accept` or `refuse` it."""

    @property
    def head(self) -> AppendHead: ...
    @property
    def size(self) -> int: ...
    @property
    def synchronising(self) -> bool:
        """Whether the client waits for `+` (RFC 7888)."""
    @property
    def binary(self) -> bool:
        """Whether it is a literal8 (RFC 3516 §4.4)."""
    @property
    def utf8(self) -> bool:
        """Whether it is in `UTF8 (…)`, which makes a literal8 text again (RFC 6855 §4)."""

@final
class AppendUrl:
    """A part that is stored already (RFC 4469); `CommandReader.refuse` drops the command, otherwise reading goes on."""

    @property
    def head(self) -> AppendHead: ...
    @property
    def url(self) -> str: ...

@final
class AppendOctets:
    """The next octets of an accepted literal, in the pieces in which they were fed."""

    @property
    def octets(self) -> bytes: ...
    @property
    def last(self) -> bool:
        """Whether the literal is complete; true exactly once for each literal, also for an empty one."""

@final
class Arrival:
    """Converts a message, as it comes, into one that every `BODY[…]` can show.

    Lines end in CR LF; in a literal8, parts with `Content-Transfer-Encoding: binary` become base64 (RFC 3516 §4.2);
    a NUL in a plain literal is replaced by 0x80.
    """

    def __new__(cls, *, literal8: bool = False) -> Self: ...
    def feed(self, octets: bytes) -> bytes:
        """Take octets, and return what to store for them: often the same, sometimes nothing yet.

        Raises:
            ValueError: a literal8 has a NUL outside its binary parts.
        """
    def finish(self) -> bytes:
        """Return what was held back; the message is complete.

        Raises:
            ValueError: as `feed`.
        """

@final
class MessageSection:
    """A section of one message file, as `BODY[section]<partial>` shows it, read in pieces. Blocks on the disk."""

    def __new__(
        cls,
        folder: str | os.PathLike[str],
        base: str,
        letters: str | None,
        section: str = "",
        partial: tuple[int, int] | None = None,
    ) -> Self:
        """Find the section.

        Args:
            folder: the Maildir folder.
            base: the file's name without its `:2,` part.
            letters: the letters that probably follow `:2,`; `None` for a file in `new`.
            section: the text between the brackets.
            partial: first octet, and the largest number of octets.

        Raises:
            FileNotFoundError: there is no such message.
            ValueError: `section` is not a section, or the message has no such section.
            OSError: the message cannot be read.
        """
    @property
    def size(self) -> int:
        """Octets."""
    def read(self, wanted: int) -> bytes:
        """Return the next octets, about `wanted`; `b""` at the end.

        Raises:
            OSError: the octets cannot be read.
        """

@final
class BadCommand:
    """A command that cannot be executed, to be answered with `response`; reading goes on behind it unless `fatal`."""

    @property
    def tag(self) -> str | None:
        """`None` if not even the tag could be read: the answer is untagged."""
    @property
    def response(self) -> str:
        """What follows the tag: `BAD Unknown search key "FOO"`, `NO [BADCHARSET (…)] …`, `NO [TOOBIG] …`."""
    @property
    def unsaved(self) -> bool:
        """Whether it is a search, refused with NO, whose result was to be saved: `$` is then empty (RFC 5182 §2.1)."""
    @property
    def fatal(self) -> bool:
        """Whether the rest of the stream cannot be interpreted any more: write `* BYE …` and close."""

@final
class RawLine:
    """A line asked for with `expect_line`, without its CRLF."""

    @property
    def octets(self) -> bytes: ...

@final
class LoginArguments:
    @property
    def username(self) -> str: ...
    @property
    def password(self) -> str: ...

@final
class AuthenticateArguments:
    @property
    def mechanism(self) -> str:
        """Upper case."""
    @property
    def initial(self) -> bytes | None:
        """The decoded initial response (RFC 4959); `b""` if `=` was given, `None` if there was none."""

@final
class IdArguments:
    @property
    def fields(self) -> dict[str, str | None] | None:
        """`None` for `ID NIL` (RFC 2971); keys in lower case."""

@final
class EnableArguments:
    @property
    def capabilities(self) -> tuple[str, ...]:
        """Upper case, in the order given (RFC 5161)."""

@final
class SelectArguments:
    @property
    def mailbox(self) -> str: ...
    @property
    def condstore(self) -> bool:
        """Whether `(CONDSTORE)` was given (RFC 7162 §3.1.8)."""
    @property
    def qresync(self) -> QresyncParameter | None: ...

@final
class QresyncParameter:
    """`(QRESYNC (uidvalidity modseq [known-uids [seq-match-data]]))` (RFC 7162 §3.2.5)."""

    @property
    def uidvalidity(self) -> int: ...
    @property
    def modseq(self) -> int: ...
    @property
    def known_uids(self) -> SequenceSet | None: ...
    @property
    def known_sequence(self) -> tuple[SequenceSet, SequenceSet] | None:
        """Sequence numbers, and the UIDs that they had."""

@final
class CreateArguments:
    @property
    def mailbox(self) -> str:
        """Without a trailing delimiter `/` (RFC 3501 §6.3.3)."""
    @property
    def special_use(self) -> tuple[str, ...]:
        """From `(USE (\\Sent …))` (RFC 6154 §3), as the client spelled it; empty if not given."""

@final
class MailboxArguments:
    @property
    def mailbox(self) -> str: ...

@final
class QuotaArguments:
    @property
    def root(self) -> str: ...

@final
class SetQuotaArguments:
    @property
    def root(self) -> str: ...
    @property
    def limits(self) -> tuple[tuple[str, int], ...]:
        """Resource in upper case, and its limit, which is less than 2**63."""

@final
class AclArguments:
    """SETACL, DELETEACL, LISTRIGHTS (RFC 4314)."""

    @property
    def mailbox(self) -> str: ...
    @property
    def identifier(self) -> str: ...
    @property
    def rights(self) -> str | None:
        """As given, with its `+` or `-`; only for SETACL."""

@final
class Annotations:
    """Which annotations are asked for (RFC 5464 §4.2)."""

    @property
    def entries(self) -> tuple[str, ...]:
        """In lower case; each is `/private` or `/shared`, or below one of them."""
    @property
    def max_size(self) -> int | None:
        """Octets; longer values are not wanted."""
    @property
    def depth(self) -> int | None:
        """0, 1, or `None` for all levels below the entries."""

@final
class GetMetadataArguments:
    @property
    def mailbox(self) -> str:
        """Empty for the server."""
    @property
    def annotations(self) -> Annotations: ...

@final
class SetMetadataArguments:
    @property
    def mailbox(self) -> str:
        """Empty for the server."""
    @property
    def values(self) -> tuple[tuple[str, bytes | None], ...]:
        """Entries as in `Annotations`; `None` removes the value."""

@final
class RenameArguments:
    @property
    def mailbox(self) -> str: ...
    @property
    def new_name(self) -> str: ...

@final
class ListArguments:
    """LIST or LSUB; the extended form is that of RFC 5258, RFC 5819 and RFC 6154."""

    @property
    def reference(self) -> str: ...
    @property
    def patterns(self) -> tuple[str, ...]:
        """Unicode, with the wildcards `*` and `%`; for `ListPatterns`. `("",)` asks for the delimiter."""
    @property
    def extended(self) -> bool:
        """Whether selection options, return options or several patterns were given."""
    @property
    def selection(self) -> tuple[str, ...]:
        """Some of `SUBSCRIBED REMOTE RECURSIVEMATCH SPECIAL-USE`; another option is a `BadCommand`."""
    @property
    def returns(self) -> tuple[str, ...]:
        """Some of `SUBSCRIBED CHILDREN SPECIAL-USE MYRIGHTS METADATA STATUS`; another option is a `BadCommand`."""
    @property
    def status(self) -> tuple[str, ...]:
        """Items of the return option `STATUS (…)`, in upper case."""
    @property
    def metadata(self) -> Annotations | None:
        """Annotations of the return option `METADATA …` (RFC 9590)."""

@final
class StatusArguments:
    @property
    def mailbox(self) -> str: ...
    @property
    def items(self) -> tuple[str, ...]:
        """Some of `MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ MAILBOXID APPENDLIMIT
        DELETED-STORAGE`."""

@final
class AppendArguments:
    """The end of an APPEND; all of its messages were accepted, and their octets returned."""

    @property
    def mailbox(self) -> str: ...
    @property
    def count(self) -> int: ...

@final
class ExpungeArguments:
    @property
    def set(self) -> SequenceSet: ...

@final
class CopyArguments:
    @property
    def set(self) -> SequenceSet: ...
    @property
    def mailbox(self) -> str: ...

@final
class FetchArguments:
    @property
    def set(self) -> SequenceSet: ...
    @property
    def items(self) -> FetchItems: ...

@final
class StoreArguments:
    @property
    def set(self) -> SequenceSet: ...
    @property
    def mode(self) -> str:
        """`replace`, `add` or `remove`."""
    @property
    def silent(self) -> bool: ...
    @property
    def flags(self) -> int:
        """System flags as bits; `\\Recent` is ignored."""
    @property
    def keywords(self) -> tuple[str, ...]:
        """As the client spelled them; keywords compare without regard to ASCII case."""
    @property
    def unchanged_since(self) -> int | None:
        """The value of UNCHANGEDSINCE (RFC 7162 §3.1.3)."""

@final
class SearchArguments:
    @property
    def program(self) -> SearchProgram: ...
    @property
    def returns(self) -> ReturnOptions | None:
        """`None` if `RETURN` was not given."""
    @property
    def charset(self) -> bool:
        """Whether a `CHARSET` was given."""

@final
class SortArguments:
    """RFC 5256 §3; RFC 5267 for `returns`."""

    @property
    def order(self) -> SearchOrder: ...
    @property
    def program(self) -> SearchProgram: ...
    @property
    def returns(self) -> ReturnOptions | None: ...

@final
class ThreadArguments:
    """RFC 5256 §3."""

    @property
    def order(self) -> SearchOrder: ...
    @property
    def program(self) -> SearchProgram: ...

@final
class CompressArguments:
    @property
    def algorithm(self) -> str:
        """In upper case, even if there is no such algorithm (RFC 4978)."""

@final
class NotifyArguments:
    """NOTIFY SET, or NOTIFY NONE if there are no groups (RFC 5465 §8)."""

    @property
    def status(self) -> bool: ...
    @property
    def groups(self) -> tuple[EventGroup, ...]: ...

@final
class EventGroup:
    @property
    def filter(self) -> str:
        """`SELECTED SELECTED-DELAYED INBOXES PERSONAL SUBSCRIBED SUBTREE MAILBOXES`."""
    @property
    def mailboxes(self) -> tuple[str, ...]:
        """The mailboxes for SUBTREE and MAILBOXES."""
    @property
    def events(self) -> tuple[str, ...] | None:
        """In upper case, including unknown ones; `None` for NONE."""
    @property
    def fetch(self) -> FetchItems | None:
        """The fetch items that MessageNew asks for; they set no `\\Seen`."""

@final
class EsearchArguments:
    """RFC 7377 §2.1."""

    @property
    def scope(self) -> tuple[MailboxFilter, ...] | None:
        """The filters of IN; `None` for the selected mailbox."""
    @property
    def program(self) -> SearchProgram: ...
    @property
    def returns(self) -> ReturnOptions | None: ...
    @property
    def charset(self) -> bool:
        """Whether a `CHARSET` was given."""

@final
class MailboxFilter:
    """Which mailboxes are meant (RFC 5465 §6, RFC 7377 §2.2)."""

    @property
    def filter(self) -> str:
        """`SELECTED SELECTED-DELAYED INBOXES PERSONAL SUBSCRIBED SUBTREE SUBTREE-ONE MAILBOXES`."""
    @property
    def mailboxes(self) -> tuple[str, ...]:
        """The mailboxes for the last three filters."""

@final
class CancelUpdateArguments:
    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of commands that asked for UPDATE (RFC 5267 §4.3.5); at least one."""

@final
class ReturnOptions:
    """The options of `RETURN (…)` (RFC 4731, RFC 5182, RFC 5267, RFC 6203, RFC 9394)."""

    def __new__(cls, text: str) -> Self:
        """Parse the options as a client writes them between the parentheses.

        Raises:
            ValueError: they are not options.
        """
    @property
    def options(self) -> tuple[str, ...]:
        """Some of `MIN MAX ALL COUNT SAVE PARTIAL UPDATE CONTEXT RELEVANCY`. `ALL` is added if no option asks for a
        result, unless SAVE does something with it, and if there is no result that RELEVANCY could refer to."""
    @property
    def silent(self) -> bool:
        """Whether no result is asked for, so that there is no untagged response (RFC 5182 §2.1)."""
    @property
    def fetch(self) -> FetchItems | None:
        """The fetch items for new messages that UPDATE adds to the result (RFC 5465 §7); they set no `\\Seen`."""
    def __contains__(self, option: str, /) -> bool:
        """Whether an option was given."""

@final
class SearchOrder:
    """The order in which a result is wanted: that of SORT, or of the threads of THREAD."""

    def __new__(cls, text: str) -> Self:
        """Parse `SORT (REVERSE DATE)` or `THREAD REFERENCES`.

        Raises:
            ValueError: `text` is neither.
        """

@final
class SequenceSet:
    """A `sequence-set` as written (RFC 3501 §9); the command says whether it holds UIDs or sequence numbers.

    Raises:
        ValueError: `text` is not a sequence-set.
    """

    def __new__(cls, text: str) -> Self: ...
    def __str__(self) -> str: ...
    @property
    def saved(self) -> bool:
        """Whether it is `$`, the saved result of a search (RFC 5182 §2.1)."""

@final
class FetchItems:
    """The items that a FETCH asks for."""

    def __new__(cls, text: str) -> Self:
        """Parse fetch items as a client writes them, with macros, in parentheses or not.

        Raises:
            ValueError: `text` is not fetch items.
        """
    @property
    def reads_files(self) -> bool:
        """Whether some item is made from the message's octets: then `Fetch.step` blocks on the disk."""
    @property
    def modseq(self) -> bool:
        """Whether `MODSEQ` or `CHANGEDSINCE` is used, which enables CONDSTORE (RFC 7162 §3.1)."""
    @property
    def changed_since(self) -> int | None: ...
    @property
    def vanished(self) -> bool:
        """Whether the modifier `VANISHED` was given (RFC 7162 §3.2.6)."""
    @property
    def partial(self) -> bool:
        """Whether the modifier `PARTIAL` was given (RFC 9394 §3.3)."""
    @property
    def needs_contents(self) -> bool:
        """Whether `Fetch.step` may ask for contents to load with `CONTENT_COLUMNS`."""
    @property
    def needs_indexed(self) -> bool:
        """Whether `Fetch.step` may ask for contents to load with `INDEXED_COLUMNS`."""
    @property
    def makes_indexed(self) -> bool:
        """Whether messages that are not indexed have to be indexed first: for `THREADID`, and for `PREVIEW` without
        `LAZY`."""

@final
class SearchProgram:
    """A parsed search; every key of RFC 3501 §6.4.4, and FUZZY, OLDER, YOUNGER, MODSEQ, SAVEDBEFORE, SAVEDON,
    SAVEDSINCE.

    Text in another charset is decoded, and folded as `search_text` of the mime section does it.

    Raises:
        ValueError: `text` is not a search program.
    """

    def __new__(cls, text: str) -> Self: ...
    @property
    def numbers(self) -> bool:
        """Whether messages are named by sequence numbers, which do not exist with UIDONLY (RFC 9586 §3.5)."""
    @property
    def needs_selected(self) -> bool:
        """Whether messages are named in a way that only the selected mailbox has: by sequence numbers or `$`."""
    @property
    def threads(self) -> list[int]:
        """Numbers of the threads that keys THREADID name (RFC 8474 §5.4)."""
    @property
    def needs_text(self) -> bool:
        """Whether some key searches header or body."""
    @property
    def modseq(self) -> bool:
        """Whether the key MODSEQ is used: it enables CONDSTORE, and the response has the highest mod-sequence."""

@final
class ContentCache:
    """ENVELOPE, BODYSTRUCTURE and BODY wire strings of messages, by account and content id; one for each process.

    Bounded: the least recently used are dropped. May be used from several threads.
    """

    def __new__(cls, max_octets: int = 67_108_864) -> Self: ...
    def load(self, account: int, copy: bytes) -> None:
        """Take a complete COPY BINARY stream of `CONTENT_COLUMNS`.

        Raises:
            ValueError: it is not such a stream.
        """
    def load_indexed(self, account: int, copy: bytes) -> None:
        """Take a complete COPY BINARY stream of `INDEXED_COLUMNS`.

        Raises:
            ValueError: it is not such a stream.
        """
    @property
    def octets(self) -> int: ...

@final
class TextCache:
    """Signatures and searchable text of messages, decoded, by account and content id; one for each process.

    Bounded like `ContentCache`. Signatures rule most messages out, so that only few texts are needed.
    """

    def __new__(cls, max_octets: int = 134_217_728) -> Self: ...
    def load_signatures(self, account: int, copy: bytes) -> None:
        """Take a complete COPY BINARY stream of `SIGNATURE_COLUMNS`.

        Raises:
            ValueError: it is not such a stream.
        """
    def load_texts(self, account: int, copy: bytes) -> None:
        """Take a complete COPY BINARY stream of `TEXT_COLUMNS`.

        Raises:
            ValueError: it is not such a stream.
        """
    @property
    def octets(self) -> int: ...

@final
class MailboxIndex:
    """The messages of one mailbox, ordered by UID; shared by the sessions of a process that have it selected.

    To fill or update it: in one statement, read the mailbox row and, unless the index is new, the rows of `expunged`
    and `changed` with `modseq > {index.modseq}`. Then feed the new messages, `COPY (SELECT {ROW_COLUMNS} FROM message
    WHERE account_id = … AND mailbox_id = … AND uid >= {index.uidnext} AND uid < {uidnext of that row} ORDER BY uid) TO
    STDOUT (FORMAT binary)`, chunk by chunk, and `commit`. Changes of these messages between the two statements come
    again at the next update, which does no harm. Only one task may fill at a time (the caller's lock); views may be
    used meanwhile and see nothing new before `commit`. A new index has `modseq` 0.

    Args:
        account: `account.id`
        mailbox: `mailbox.id`
        folder: absolute path of the mailbox's Maildir folder, the one that has `cur` and `new`
        uidvalidity: of the mailbox
    """

    def __new__(cls, account: int, mailbox: int, folder: str, uidvalidity: int) -> Self: ...
    def feed(self, copy: bytes) -> None:
        """Take the next octets of a COPY BINARY stream of `ROW_COLUMNS`, cut anywhere.

        Raises:
            ValueError: it is not such a stream; what was fed since the last commit is dropped.
        """
    def keep(self) -> tuple[bytes, int, int]:
        """Return all rows as octets for `feed_kept`, `modseq` and `uidnext`; a few milliseconds for 100,000."""
    def feed_kept(self, octets: bytes) -> None:
        """Take what `keep` returned instead of a COPY stream; then `commit` with the `modseq` and `uidnext` from it.

        Raises:
            ValueError: `octets` are something else, or of another version; nothing was taken.
        """
    def commit(
        self,
        *,
        modseq: int,
        uidnext: int,
        keywords: Sequence[str],
        expunged: Sequence[str] = (),
        changed: Sequence[str] = (),
        complete: bool = False,
    ) -> None:
        """Make what was fed visible to the views' next `sync`.

        Args:
            modseq: `mailbox.highest_modseq`
            uidnext: `mailbox.uidnext`
            keywords: `mailbox.keywords`
            expunged: UIDs expunged since the last commit, each text a sequence-set (`expunged.uids`)
            changed: changes of flags since, in order, each text a mod-sequence, bits kept, bits added, and a
                sequence-set of UIDs, separated by spaces (`changed`)
            complete: every row of the mailbox was fed; messages without a row are gone

        Raises:
            ValueError: a text is invalid, or the stream that was fed is not complete.
        """
    @property
    def fed_modseq(self) -> int:
        """The greatest mod-sequence of the rows fed since the last commit, 0 if there are none. If it is greater than
        the `modseq` for `commit`, rows are of a later moment."""
    def abandon(self) -> None:
        """Drop what was fed since the last commit."""
    def load_heads(self, copy: bytes) -> None:
        """Take a complete COPY BINARY stream of `HEAD_COLUMNS`, as `Search.step` asks for.

        Raises:
            ValueError: it is not such a stream.
        """
    @property
    def account(self) -> int: ...
    @property
    def mailbox(self) -> int: ...
    @property
    def uidvalidity(self) -> int: ...
    @property
    def takes_recent(self) -> bool:
        """Whether there is a session that would take `\\Recent` of new messages."""
    def grant_recent(self, first: int, last: int) -> None:
        """Let sessions take `\\Recent` of UIDs from `first` to `last`; the session that is told of a message first gets
        it (RFC 3501 §2.3.2). No other process has it."""
    def leave_recent(self, first: int) -> None:
        """Let read-only sessions show `\\Recent` from `first` on: no session has taken it yet."""
    @property
    def uidnext(self) -> int: ...
    @property
    def modseq(self) -> int:
        """The mod-sequence up to which the index is complete; 0 before the first commit."""
    @property
    def keywords(self) -> tuple[str, ...]: ...
    @property
    def messages(self) -> int: ...
    @property
    def views(self) -> int:
        """How many views exist; an index without views may be dropped."""
    @property
    def octets(self) -> int:
        """About how much memory it takes."""
    def keyword_bits(self, keywords: Sequence[str]) -> tuple[int, tuple[str, ...]]:
        """Return the bits of those keywords that the mailbox has, and the other keywords (to be added to
        `mailbox.keywords`)."""

@final
class View:
    """What one session knows of its selected mailbox: sequence numbers, `\\Recent`, what it has been told.

    Only `sync` changes it. Between two calls a sequence number means the same message, although that may have been
    expunged in the index already (RFC 3501 §7.4.1). Cheap: views that know the same share their lists.
    Args:
        index: a committed index; everything in it counts as told (the caller writes `opening()`)
        read_only: for EXAMINE: `\\Seen` is never set, and `\\Recent` is not taken. Otherwise `\\Recent` is taken from
            what `MailboxIndex.grant_recent` gave
        recent_from: with `read_only`, UIDs from here on are `\\Recent` (`mailbox.first_recent`)
        settable: bits of flags that may be changed here (RFC 4314 §4); STORE leaves the others unchanged
    """

    def __new__(
        cls,
        index: MailboxIndex,
        *,
        read_only: bool = False,
        recent_from: int = 4_294_967_295,
        settable: int = -1,
    ) -> Self: ...
    @property
    def settable(self) -> int:
        """Bits of flags that may be changed here; none with `read_only`."""
    def permit(self, settable: int) -> bytes:
        """Allow other bits, and return FLAGS and PERMANENTFLAGS if that changed anything (RFC 4314 §5.1.1)."""
    def opening(self) -> bytes:
        """Return the untagged responses of SELECT: FLAGS, EXISTS, RECENT, UNSEEN, PERMANENTFLAGS, UIDVALIDITY, UIDNEXT,
        HIGHESTMODSEQ (RFC 3501 §6.3.1, RFC 7162 §3.1.2.1); the caller writes the tagged OK."""
    def sync(
        self,
        *,
        expunges: bool = True,
        uid: bool = False,
        announce: Sequence[int] = (),
        silent: Sequence[int] = (),
        silent_modseq: int = 0,
        silent_after: int = 0,
        hold_messages: bool = False,
        hold_flags: bool = False,
    ) -> bytes:
        """Bring the view to the index's state and return the untagged responses that tell the session, often `b""`.

        In this order: EXPUNGE (or VANISHED after `enable_qresync`), FLAGS and PERMANENTFLAGS if keywords were added,
        EXISTS and RECENT if messages were added, FETCH FLAGS for messages whose flags changed. Does nearly nothing if
        the index has not changed.

        Args:
            expunges: false while FETCH, STORE or SEARCH by sequence number is answered (RFC 3501 §7.4.1): then expunged
                messages stay known, and everything else is told. After `enable_qresync`, flags that others changed wait
                as well, for their mod-sequences would hide the expunge from a client that resumes
            uid: whether FETCH responses must have UID, as answers to UID commands must
            announce: UIDs whose flags are told even if they have not changed: those of a STORE
            silent: UIDs changed by this session with `.SILENT`: their flags are not told, unless others changed them
                again after `silent_modseq`; with CONDSTORE enabled their MODSEQ is told (RFC 7162 §3.1.3)
            silent_modseq: the last mod-sequence of that STORE; all those after `silent_after` up to it belong to it
            silent_after: the mailbox's mod-sequence just before it. If the session has not been told everything up to
                it, flags are told after all, for the client does not know the result of its change (RFC 3501 §6.4.6)
            hold_messages: keep messages that came and went for a later call (RFC 5465 §3.1)
            hold_flags: keep flag changes for a later call, except for those of `announce` and `silent`
        """
    @property
    def told(self) -> int:
        """The mod-sequence up to which the session was told everything, expunges included: a HIGHESTMODSEQ that the
        client may keep."""
    def enable_condstore(self) -> None:
        """Have FETCH responses with flags include MODSEQ from now on, and those about changes UID as well (RFC 7162
        §3.1, §3.2.4)."""
    def enable_imap4rev2(self) -> None:
        """From now on nothing is `\\Recent`, and unsolicited FETCH responses have UID (RFC 9051 appendix E)."""
    @property
    def last_uid(self) -> int:
        """The highest UID that the session knows, or 0."""
    def enable_uidonly(self) -> None:
        """Use UIDFETCH and VANISHED instead of FETCH and EXPUNGE from now on (RFC 9586 §3)."""
    def enable_qresync(self) -> None:
        """From now on use VANISHED instead of EXPUNGE, and include UID and MODSEQ in FETCH responses that are
        unsolicited or answer UID FETCH (RFC 7162 §3.2.4, §3.2.10); enables CONDSTORE too."""
    @property
    def index(self) -> MailboxIndex: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def messages(self) -> int:
        """The number last told by EXISTS, less the messages since told as expunged."""
    @property
    def recent(self) -> int: ...
    def uids(self, set: SequenceSet, *, uid: bool) -> list[int]:
        """Return the UIDs that `set` names, in rising order, without those of messages that the session does not know
        to be expunged.

        UIDs that do not exist are ignored (RFC 3501 §6.4.8). `$` is the set given to `save`.

        Raises:
            ValueError: `set` has a single sequence number, or a range with both ends, beyond EXISTS: `tag BAD`.
        """
    def has_vanished(self, set: SequenceSet, *, uid: bool) -> bool:
        """Whether `set` names an expunged message that was not told as such yet: `NO [EXPUNGEISSUED]` (RFC 5530 §3)."""
    def vanished_earlier(
        self,
        expunged: Sequence[str] | None,
        *,
        uids: SequenceSet | None = None,
        matched: tuple[SequenceSet, SequenceSet] | None = None,
    ) -> bytes:
        """Return `VANISHED (EARLIER)` responses, or nothing (RFC 7162 §3.2.5.2, §3.2.6).

        They never contain messages of the view.

        Args:
            expunged: UIDs expunged since the mod-sequence asked for, as `commit` takes them; `None` if that is not
                remembered so far back: then every UID that does not exist
            uids: the UIDs that the client knows, `*` standing for UIDNEXT - 1; `None` for all UIDs ever assigned
            matched: sequence numbers and the UIDs they had. Up to the last pair that still matches, nothing is
                gone

        Raises:
            ValueError: a text of `expunged` is not a sequence-set.
        """
    def deleted(self, set: SequenceSet | None = None) -> list[int]:
        """Return the UIDs of messages with `\\Deleted`, of all or of the UIDs in `set`."""
    def save(self, uids: Sequence[int]) -> None:
        """Keep UIDs as `$` (RFC 5182 §2.1)."""
    def store(
        self, set: SequenceSet, *, uid: bool, mode: str, bits: int, unchanged_since: int | None = None
    ) -> StorePlan:
        """Return what a STORE would do, according to the index; nothing is changed.

        Args:
            mode: `replace`, `add` or `remove`
            bits: system flags, and keywords as `MailboxIndex.keyword_bits` returns them
            unchanged_since: skip messages whose mod-sequence is greater (RFC 7162 §3.1.3)

        Raises:
            ValueError: as `uids`.
        """
    def fetch(
        self,
        set: SequenceSet,
        items: FetchItems,
        *,
        uid: bool,
        contents: ContentCache,
        unasked: bool = False,
    ) -> Fetch:
        """Begin a FETCH; with `unasked`, the responses are unsolicited, and have MODSEQ if CONDSTORE is enabled.

        Raises:
            ValueError: as `uids`.
        """
    def search(
        self,
        program: SearchProgram,
        texts: TextCache,
        *,
        now: int,
        order: SearchOrder | None = None,
        threads: Mapping[int, Sequence[int]] = {},
    ) -> Search:
        """Begin a SEARCH over the messages that the session knows, or with `order` a SORT or THREAD.

        `now` is for OLDER and YOUNGER; `threads` has the content ids of `SearchProgram.threads`. Sequence numbers
        beyond EXISTS match nothing.
        """

@final
class StorePlan:
    @property
    def uids(self) -> list[int]:
        """The named messages that `unchanged_since` does not exclude: to be announced unless `.SILENT`."""
    @property
    def changing(self) -> list[int]:
        """Those of `uids` whose flags would change: the rows to update."""
    @property
    def modified(self) -> list[int]:
        """UIDs that `unchanged_since` excludes, for `[MODIFIED set]`; `modified_numbers` has their sequence
        numbers."""
    @property
    def modified_numbers(self) -> list[int]:
        """The same as sequence numbers."""
    @property
    def vanished(self) -> bool:
        """Whether a named message is expunged already: `NO [EXPUNGEISSUED]`."""

@final
class Fetch:
    """A FETCH being answered. Call `step` until it returns `None`; do not `sync` the view meanwhile.

    Usage:
        fetch = view.fetch(arguments.set, arguments.items, uid=command.uid, contents=cache)
        if fetch.unseen: …store \\Seen durably, bring the index up to date…      # before the first step
        while (step := fetch.step()) is not None:
            if isinstance(step, bytes): …write, wait while the transport is full…
            else:
                if items.needs_contents: cache.load(account, …COPY of CONTENT_COLUMNS WHERE id = ANY(step)…)
                if items.needs_indexed: cache.load_indexed(account, …COPY of INDEXED_COLUMNS …)
    """

    @property
    def unseen(self) -> list[int]:
        """UIDs on which this FETCH sets `\\Seen`: not seen now, the view not read-only, and some item sets it
        (`BODY[…]`, `BINARY[…]`, `RFC822`, `RFC822.TEXT`).

        If the index has them as seen by the time they are rendered, their response has FLAGS (RFC 3501 §6.4.5).
        """
    def step(self, max_octets: int = 131_072) -> bytes | list[int] | None:
        """Return octets to write, or content ids to bring into the `ContentCache`, or `None` at the end.

        Octets are at most about `max_octets`, whatever the size of a message; a response may be cut anywhere. Content
        ids are at most 4,000; one that the cache still lacks at the next step is made from its file. Releases the GIL.
        With `FetchItems.reads_files` it blocks on the disk, so call it in a thread.
        """
    def step_cached(self) -> bytes:
        """Return the octets of the first few messages, if `reads_files` and these are at most 64 KiB each and in the
        page cache. Otherwise return nothing, and `step` has to be called; so it is for the first file of each mailbox,
        which shows whether the files are on a disk of this machine. Never waits for a disk or another machine, so needs
        no thread; keeps the GIL.
        """
    @property
    def ended(self) -> bool:
        """Whether the next `step` would return `None`; ask between two steps only."""
    @property
    def missing(self) -> list[int]:
        """UIDs skipped so far because they are expunged or their file is gone (RFC 2180 §4.1): end with
        `NO [EXPUNGEISSUED]` if not empty."""
    @property
    def undecodable(self) -> list[int]:
        """UIDs skipped so far because a part wanted in `BINARY[…]` has an unknown transfer encoding: end with
        `NO [UNKNOWN-CTE]` if not empty (RFC 3516 §4.2)."""

@final
class Search:
    """A SEARCH, SORT or THREAD being answered. Call `step` until it returns `None`, then take the result.

    Cheap keys are decided first, then heads, then signatures; text is asked for only if it decides. If FUZZY finds
    nothing, the search is repeated, and words may be mistyped.

    Usage:
        search = view.search(program, texts, now=…)
        while (need := search.step()) is not None:
            if need.heads: index.load_heads(…COPY of HEAD_COLUMNS WHERE content_id = ANY(need.heads)…)
            if need.signatures: texts.load_signatures(account, …COPY of SIGNATURE_COLUMNS…)
            if need.texts: texts.load_texts(account, …COPY of TEXT_COLUMNS…)
    """

    def step(self) -> SearchNeed | None:
        """Go on, and return what is needed next, or `None` when done.

        What was asked for but is still missing at the next step is read from the messages' files. Releases the GIL; may
        block on the disk from the second step on.
        """
    @property
    def uids(self) -> list[int]:
        """The result, in rising order or in the order of SORT."""
    @property
    def numbers(self) -> list[int]:
        """The result as sequence numbers, in the same order."""
    @property
    def modseq(self) -> int:
        """The highest mod-sequence in the result, or 0."""
    @property
    def leaves_out(self) -> bool:
        """Whether messages that the session still counts were left out, since they are gone."""
    def saved(self, returns: ReturnOptions) -> list[int]:
        """Return the UIDs that become `$` with SAVE (RFC 5182 §2.4, RFC 9394 §3.4)."""
    def response(
        self,
        *,
        uid: bool,
        tag: str,
        returns: ReturnOptions | None = None,
        mailbox: tuple[bytes, int] | None = None,
    ) -> bytes:
        """Return the untagged SEARCH, SORT or THREAD response, or ESEARCH if `returns` is given (RFC 4731 §3.1), with
        MODSEQ if the program has that key (RFC 7162 §3.1.5); `b""` if no result is asked for.

        `mailbox` is its name on the wire and its UIDVALIDITY, for responses that have to name it (RFC 7377 §2.1).
        """

@final
class Context:
    """A result whose changes a client wants to be told of (RFC 5267 §4.3).

    Args:
        search: a finished search; its result counts as told
        uid: whether the result was told as UIDs
        tag: of the command
    """

    def __new__(cls, search: Search, *, uid: bool, tag: str) -> Self: ...
    def without_expunged(self) -> bytes:
        """Return the ESEARCH response with REMOVEFROM for expunged messages, `b""` if none are in the result.

        Write it just before a `View.sync` that tells of expunges (RFC 5267 §4.3.4).
        """
    def update(self, search: Search) -> bytes:
        """Return the ESEARCH response with the differences that the same search, repeated over the same view, finds.

        Messages that the session was meanwhile told are gone are ignored.
        """

@final
class SearchNeed:
    """Content ids for which something is needed."""

    @property
    def heads(self) -> list[int]:
        """For any number of messages."""
    @property
    def signatures(self) -> list[int]:
        """10,000 at most."""
    @property
    def texts(self) -> list[int]:
        """1,000 at most."""

def encode_set(numbers: Sequence[int]) -> str:
    """Return numbers as a compact sequence-set (`1:3,7`) in their order, as COPYUID needs (RFC 4315 §3); or `""`."""

def encode_mailbox(name: str, utf8: bool = False) -> bytes:
    """Return a mailbox name as an astring in its shortest form: atom, quoted string or literal (RFC 3501 §9)."""

def encode_string(value: str | bytes | None) -> bytes:
    """Return an nstring: `NIL`, a quoted string, or a literal if a quoted string cannot hold it (RFC 3501 §4.3)."""

def mailbox_to_utf7(name: str) -> str:
    """Return a Unicode mailbox name in modified UTF-7 (RFC 3501 §5.1.3)."""

def mailbox_from_utf7(name: str) -> str:
    """Return a name in modified UTF-7 as Unicode.

    Raises:
        ValueError: it is not modified UTF-7.
    """

@final
class ListPatterns:
    """Patterns of LIST with `/` as the delimiter (RFC 3501 §6.3.8); INBOX in any case, alone and above other levels."""

    def __new__(cls, patterns: Sequence[str]) -> Self: ...
    @property
    def wild(self) -> int:
        """How many have wildcards; the others together cost the same, be it one or a thousand."""
    def matches(self, name: str) -> bool:
        """Whether one of the patterns matches; each takes time up to the product of the lengths."""

# ----------------------------------------------------------------------------------------------------
# smtp: what a client of the SMTP and LMTP doors says (rust/esp-smtp)

@final
class SmtpLimits:
    """What one door allows its connections; one object for all readers of a door."""

    def __new__(
        cls,
        *,
        size_limit: int,
        header_limit: int,
        authserv_id: str,
        memory_limit: int,
        memory_budget: int,
    ) -> SmtpLimits:
        """Make the limits of a door.

        Args:
            size_limit: octets of the largest message.
            header_limit: octets of the largest header.
            authserv_id: Authentication-Results fields of this name are removed (RFC 8601 §5).
            memory_limit: octets of one message kept in memory; the rest is returned as `SmtpPart`.
            memory_budget: octets of all messages of the door in memory; above it, each keeps 16 KiB at most.
        """

    @property
    def held(self) -> int:
        """Octets that all readers of the door hold now."""

@final
class SmtpReader:
    """Reads one connection: octets in, events out. Lines and messages end at CR LF only (RFC 5321 §2.3.8)."""

    def __new__(cls, limits: SmtpLimits) -> SmtpReader:
        """Make the reader of a new connection."""

    @property
    def buffered(self) -> int:
        """Octets fed but not read as commands yet."""

    def feed(self, octets: bytes, /) -> None:
        """Take octets from the network."""

    def next(
        self,
    ) -> (
        SmtpMail
        | SmtpRcpt
        | SmtpVerb
        | SmtpBdat
        | SmtpLine
        | SmtpProblem
        | SmtpPart
        | SmtpChunkEnd
        | SmtpMessage
        | None
    ):
        """Return what came next, or `None` until more is fed.

        After `SmtpVerb.DATA` call `begin_data` to take the message; after `SmtpBdat` call `keep_chunk`, or the chunk is
        read and dropped.
        """

    def expect_line(self) -> None:
        """Return the next line as it is: it is not a command (RFC 4954 §4)."""

    def begin_data(self, *, strip_bcc: bool) -> None:
        """Read what follows as a message, up to the line with the dot; `strip_bcc` leaves out its Bcc fields."""

    def keep_chunk(self, *, strip_bcc: bool) -> None:
        """Read the chunk that follows as part of the message."""

    def forget(self) -> None:
        """Drop the message whose chunks have come."""

    def discard(self) -> int:
        """Drop everything that was fed but not read (RFC 3207 §4.2); return how many octets it was."""

@final
class SmtpMail:
    """`MAIL FROM:`; both parts of the null path are empty."""

    @property
    def local_part(self) -> str:
        """Without quotes and quoted pairs."""
    @property
    def domain(self) -> str:
        """ASCII in lower case, or an address literal with its brackets."""
    @property
    def ascii(self) -> bool:
        """Whether the path needs no SMTPUTF8."""
    @property
    def size(self) -> int | None:
        """`SIZE=` (RFC 1870)."""
    @property
    def body(self) -> str | None:
        """`7BIT` or `8BITMIME` (RFC 6152)."""
    @property
    def smtputf8(self) -> bool:
        """`SMTPUTF8` (RFC 6531)."""
    @property
    def ret(self) -> str | None:
        """`FULL` or `HDRS` (RFC 3461 §4.3); read, although the door does not announce DSN yet."""
    @property
    def envid(self) -> str | None:
        """`ENVID=` decoded (RFC 3461 §4.4)."""
    @property
    def auth(self) -> str | None:
        """`AUTH=` decoded (RFC 4954 §5)."""
    @property
    def extended(self) -> bool:
        """Whether there was any parameter."""

@final
class SmtpRcpt:
    """`RCPT TO:`; the domain of `<postmaster>` is empty."""

    @property
    def local_part(self) -> str:
        """Without quotes and quoted pairs."""
    @property
    def domain(self) -> str:
        """ASCII in lower case, or an address literal with its brackets."""
    @property
    def ascii(self) -> bool:
        """Whether the path needs no SMTPUTF8."""
    @property
    def notify(self) -> str | None:
        """`NEVER`, or those of `SUCCESS`, `FAILURE`, `DELAY` in this order, with commas (RFC 3461 §4.1)."""
    @property
    def orcpt(self) -> tuple[str, str] | None:
        """Address type and decoded address (RFC 3461 §4.2)."""
    @property
    def extended(self) -> bool:
        """Whether there was any parameter."""

@final
class SmtpVerb:
    """Commands without arguments."""

    DATA: ClassVar[SmtpVerb]
    RSET: ClassVar[SmtpVerb]
    NOOP: ClassVar[SmtpVerb]
    QUIT: ClassVar[SmtpVerb]

    def __int__(self) -> int:
        """Its number."""

    def __eq__(self, other: object, /) -> bool:
        """Whether it is the same verb, or its number."""

    def __hash__(self) -> int:
        """Equal verbs hash alike."""

@final
class SmtpBdat:
    """`BDAT` (RFC 3030)."""

    @property
    def size(self) -> int:
        """Octets of the chunk."""
    @property
    def last(self) -> bool:
        """Whether the message ends with this chunk."""

@final
class SmtpLine:
    """Any other command, or the line asked for with `expect_line`."""

    @property
    def octets(self) -> bytes:
        """Without CR LF."""

@final
class SmtpProblem:
    """A line that is not a valid command."""

    @property
    def kind(self) -> str:
        """`bare-lf`, `bare-cr`, `line-too-long`, `empty`, `mail-syntax`, `rcpt-syntax`, `path`, `reverse-path`,
        `parameter`, `unknown-parameter`, `argument`, `bdat-syntax`."""

@final
class SmtpPart:
    """Octets of a message that is too large for memory."""

    @property
    def octets(self) -> bytes:
        """They follow those of the part before."""

@final
class SmtpChunkEnd:
    """A BDAT chunk has come completely; not returned for the last chunk of a message that was kept."""

    @property
    def kept(self) -> bool:
        """Whether it belongs to the message."""
    @property
    def last(self) -> bool:
        """Whether the command had `LAST`."""
    @property
    def fault(self) -> str | None:
        """What is wrong with the message so far; see `SmtpMessage.fault`."""

@final
class SmtpMessage:
    """A message has come completely."""

    @property
    def rest(self) -> bytes:
        """Its octets after the last `SmtpPart`."""
    @property
    def size(self) -> int:
        """Octets that came, including fields that were removed."""
    @property
    def fault(self) -> str | None:
        """`bare-line-end`, `too-large`, `header-too-large`: it cannot be taken; nothing else is said about it then."""
    @property
    def received(self) -> int:
        """Number of Received fields."""
    @property
    def has_date(self) -> bool:
        """Whether it has a Date field."""
    @property
    def has_message_id(self) -> bool:
        """Whether it has a Message-ID field."""
    @property
    def has_from(self) -> bool:
        """Whether it has a From field."""

@final
class SmtpCensus:
    """The connections to a door, counted by address."""

    def __new__(cls) -> SmtpCensus:
        """Begin without connections."""

    def enter(self, address: IPv4Address | IPv6Address | str, most: int, most_each: int | None) -> str | None:
        """Count a connection in, or return which limit forbids it: `all`, `address`.

        Args:
            address: of the client.
            most: the largest number of connections.
            most_each: the largest number from one address; `None` for no such limit.
        """

    def leave(self, address: IPv4Address | IPv6Address | str) -> None:
        """Count a connection out."""

    @property
    def total(self) -> int:
        """How many connections there are."""

@final
class SmtpNumbers:
    """Numbers for the connections of a process, from 1 on."""

    def __new__(cls) -> SmtpNumbers:
        """Begin."""

    def __iter__(self) -> SmtpNumbers:
        """Itself."""

    def __next__(self) -> int:
        """Return the next number; never ends."""

@final
class SmtpFront:
    """A thread that has the sockets of a door, and answers what all messages have in common."""

    def __new__(
        cls,
        listener: int,
        *,
        greeting: bytes,
        hostname: str,
        features: bytes,
        lmtp: bool,
        max_message_size: int,
        max_recipients: int,
        limits: SmtpLimits,
        census: SmtpCensus,
        numbers: SmtpNumbers,
        most: int,
        most_each: int,
        idle: float,
        data: float,
    ) -> SmtpFront:
        """Begin to take connections.

        Args:
            listener: the descriptor of a listening socket, which the thread takes over.
            greeting: sent at once, with its line end.
            hostname: our own.
            features: the reply to EHLO, without its last line end.
            lmtp: whether this is LMTP.
            max_message_size: octets that `SIZE=` may declare.
            max_recipients: of one transaction.
            limits: for each reader.
            census: counts the connections.
            numbers: numbers for the connections.
            most: the largest number of connections.
            most_each: the largest number from one address; further ones are handed over, not refused.
            idle: seconds that a client may be silent.
            data: seconds that a message may take.

        Raises:
            OSError: the system has no more descriptors or threads.
        """

    def fileno(self) -> int:
        """A descriptor that is readable when there are notices."""

    def notices(self) -> list[SmtpAsked | SmtpArrived | SmtpDeparture | SmtpExhausted | SmtpClosed]:
        """Return what has to be done now."""

    def remember(
        self, local_part: str, domain: str, value: object, *, room: int | None, lasting: float
    ) -> None:
        """Accept a recipient without asking.

        Args:
            local_part, domain: as the thread asked for them.
            value: represents the recipient in `SmtpArrived.recipients`.
            room: octets of the largest message accepted for it; `None` for any size.
            lasting: seconds for which this holds.
        """

    def forget(self) -> None:
        """Accept no recipient without asking any more."""

    def accept(self, connection: int, value: object) -> None:
        """Accept the recipient that was asked for, this time only."""

    def leave(self, connection: int) -> None:
        """Do not decide here: the connection is handed over as `SmtpDeparture`, with the command."""

    def reply(self, connection: int, reply: bytes, errors: int) -> bool:
        """Reply to a message; return whether the client is still connected.

        Args:
            connection: its number.
            reply: with its line end.
            errors: how many refusals it contains; if any, the connection is handed over as `SmtpDeparture` after it.
        """

    def stop(self) -> None:
        """Take no more connections and hand over the existing ones; then comes `SmtpClosed`."""

    def close(self) -> None:
        """End the thread, with all its remaining connections; deleting this object does the same."""

    def counts(self) -> list[tuple[str, str, int]]:
        """Return verb, code and number of the replies given since the last call."""

    def entered(self) -> int:
        """Return how many connections were taken and greeted since the last call."""

@final
class SmtpAsked:
    """A recipient to decide: answer with `accept` or `leave`."""

    @property
    def connection(self) -> int:
        """Its number."""
    @property
    def local_part(self) -> str:
        """Without quotes and quoted pairs; ASCII."""
    @property
    def domain(self) -> str:
        """ASCII in lower case."""
    @property
    def size(self) -> int:
        """Octets that the message is declared to have; at least 1."""

@final
class SmtpArrived:
    """A message that has come completely: answer with `reply`."""

    @property
    def connection(self) -> int:
        """Its number."""
    @property
    def address(self) -> str:
        """The client's address."""
    @property
    def hello(self) -> str:
        """What the client calls itself."""
    @property
    def extended(self) -> bool:
        """Whether it said EHLO or LHLO."""
    @property
    def mail(self) -> SmtpMail:
        """The command that began the transaction."""
    @property
    def recipients(self) -> list[Any]:
        """The values that recipients were accepted with."""
    @property
    def message(self) -> SmtpMessage:
        """The message, without fault."""

@final
class SmtpDeparture:
    """A connection that a session has to continue."""

    @property
    def descriptor(self) -> int:
        """Its socket, which belongs to the caller from now on."""
    @property
    def number(self) -> int:
        """Its number."""
    @property
    def address(self) -> str:
        """The client's address."""
    @property
    def entered(self) -> bool:
        """Whether it was counted in and greeted; if not, there were too many."""
    @property
    def late(self) -> bool:
        """Whether the client was silent for too long."""
    @property
    def ended(self) -> bool:
        """Whether the client will send nothing more."""
    @property
    def errors(self) -> int:
        """How many refusals the client was sent."""
    @property
    def data_left(self) -> float | None:
        """Seconds that the message being sent may still take; `None` if there is none."""
    @property
    def reader(self) -> SmtpReader:
        """The reader, with everything that was not answered."""
    @property
    def hello(self) -> str | None:
        """What the client calls itself."""
    @property
    def extended(self) -> bool:
        """Whether it said EHLO or LHLO."""
    @property
    def mail(self) -> SmtpMail | None:
        """The command that began the transaction, if there is one."""
    @property
    def recipients(self) -> list[Any]:
        """The values that recipients were accepted with."""
    @property
    def unsent(self) -> bytes:
        """Replies that were not sent."""

@final
class SmtpExhausted:
    """A connection could not be taken, for want of descriptors or memory, and waits; reported once a second."""

    @property
    def error(self) -> str:
        """The system's error message."""

@final
class SmtpClosed:
    """The thread has no connections any more, and takes none."""

# ----------------------------------------------------------------------------------------------------
# mime: what is found out about the octets of a message (rust/esp-mime)
#
# Any octets are a message; no function here fails on them. All take time linear in the size of the message. Parts
# deeper than 100 levels, or after the 10,000th, are not parsed. From 16 KiB on, the GIL is released.

@final
class Description:
    """What IMAP shows of a message without reading it again; stored in `content` at delivery."""

    @property
    def size(self) -> int:
        """`RFC822.SIZE`, octets."""
    @property
    def envelope(self) -> bytes:
        """`ENVELOPE` as it goes on the wire, with its parentheses (RFC 3501 §7.4.2)."""
    @property
    def bodystructure(self) -> bytes:
        """`BODYSTRUCTURE` as it goes on the wire."""
    @property
    def body(self) -> bytes:
        """`BODY` as it goes on the wire: no extension data."""
    @property
    def sent_at(self) -> float | None:
        """The moment of `Date`, seconds since the epoch, UTC; `None` if absent or unreadable."""
    @property
    def message_id(self) -> str | None:
        """`Message-ID` without angle brackets."""
    @property
    def references(self) -> list[str]:
        """The ids of `References`, oldest first; if there are none, the first of `In-Reply-To` (RFC 5256 §3)."""
    @property
    def in_reply_to(self) -> list[str]:
        """The message ids of `In-Reply-To`."""

@final
class Indexed:
    """What is stored about a message for searching, previews and threads, in `content_index`."""

    @property
    def text(self) -> bytes:
        """Its searchable text, compressed, for `search_batch`. It is not worth compressing again: give the column
        `STORAGE EXTERNAL`."""
    @property
    def signature(self) -> bytes:
        """A filter over the text for `may_contain_batch`: 64 octets to 16 KiB, an eighth of the text."""
    @property
    def head(self) -> bytes:
        """Sort keys, thread identifiers and the fields most often searched, for `MailboxIndex.load_heads`."""
    @property
    def preview(self) -> str:
        """The first 200 characters of the text as written, blanks collapsed (RFC 8970)."""
    @property
    def message_id(self) -> str | None:
        """As in `Description`."""
    @property
    def references(self) -> list[str]:
        """As in `Description`."""
    @property
    def in_reply_to(self) -> list[str]:
        """As in `Description`."""
    @property
    def base_subject(self) -> str:
        """The subject without the marks of replies and forwards (RFC 5256 §2.1), in its original case."""

def describe(data: bytes) -> Description:
    """Describe a message."""

def body_section(data: bytes, spec: str) -> bytes | None:
    """Return the octets of `BODY[spec]` (RFC 3501 §6.4.5), or `None` if the message has no such part.

    Raises:
        ValueError: `spec` is not a section.
    """

def search_text(data: bytes) -> tuple[str, str]:
    """Return what a search looks at: header fields, one per line as `name: value`, and the text of all parts.

    Both are decoded (RFC 2047, transfer encoding, charset, HTML tags) and case-folded.
    """

def index_message(data: bytes) -> Indexed:
    """Return what is stored about a message for searching."""

def index_batch(paths: Sequence[str]) -> list[Indexed | None]:
    """Index files, without the GIL; `None` for one that cannot be read."""

def search_batch(blobs: Sequence[bytes], needle: str, where: str = "text") -> list[bool]:
    """Tell which texts contain the needle (RFC 3501 §6.4.4), without the GIL. An invalid blob contains nothing.

    Args:
        blobs: `Indexed.text` of messages
        needle: any string; case does not matter, CRLF is LF
        where: `text` for TEXT, `body` for BODY, `headers`, or `field:<name>` for HEADER, FROM, SUBJECT … ;
            there the empty needle asks whether the field exists

    Raises:
        ValueError: `where` is none of these.
    """

def search_files(paths: Sequence[str], needle: str, where: str = "text") -> list[bool | None]:
    """Like `search_batch`, for messages without stored text; `None` for a file that cannot be read.

    Raises:
        ValueError: as `search_batch`.
    """

def may_contain_batch(signatures: Sequence[bytes], needle: str) -> list[bool]:
    """Tell for each signature whether a text with it may contain the needle, in any scope; no false negatives."""

def base_subject(subject: str) -> tuple[str, bool]:
    """Return the base subject (RFC 5256 §2.1) and whether the subject was marked as a reply or a forward."""

def collation_key(text: str) -> bytes:
    """Return octets that order texts without regard to case (`i;unicode-casemap`, RFC 5051)."""

def decode_header(value: bytes) -> str:
    """Return a header field's body as text on one line: unfolded, encoded-words decoded (RFC 2047)."""

# maildir: message files that are on the disk when the call returns (rust/esp-maildir)
#
# Folders and paths are below the store's root, in `/` form. Every call releases the GIL while it touches files.

@final
class Store:
    """All Maildirs below one root; any number of processes may open it. Threads start when first used."""

    def __new__(
        cls, root: str | os.PathLike[str], threads: int, sync: bool, host: str, *, journal: bool = False
    ) -> Self:
        """Open `root`, which must exist. `host` becomes a part of file names.

        `journal` is for a process that delivers all the time: a journal below the root makes messages of up to 32 KiB
        durable first, and their files are synced together some seconds later; `close` the store in the end.

        Raises:
            OSError: it cannot be opened.
        """

    @property
    def poisoned(self) -> bool:
        """Whether a sync has failed; then nothing is accepted until the process is started again.

        A failed sync is never tried again, for the kernel may then report success although pages were lost.
        """

    @property
    def journal_failure(self) -> Failure | None:
        """Why there is no journal although one is wanted; each delivery is then synced by itself."""

    def close(self) -> None:
        """Sync what is only in the journal, and remove it. May block; from now on deliveries are synced at once."""

    def left_journals(self) -> LeftJournals:
        """Take the journals of processes that were killed or lost power. Waits while another process has them; they are
        released with the object.

        Raises:
            OSError: the journals cannot be searched for.
        """

    def spool(self) -> Spool:
        """Return a file for a large body to be written to, on the same file system.

        Raises:
            OSError: there is no room.
        """

    def make_folder(self, folder: str) -> None:
        """Make a Maildir with all folders above it, durably; an existing one is no error.

        Raises:
            OSError: no room or no permission.
            ValueError: the path would leave the root.
        """

    def begin(self, items: Sequence[DeliverItem]) -> Delivering | None:
        """Like `deliver`, but in a thread, for messages that the journal takes; `None` if these are not such, and
        nothing was done. Parses up to 1 MiB."""

    def deliver(self, items: Sequence[DeliverItem]) -> list[Stored | Failure]:
        """Parse and write every item durably, each into all its folders (one inode) or into none.

        Missing folders are made. One result for each item, in order; each item can be delivered once.
        """

    def names(self, sizes: Sequence[int]) -> list[str]:
        """Return new base names for messages of these sizes, for `link`."""

    def link(
        self, sources: Sequence[str], folder: str, bases: Sequence[str], letters: Sequence[str | None]
    ) -> list[bool]:
        """Link message files (paths) into another folder under these base names (`names`), durably.

        Returns for each whether its source exists; a source whose letters changed is found. All or none.

        Raises:
            OSError: no room or no permission, or the store is poisoned.
        """

    def scan(self, folder: str) -> list[Entry]:
        """Return every message file of a Maildir, including leftovers in `tmp`.

        Raises:
            FileNotFoundError: there is no such folder.
        """

    def read(
        self, folder: str, base: str, letters: str | None, offset: int = 0, length: int | None = None
    ) -> bytes:
        """Return `length` octets of a message, fewer at its end; without `length`, all from `offset`.

        `letters` are those last known (`None`: in `new`); if the file is not there, it is looked for.

        Raises:
            FileNotFoundError: the message is gone.
        """

    def rename(
        self, folder: str, renames: Sequence[tuple[str, str | None, str | None]]
    ) -> list[Failure | None]:
        """Give files new letters: (base, known letters, wanted letters); `None` means `new`. Not synced.

        Raises:
            FileNotFoundError: there is no such folder.
        """

    def unlink(self, paths: Sequence[str]) -> list[Failure]:
        """Remove files, whatever their letters are by now; return the failures. A missing file is no failure."""

@final
class LeftJournals:
    """Journals that no process writes to any more."""

    @property
    def count(self) -> int:
        """How many there are."""

    def missing(self, number: int) -> list[KeptMessage]:
        """Return the messages of journal `number`, from 0, that are not complete in all their folders. May block.

        Torn files are removed. The caller has to know whether a message should exist; `restore` shows whether it
        can.

        Raises:
            OSError: the journal cannot be read.
        """

    def restore(self, message: KeptMessage, paths: Sequence[str]) -> None:
        """Write a message again, under each of these names of the same base. It is not durable before `forget`.

        Raises:
            OSError: no room or no permission, or a name is taken.
            ValueError: the names are not of one message.
        """

    def forget(self) -> None:
        """Make everything durable, and remove the journals.

        Raises:
            OSError: something could not be written; the journals stay.
        """

@final
class KeptMessage:
    """A message in a journal."""

    @property
    def paths(self) -> list[str]:
        """Paths below the root at which it was delivered but is missing."""

@final
class Spool:
    """A large body being received: a file without a name, so one that is dropped leaves nothing behind."""

    @property
    def size(self) -> int:
        """Octets written. Raises ValueError once closed or delivered."""

    def write(self, octets: bytes | bytearray) -> None:
        """Append.

        Raises:
            OSError: `errno` ENOSPC or EDQUOT when the disk is full.
            ValueError: the spool is closed or was delivered.
        """

    def close(self) -> None:
        """Free the room now."""

@final
class DeliverItem:
    """A message and its folders, for one `Store.deliver`."""

    def __new__(
        cls,
        prefix: bytes | bytearray,
        body: bytes | bytearray | Spool,
        folders: Sequence[str],
        flags_letters: Sequence[str | None],
        mtime_ns: int,
    ) -> Self:
        """Take what is needed; the spool is used up.

        `flags_letters` are the letters after `:2,` in each folder; `None` puts the file into `new`. `mtime_ns` is the
        internal date. A spool with an empty prefix needs no copy.

        Raises:
            ValueError: no folder, not as many letters as folders, or a spool that was used before.
        """

@final
class Stored:
    """A message that is on the disk."""

    @property
    def base(self) -> str:
        """File name without `:2,…`, the same in every folder."""
    @property
    def description(self) -> Description:
        """What was found out about its octets."""
    @property
    def size(self) -> int:
        """Octets, including the prefix."""
    @property
    def paths(self) -> list[str]:
        """One path for each folder, in order."""

@final
class Delivering:
    """Messages whose files are being written by a thread (`Store.begin`)."""

    @property
    def stored(self) -> list[Stored]:
        """The messages as they will be when they are there, in order."""
    def finish(self, line: Line, success: bytes, failure: bytes) -> bytes | None:
        """Have one or the other sent as soon as it is known whether all files are durable, by the thread that knows it.

        If it is known already, nothing is sent, and the octets to send are returned. Of several calls before that, only
        the last one counts. A line that does not take all the octets is shut.
        """
    def failures(self) -> list[Failure | None]:
        """Return for each message, in order, why it is not there, or `None`. Blocks until nothing is under way any
        more; what `finish` sends is sent after that."""

@final
class Line:
    """A connection's socket, for threads that do not wait for the GIL."""

    def __new__(cls, descriptor: int) -> Self:
        """Duplicate the descriptor of a socket.

        Raises:
            OSError: it is not a descriptor, or there are too many.
        """
    def send(self, octets: bytes) -> int:
        """Send as much as there is room for, and return how much that was; never blocks.

        Raises:
            OSError: the connection is lost.
        """
    def shut(self) -> None:
        """End the connection, for all holders of its descriptors."""

@final
class Failure:
    """Why a file is not there; `str()` of it is for the log."""

    @property
    def reason(self) -> Literal["full", "poisoned", "missing", "failed"]:
        """`full`: no room, see `errno` for disk or quota; `poisoned`: see `Store.poisoned`."""
    @property
    def operation(self) -> str:
        """The operation that was tried."""
    @property
    def path(self) -> str:
        """The path of that operation."""
    @property
    def errno(self) -> int:
        """The system's error number; 0 if the error is not the system's."""

@final
class Entry:
    """A message file as a scan found it."""

    @property
    def part(self) -> Literal["tmp", "new", "cur"]:
        """The folder within the Maildir."""
    @property
    def base(self) -> str:
        """Name without `:2,…`."""
    @property
    def letters(self) -> str | None:
        """Letters after `:2,`; `None` if there are none."""
    @property
    def size(self) -> int:
        """Octets."""
    @property
    def mtime_ns(self) -> int:
        """The internal date, in nanoseconds."""
    @property
    def ctime_ns(self) -> int:
        """When a link was last made or removed, in nanoseconds."""
    @property
    def inode(self) -> int:
        """Equal for links to the same octets."""

def sync_file_system(path: str | os.PathLike[str]) -> None:
    """Make everything that was written to the file system of `path` durable, whichever process wrote it.

    Raises:
        OSError: it cannot be opened; from Linux 5.8 on, also if something could not be written.
    """
