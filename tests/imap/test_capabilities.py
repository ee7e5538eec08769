"""Every capability that is advertised has an effect that can be seen, and none is advertised without one shown here.

An entry is what a client says, and a pattern that is in the answer to the last of it only as long as the capability's
work is done. All say it to a running ESP, over TLS, to a mailbox with two messages selected. What takes more than an
answer to be seen (time, another session, other octets) is seen by another test, which is named.
"""

import re
import secrets
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator

import pytest

from tests.imap import test_compression, test_connection, test_progress, test_sharing
from tests.support import peers
from tests.support.instance import Instance

USER = "capable@example.test"
ADMINISTRATOR = "capable-admin@example.test"
PASSWORD = secrets.token_urlsafe(12)
MESSAGES = (
    b"Subject: apples\r\nFrom: Zoe <ann@example.org>\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\nMessage-ID: <1@x>\r\n"
    b"Content-Transfer-Encoding: base64\r\nContent-Type: text/plain\r\n\r\naGVsbG8gd29ybGQ=\r\n",
    b"Subject: Re: apples\r\nFrom: Adam <bob@example.org>\r\nDate: Tue, 2 Jan 2024 10:00:00 +0000\r\n"
    b"Message-ID: <2@x>\r\nReferences: <1@x>\r\n\r\ncomputers are running\r\n",
)

_PLAIN = b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
_SCRAM_PLUS = b64encode(f"p=tls-server-end-point,,n={USER},r=abc".encode()).decode()
_SCRAM = b64encode(f"n,,n={USER},r=abc".encode()).decode()

