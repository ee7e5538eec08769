"""What ESP decides and does: called by the doors, the workers and `esp-cli`; calls storage.

In: values that a door has read (principals, names, addresses, octets), notifications from other processes, rows of the
outbox. Out: values, or an error of `core.errors`. A change is durable before a call returns; then other processes are
notified, and what may wait is in the outbox. Collaborators come by constructor (`server.wiring`).

Mail that comes in

    reception        who may send what to whom, decided at RCPT (RFC 5321, RFC 2033)
    submission       mail from our own users (RFC 6409)
    directory        whose an address is, answered from memory where possible
    dispatch, batch  the one place where a message becomes durable: when, and what is done with a batch
    appends          messages that a client adds (RFC 3502, RFC 8508)
    lost_commit      whether a commit took place whose answer never came
    file_failures    what a failing disk means to a client
    hand             a thread for work that blocks, cheap to hand over to
    recovering       what a crash left in journals, brought back

Mailboxes and messages

    mailboxes        made, listed, renamed, deleted, subscribed to
    lookup           finding mailboxes by name for many sessions at once
    access, sharing  which mailbox a name leads a principal to, and access control lists (RFC 4314)
    annotations      METADATA (RFC 5464)
    messages         flags, copies, moves, expunges
    quotas           what accounts keep and may keep (RFC 9208)
    open_mailboxes   the indexes of this process, shared by its sessions
    contents         what FETCH tells of messages beside their rows
    search           SEARCH, SORT and THREAD over an index
    indexing         what searches, previews and threads need of a message, made by a worker

Who it is

    authentication   passwords and SCRAM proofs become principals
    passwords        hashing and checking, in few threads
    throttling       how often a password may be guessed
    presence         sessions whose account was disabled, removed, or has another password, end
    certificates     the certificate that the mail doors show

Administration

    accounts         accounts with their mailboxes
    domains          domains and aliases

News

    announcing       telling other processes of changes
    watching         who watches an account's mailboxes, and what happens to them (RFC 5465)
    lost_word        when to look whether a notification of a change was lost
    history          how long changes of messages are remembered

Files and database kept together

    upkeep           file names, cards, files to remove, orphans: the worker and the janitor
    describing       the cards of very many mailboxes
    checking         where Maildir and database differ, and mending it
    adoption         files without a row become messages
    rebuilding       a lost database, made again from the Maildirs

Moving mail

    importing        mail brought in, each message once however often it is run
    import_sources   what every source tells about its folders and messages
    file_sources     Maildirs and mboxes as a source
    imap_source      another IMAP server as a source
    exporting        an account's mail as a Maildir or as mbox files

For the doors

    listening        the sockets they listen on

What does not belong here: wire codes and grammar (the doors), SQL (`storage.postgres`), decisions that need no I/O
(`core`), the opinion of a filter (`filters`), a protocol that ESP speaks as a client (`remote`).
"""
