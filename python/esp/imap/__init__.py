"""The IMAP door: commands in, responses out (RFC 3501, and the extensions `capabilities` names).

In: octets of clients. Out: untagged and tagged responses; every decision and every change is a service's. Octets are
read into commands, and responses rendered from the mailbox index, by Rust (`esp.native`).

Connections and sessions

    server          listens, admits, shares, drains         connection      octets, events, back-pressure
    session         one client's state                      selected        the mailbox it has selected
    commands        name → handler, and the states it is allowed in
    responses       errors → response codes                 capabilities    what the server says it can do
    compression     DEFLATE in both directions              wheel           one timer for all that are silent
    memory          what closed connections leave           progress        signs of life while a command takes long

Commands by kind

    authenticating  CAPABILITY, ID, STARTTLS, LOGIN …       enabling        ENABLE, COMPRESS, UNAUTHENTICATE
    selecting       SELECT, EXAMINE, CLOSE, NOOP …          resync          what a returning client has missed
    naming          CREATE, DELETE, RENAME, STATUS …        listing         what LIST and LSUB show
    sharing         access control lists                    quota           GETQUOTA, GETQUOTAROOT, SETQUOTA
    annotating      GETMETADATA, SETMETADATA                fetching        FETCH
    storing         STORE, COPY, MOVE, EXPUNGE              appending       APPEND, REPLACE
    composing       a message that is coming                urls            IMAP URLs, for CATENATE
    searching       SEARCH, SORT, THREAD                    multisearching  ESEARCH in many mailboxes
    contexts        results kept up to date                 scopes          which mailboxes NOTIFY and ESEARCH mean
    idling          IDLE                                    notifying       NOTIFY

What the RFCs leave open, and what is done about it, is in docs/imap.

What does not belong: SQL, files, who may log in, what a flag change means to other sessions (`esp.services`).
"""

from esp.imap.server import ImapServer

__all__ = ["ImapServer"]
