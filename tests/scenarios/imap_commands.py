"""Commands drawn at random, as text; `{p}` is the prefix of all mailbox names, `{since}` a mod-sequence."""

from hypothesis import strategies as st

MESSAGES = (
    b"From: Ann Other <ann@example.org>\r\nTo: bob@example.org\r\nSubject: apples\r\n"
    b"Date: Mon, 1 Jan 2024 10:00:00 +0000\r\nMessage-ID: <1@x>\r\n\r\nAn apple a day\r\n",
    b"From: bob@example.org\r\nTo: ann@example.org\r\nCc: Carol <carol@example.org>\r\nSubject: Re: apples\r\n"
    b"Date: Mon, 1 Jan 2024 12:00:00 +0200\r\nMessage-ID: <2@x>\r\nIn-Reply-To: <1@x>\r\n"
    b"References: <1@x>\r\n\r\nkeeps the doctor away\r\n",
    b"From: carol@example.org\r\nTo: ann@example.org, bob@example.org\r\nSubject: =?utf-8?q?B=C3=A4ume?=\r\n"
    b"Date: Tue, 2 Jan 2024 23:30:00 -0800\r\nMessage-ID: <3@x>\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n'
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\nB=C3=A4ume und Wald\r\n--b\r\n"
    b"Content-Type: application/octet-stream; name=x.bin\r\nContent-Transfer-Encoding: base64\r\n"
    b"Content-Disposition: attachment; filename=x.bin\r\n\r\nAAECAw==\r\n--b--\r\n",
    b"From: ann@example.org\r\nBcc: secret@example.org\r\nSubject: oranges\r\nX-Tag: one\r\n"
    b"Date: Wed, 3 Jan 2024 00:00:00 +0000\r\nMessage-ID: <4@x>\r\n\r\n" + b"orange juice\r\n" * 40,
    b"From: dave@example.org\r\nSubject: Re: apples (fwd)\r\nDate: Thu, 4 Jan 2024 08:00:00 +0000\r\n"
    b"Message-ID: <5@x>\r\nReferences: <1@x> <2@x>\r\nContent-Type: text/html\r\n\r\n"
    b"<p>An <b>apple</b> for the <i>teacher</i></p>\r\n",
    b"Subject: bare\r\nDate: Fri, 5 Jan 2024 01:00:00 +0900\r\n\r\nnothing else\r\n",
)
DATES = ('"01-Jan-2024 10:00:00 +0000"', '" 2-Jan-2024 23:59:59 +0000"', '"15-Feb-2024 00:00:00 +0000"')
FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "\\Draft", "$Work", "later")
BOXES = ("{p}", "{p}/sub")
NAMES = ("{p}/x", "{p}/x/y", "{p}/z", "{p}/z/", "{p}2", '"{p}/with space"')


def _words(*words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words)


def _join(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[str]:
    whole = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*whole).map("".join)


# Most of those that are there (six in the beginning): what is refused as a whole shows little.
NUMBER = st.one_of(st.integers(1, 3), st.integers(1, 3), st.integers(1, 8)).map(str)
RANGE = st.one_of(NUMBER, NUMBER, _join(NUMBER, ":", NUMBER), _words("*", "1:*", "3:*", "*:2"))
SET = st.one_of(RANGE, RANGE, st.lists(RANGE, min_size=2, max_size=3).map(",".join))
FLAG_LIST = st.lists(_words(*FLAGS), max_size=3, unique=True).map(" ".join)
UID = _words("", "", "UID ")

_ITEM = _words(
    "FLAGS", "UID", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE", "BODY.PEEK[]",
    "BODY[TEXT]",
    "BODY.PEEK[HEADER]", "BODY.PEEK[HEADER.FIELDS (Subject From)]", "BODY.PEEK[HEADER.FIELDS.NOT (Subject)]",
    "BODY.PEEK[1]", "BODY.PEEK[1.MIME]", "BODY.PEEK[2]", "BODY.PEEK[2.MIME]", "BODY.PEEK[3]", "BODY[]<0.20>",
    "BODY.PEEK[TEXT]<5.10>", "BODY.PEEK[]<9999.5>", "RFC822", "RFC822.HEADER", "RFC822.TEXT", "BODY[1]",
    "MODSEQ",
)  # fmt: skip
_ITEMS = st.one_of(
    st.lists(_ITEM, min_size=1, max_size=4, unique=True).map(lambda items: f"({' '.join(items)})"),
    _ITEM,
    _words("ALL", "FAST", "FULL"),
)
FETCH = st.one_of(
    _join(UID, "FETCH ", SET, " ", _ITEMS),
    _join(UID, "FETCH ", SET, " ", _ITEMS),
    _join(UID, "FETCH ", SET, " (FLAGS) (CHANGEDSINCE {since})"),
)
STORE = _join(
    UID, "STORE ", SET, " ", _words("", "", "", "(UNCHANGEDSINCE {since}) "), _words("", "+", "-", "+"), "FLAGS",
    _words("", "", ".SILENT"), " (", FLAG_LIST, ")",
)  # fmt: skip
COPY = _join(UID, _words("COPY ", "MOVE "), SET, " ", _words(*BOXES, "{p}/nowhere"))
EXPUNGE = st.one_of(st.just("EXPUNGE"), _join("UID EXPUNGE ", SET))