EFFECTS: dict[str, tuple[str, ...]] = {
    "ACL": ("GETACL box", r"\* ACL box .*lr"),
    "APPENDLIMIT": ("APPEND box {99999999999}", r" NO \[TOOBIG\]"),
    "BINARY": ("FETCH 1 BINARY.PEEK[1]", r"BINARY\[1\] (~?\{11\}\r\n|\")hello world"),
    "CATENATE": (
        'APPEND box CATENATE (URL "/box/;UID=1/;SECTION=HEADER" TEXT {3+}\r\nabc)',
        r"OK \[APPENDUID",
    ),
    "CHILDREN": ("CREATE parent/child", 'LIST "" parent', r"\\HasChildren"),
    "CONDSTORE": ("STORE 1 (UNCHANGEDSINCE 1) +FLAGS ($x)", r"\[MODIFIED 1\]"),
    "CONTEXT=SEARCH": ("UID SEARCH RETURN (UPDATE ALL) ALL", r'ESEARCH \(TAG "t\d+"\) UID ALL 1:2'),
    "CONTEXT=SORT": ("UID SORT RETURN (UPDATE ALL) (REVERSE DATE) UTF-8 ALL", r"ESEARCH .*UID ALL 2[,:]1"),
    "CREATE-SPECIAL-USE": (
        "DELETE Archive",
        "CREATE mine (USE (\\Archive))",
        'LIST (SPECIAL-USE) "" mine',
        r"\\Archive",
    ),
    "ENABLE": ("ENABLE UTF8=ACCEPT", r"\* ENABLED UTF8=ACCEPT"),
    "ESEARCH": ("SEARCH RETURN (MIN COUNT) ALL", r"ESEARCH .*(MIN 1.*COUNT 2|COUNT 2.*MIN 1)"),
    "ESORT": ("SORT RETURN (COUNT ALL) (REVERSE DATE) UTF-8 ALL", r"ESEARCH .*ALL (2,1|2:1)"),
    "ID": ("ID NIL", r'\* ID \(.*"name"'),
    "IMAP4rev1": ("SELECT box", r"\* \d+ RECENT"),
    "IMAP4rev2": ("ENABLE IMAP4rev2", "SEARCH ALL", r"\* ESEARCH"),
    "LIST-EXTENDED": (
        "SUBSCRIBE Sent",
        'LIST (SUBSCRIBED) "" (Sen% Nothing) RETURN (CHILDREN)',
        r"\\Subscribed.* Sent",
    ),
    "LIST-METADATA": (
        'SETMETADATA Sent (/private/comment "mine")',
        'LIST "" Sent RETURN (METADATA (/private/comment))',
        r"\* METADATA Sent \(/private/comment (\"mine\"|\{4\}\r\nmine)\)",
    ),
    "LIST-MYRIGHTS": ('LIST "" Sent RETURN (MYRIGHTS)', r"\* MYRIGHTS Sent \w*lr"),
    "LIST-STATUS": ('LIST "" box RETURN (STATUS (MESSAGES))', r"\* STATUS box \(MESSAGES 2\)"),
    "LITERAL+": ("CREATE {4+}\r\nplus", r" OK "),
    "METADATA": (
        'SETMETADATA box (/private/comment "c")',
        "GETMETADATA box /private/comment",
        r"comment (\"c\"|\{1\}\r\nc)",
    ),
    "METADATA-SERVER": (
        'SETMETADATA "" (/private/comment "c")',
        'GETMETADATA "" /private/comment',
        r"comment (\"c\"|\{1\}\r\nc)",
    ),
    "MOVE": ("MOVE 1 Trash", r"COPYUID[^\0]*\* 1 EXPUNGE"),
    "MULTIAPPEND": ("APPEND box {3+}\r\nabc {3+}\r\ndef", r"APPENDUID \d+ 3:4"),
    "MULTISEARCH": ('ESEARCH IN (mailboxes "box") ALL', r'\* ESEARCH .*MAILBOX "?box'),
    "NAMESPACE": ("NAMESPACE", r'\* NAMESPACE \(\("" "/"\)'),
    "NOTIFY": ("NOTIFY SET STATUS (PERSONAL (MessageNew MessageExpunge))", r'\* STATUS "?Sent'),
    "OBJECTID": ("FETCH 1 (EMAILID THREADID)", r"EMAILID \([A-Za-z0-9_-]+\) THREADID \([A-Za-z0-9_-]+\)"),
    "PARTIAL": ("UID SEARCH RETURN (PARTIAL 1:1) ALL", r"PARTIAL \(1:1 1\)"),
    "PREVIEW": ("FETCH 1 PREVIEW", r'PREVIEW ("hello world"|\{11\}\r\nhello)'),
    "QRESYNC": ("ENABLE QRESYNC", "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE", r"\* VANISHED 1"),
    "QUOTA": ("GETQUOTAROOT box", r"\* QUOTA "),
    "QUOTA=RES-MESSAGE": ("STATUS box (DELETED)", r"DELETED 0"),
    "QUOTA=RES-STORAGE": ("STATUS box (DELETED-STORAGE)", r"DELETED-STORAGE 0"),
    "REPLACE": ("REPLACE 1 box {3+}\r\nabc", r"APPENDUID[^\0]*\* 1 EXPUNGE"),
    "RIGHTS=texk": ("MYRIGHTS box", r"\* MYRIGHTS box (?=\w*t)(?=\w*e)(?=\w*x)\w*k"),
    "SASL-IR": ("UNAUTHENTICATE", f"AUTHENTICATE PLAIN {_PLAIN}", r" OK "),
    "SAVEDATE": ("FETCH 1 SAVEDATE", r'SAVEDATE "'),
    "SEARCH=FUZZY": (
        "SEARCH RETURN (ALL RELEVANCY) FUZZY BODY {14+}\r\nruns computing",
        r"\* ESEARCH .*ALL 2 RELEVANCY \(100\)",
    ),
    "SEARCHRES": ("SEARCH RETURN (SAVE) SUBJECT Re", "FETCH $ UID", r"\* 2 FETCH \(UID 2\)"),
    "SORT": ("SORT (REVERSE DATE) UTF-8 ALL", r"\* SORT 2 1"),
    "SORT=DISPLAY": ("SORT (DISPLAYFROM) UTF-8 ALL", r"\* SORT 2 1"),
    "SPECIAL-USE": ('LIST "" Drafts', r"\\Drafts"),
    "STATUS=SIZE": ("STATUS box (SIZE)", f"SIZE {sum(map(len, MESSAGES))}"),
    "THREAD=ORDEREDSUBJECT": ("THREAD ORDEREDSUBJECT UTF-8 ALL", r"\* THREAD \(1 2\)"),
    "THREAD=REFERENCES": ("THREAD REFERENCES UTF-8 ALL", r"\* THREAD \(1 2\)"),
    "THREAD=REFS": ("THREAD REFS UTF-8 ALL", r"\* THREAD \(1 2\)"),
    "UIDONLY": ("ENABLE UIDONLY", "UID FETCH 1 FLAGS", r"\* 1 UIDFETCH \("),
    "UIDPLUS": ("UID STORE 1:2 +FLAGS (\\Deleted)", "UID EXPUNGE 2", r"\* 2 EXPUNGE"),
    "UNAUTHENTICATE": ("UNAUTHENTICATE", "STATUS box (MESSAGES)", r" BAD "),
    "UNSELECT": ("STORE 1 +FLAGS (\\Deleted)", "UNSELECT", "STATUS box (MESSAGES)", r"MESSAGES 2"),
    "UTF8=ACCEPT": ("ENABLE UTF8=ACCEPT", 'CREATE "Bäume"', 'LIST "" B*', r'"Bäume"'),
    "WITHIN": ("SEARCH YOUNGER 3600", r"\* SEARCH 1 2"),
}
"""By capability, without what follows `=` where that is a number."""

