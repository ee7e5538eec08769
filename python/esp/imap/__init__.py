"""The IMAP door: commands in, responses out (RFC 3501, and the extensions `capabilities` names).

In: octets of clients. Out: untagged and tagged responses; every decision and every change is a service's. Octets are
read into commands, and responses rendered from the mailbox index, by Rust (`esp.native`).

    server       listens, admits, shares, drains         connection   octets, events, back-pressure
    session      one client's state                      commands     name → handler and the states it is allowed in
    authenticating selecting naming listing fetching storing searching appending idling: the commands by kind
    responses    errors → response codes                 wheel        one timer for all that are silent
    memory       what closed connections leave

What does not belong: SQL, files, who may log in, what a flag change means to others (`esp.services`).
"""

from esp.imap.server import ImapServer

__all__ = ["ImapServer"]