_TEXT = _words(
    "apple", "APPLE", "ann", "example.org", "orange juice", "teacher", "zebra", "b<", "wald", "one", ""
)
_QUOTED = _TEXT.map(lambda text: f'"{text}"')
_DATE = _words("1-Jan-2024", "2-Jan-2024", '"03-Jan-2024"', "15-Feb-2024", "1-Jan-2030")
_LEAF = st.one_of(
    _words(
        "ALL", "ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN", "UNANSWERED", "UNDELETED", "UNDRAFT",
        "UNFLAGGED", "UNSEEN", "KEYWORD $Work", "UNKEYWORD $Work", "KEYWORD later", "KEYWORD nobody",
        "LARGER 200", "SMALLER 200", "LARGER 0", "HEADER X-Tag \"\"", "HEADER X-Tag one", "HEADER Subject apples",
        "MODSEQ 1", "YOUNGER 3600", "OLDER 3600", "OLDER 999999999",
    ),
    _join(_words("BCC", "CC", "FROM", "TO", "SUBJECT", "BODY", "TEXT"), " ", _QUOTED),
    _join(_words("BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE"), " ", _DATE),
    SET,
    _join("UID ", SET),
)  # fmt: skip
KEY = st.recursive(
    _LEAF,
    lambda inner: st.one_of(
        _join("NOT ", inner),
        _join("OR ", inner, " ", inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda keys: f"({' '.join(keys)})"),
    ),
    max_leaves=4,
)
KEYS = st.lists(KEY, min_size=1, max_size=3).map(" ".join)
_RETURN = st.one_of(
    st.just(""),
    st.just(""),
    st.lists(_words("MIN", "MAX", "ALL", "COUNT"), max_size=4, unique=True).map(
        lambda o: f"RETURN ({' '.join(o)}) "
    ),
)
_CHARSET = _words("", "", "", "CHARSET UTF-8 ", "CHARSET US-ASCII ", "CHARSET X-UNKNOWN ")
SEARCH = st.one_of(
    _join(UID, "SEARCH ", _RETURN, _CHARSET, KEYS),
    _join(UID, "SEARCH RETURN (SAVE) ", KEYS),
    _join(UID, "SEARCH $"),
    _join(UID, "FETCH $ (UID)"),
)
SORT = _join(
    UID, "SORT (",
    st.lists(
        _join(_words("", "", "REVERSE "), _words("ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO")),
        min_size=1, max_size=3,
    ).map(" ".join),
    ") ", _words("UTF-8", "US-ASCII"), " ", KEYS,
)  # fmt: skip
THREAD = _join(UID, "THREAD ", _words("REFERENCES", "ORDEREDSUBJECT"), " UTF-8 ", KEYS)