BEFORE: dict[str, tuple[str, ...]] = {
    "AUTH=PLAIN": ("AUTHENTICATE PLAIN", r"\+ "),
    "AUTH=LOGIN": ("AUTHENTICATE LOGIN", r"\+ VX"),
    "AUTH=SCRAM-SHA-256": (f"AUTHENTICATE SCRAM-SHA-256 {_SCRAM}", r"\+ cj1hYm"),
    "AUTH=SCRAM-SHA-256-PLUS": (f"AUTHENTICATE SCRAM-SHA-256-PLUS {_SCRAM_PLUS}", r"\+ cj1hYm"),
}
"""Said over TLS before a login."""

IN_CLEAR: dict[str, tuple[str, ...]] = {
    "LOGINDISABLED": (f"LOGIN {USER} {PASSWORD}", r" NO \[PRIVACYREQUIRED\]"),
}
"""Said without TLS."""


FOR_ADMINISTRATORS: dict[str, tuple[str, ...]] = {
    "QUOTASET": ('SETQUOTA "" (STORAGE 512000)', r'\* QUOTA "" \(STORAGE \d+ 512000\)'),
}
"""Said by one."""

ELSEWHERE = {
    "COMPRESS=DEFLATE": test_compression.test_commands_literals_and_pipelines_pass_both_ways,
    "IDLE": test_sharing.test_idle_hears_of_mail_that_another_process_took,
    "INPROGRESS": test_progress.test_a_client_that_waits_is_told_so,
    "SAVELIMIT": test_progress.test_too_many_messages_are_not_copied,
    "STARTTLS": test_connection.test_starttls_hides_what_follows,
}
"""Seen by these tests."""


@pytest.fixture(scope="module")
def door(esp_instance: Instance) -> Iterator[Instance]:
    """A running ESP with an account for this."""
    esp_instance.cli("user", "add", USER, "--password-stdin", text=PASSWORD)
    esp_instance.cli("user", "add", ADMINISTRATOR, "--password-stdin", "--admin", text=PASSWORD)
    yield esp_instance
    for address in (USER, ADMINISTRATOR):
        esp_instance.cli("user", "remove", address)


def connect(door: Instance, *, clear: bool = False) -> peers.Peer:
    """Return a session that nobody is logged in to."""
    if clear:
        peer = peers.Peer(peers.Socket(socket.create_connection(("127.0.0.1", door.ports["imap"]), 30)))
        peer.read()
        return peer
    return peers.secure(door.ports["imaps"], door.ca_file)


def log_in_as_administrator(door: Instance) -> peers.Peer:
    """Return a session of an account that may set limits."""
    peer = connect(door)
    peer.command(f"LOGIN {ADMINISTRATOR} {PASSWORD}".encode())
    return peer


def log_in(door: Instance) -> peers.Peer:
    """Return a session with two messages in the selected mailbox, and nothing else that others left."""
    peer = connect(door)
    peer.command(f"LOGIN {USER} {PASSWORD}".encode())
    for mailbox in ("box", "mine", "parent/child", "parent", "plus", "minus", "B&AOQ-ume"):
        peer.command(f"DELETE {mailbox}".encode())
    peer.command(b"CREATE Archive (USE (\\Archive))")
    peer.command(b"CREATE box")
    for message in MESSAGES:
        peer.command(b"APPEND box {%d+}\r\n%b" % (len(message), message))
    peer.command(b"SELECT box")
    return peer


def advertised(peer: peers.Peer) -> set[str]:
    """Return the capabilities of a session as it is."""
    names = {str(value) for value in peer.command(b"CAPABILITY")[0].values}
    return {re.sub(r"=\d+$", "", name) for name in names}


def say(peer: peers.Peer, effect: tuple[str, ...]) -> None:
    """Send the commands of an entry, and look for its pattern in the last answer."""
    *before, command, pattern = effect
    for each in before:
        peer.command(each.encode())
    answer = peer.answer(command.encode()).decode("utf-8", "replace")
    assert re.search(pattern, answer), f"{command}: {answer!r}"
    peer.pipe.close()


STATES: dict[str, tuple[dict[str, tuple[str, ...]], Callable[[Instance], peers.Peer]]] = {
    "authenticated": (EFFECTS, log_in),
    "before login": (BEFORE, connect),
    "administrator": (FOR_ADMINISTRATORS, log_in_as_administrator),
    "in clear": (IN_CLEAR, lambda door: connect(door, clear=True)),
}


@pytest.mark.parametrize(
    ("state", "capability"), [(state, name) for state, (effects, _) in STATES.items() for name in effects]
)
def test_a_capability_has_its_effect(door: Instance, state: str, capability: str) -> None:
    effects, session = STATES[state]
    assert capability in advertised(session(door))
    say(session(door), effects[capability])


def test_what_is_advertised_is_what_is_shown_here(door: Instance) -> None:
    shown = {name for effects, _ in STATES.values() for name in effects}
    said = set.union(*(advertised(session(door)) for _, session in STATES.values()))
    assert said == shown | ELSEWHERE.keys()
    assert not shown & ELSEWHERE.keys()