ITEMS_OF_STATUS = st.lists(
    _words("MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "RECENT", "HIGHESTMODSEQ", "SIZE"),
    min_size=1, max_size=4, unique=True,
).map(" ".join)  # fmt: skip
STATUS = _join("STATUS ", _words(*BOXES, *NAMES), " (", ITEMS_OF_STATUS, ")")
SELECT = _join(
    _words("SELECT ", "SELECT ", "EXAMINE "),
    _words(*BOXES, *BOXES, "{p}/nowhere"),
    _words("", "", " (CONDSTORE)"),
)
NAMING = st.one_of(
    _join(_words("CREATE ", "CREATE ", "DELETE "), _words(*NAMES)),
    _join(_words("SUBSCRIBE ", "UNSUBSCRIBE "), _words(*BOXES)),
    _join("RENAME ", _words(*NAMES[:3], NAMES[4]), " ", _words(*NAMES)),
)
LIST = st.one_of(
    _join(_words("LIST", "LSUB"), ' "" ', _words('"{p}*"', '"{p}/%"', '"{p}%"', '"{p}/x/%"', "{p}/x", '"{p}*/y"')),
    _join(_words("LIST", "LSUB"), ' "{p}/" ', _words('"%"', '"*"', '"x%"')),
    _join(
        "LIST ", _words("(SUBSCRIBED) ", "(SUBSCRIBED RECURSIVEMATCH) ", ""), '"" ',
        _words('"{p}*"', '("{p}" "{p}/%")'),
        _words("", " RETURN (CHILDREN)", " RETURN (SUBSCRIBED)", " RETURN (STATUS (MESSAGES UNSEEN))"),
    ),
)  # fmt: skip
APPEND = st.tuples(
    _words(*BOXES, "{p}/nowhere"), FLAG_LIST, _words("", *DATES), st.sampled_from(MESSAGES)
).map(
    lambda drawn: (
        f"APPEND {drawn[0]} ({drawn[1]}) {drawn[2]}{' ' if drawn[2] else ''}"
        f"{{{len(drawn[3])}+}}\r\n{drawn[3].decode('latin-1')}"
    )
)
OTHER = _words("CLOSE", "UNSELECT", "CHECK", "ENABLE CONDSTORE", "ENABLE NONSENSE", "NOOP")

BROKEN = (
    "", "FROBNICATE", "SELECT", "SELECT ", "SELECT {p} {p}", "EXAMINE (a)", "CREATE", "CREATE ", "DELETE",
    "RENAME {p}",
    "LIST", 'LIST ""', 'LIST "" * *', "LSUB", "STATUS {p}", "STATUS {p} ()", "STATUS {p} (FOO)",
    "STATUS {p} MESSAGES", "APPEND {p}", "APPEND {p} (\\Seen)", "APPEND {p} hello", "FETCH", "FETCH 1",
    "FETCH 1 ",
    "FETCH 1 FOO", "FETCH 0 FLAGS", "FETCH 1: FLAGS", "FETCH :1 FLAGS", "FETCH a FLAGS", "FETCH 1,,2 FLAGS",
    "FETCH 1 (FLAGS", "FETCH 1 FLAGS)", "FETCH 1 ()", "FETCH 1 BODY[", "FETCH 1 BODY[]<0>",
    "FETCH 1 BODY[]<0.0>",
    "FETCH 1 BODY[FOO]", "FETCH 1 BODY[0]", "FETCH 1 BODY[MIME]", "FETCH 1 BODY[HEADER.FIELDS]",
    "FETCH 1 BODY[HEADER.FIELDS ()]", "FETCH 1 (ALL FLAGS)", "FETCH 99999999999 FLAGS", "STORE", "STORE 1",
    "STORE 1 FLAGS",
    "STORE 1 FOO (\\Seen)", "STORE 1 +FLAGS (\\Seen", "STORE 1 +FLAGS (\\Recent)",
    "STORE 1 +FLAGS \\Seen \\Deleted",
    "STORE 1 (UNCHANGEDSINCE) FLAGS ()", "STORE 1 (UNCHANGEDSINCE a) FLAGS ()", "STORE 1 (FOO 1) FLAGS ()",
    "SEARCH",
    "SEARCH FOO", "SEARCH OR SEEN", "SEARCH NOT", "SEARCH (SEEN", "SEARCH ()", "SEARCH HEADER Subject",
    "SEARCH BEFORE yesterday", "SEARCH BEFORE 32-Jan-2024", "SEARCH LARGER big", "SEARCH LARGER -1",
    "SEARCH KEYWORD",
    "SEARCH KEYWORD \\Seen", "SEARCH UID", "SEARCH UID 0", "SEARCH RETURN ALL SEEN", "SEARCH RETURN (FOO) ALL",
    "SEARCH CHARSET", "SEARCH CHARSET UTF-8", "SEARCH MODSEQ", "SEARCH YOUNGER 0", "SEARCH YOUNGER a", "COPY",
    "COPY 1",
    "COPY 1 {p} {p}", "MOVE 1", "UID", "UID FOO 1", "UID NOOP", "UID FETCH 0 FLAGS", "UID STORE 1",
    "UID EXPUNGE", "EXPUNGE 1",
    "NOOP NOOP", "CLOSE 1", "ENABLE", "SUBSCRIBE", "UNSUBSCRIBE", 'SELECT "unclosed', 'CREATE "a\\b"',
    "CREATE a*b",
    "CREATE a%b", "CREATE {p}//x", "CREATE /", "CREATE &bad", "GETQUOTA", "ID", "ID foo", "ID (a)",
    "ID (\"a\" NIL)",  "UNSELECT 1",
)  # fmt: skip
"""What no server should take, or few; with the same answer from both."""
