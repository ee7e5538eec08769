"""Everything known about messages, and who may read them. All SQL is in this package.

In: a connection, mostly in the caller's transaction, and values of `core`. Out: values and rows; an error of
`core.errors` if a row is missing or taken. Every change of a mailbox or its messages locks the mailbox's row first.

Connections and schema

    pool, lending    how many connections, what their failures mean; passing connections from one use to the next
    holding          a commit that waits for a delivery's files
    migrate          the schema from one version to another (`migrations/`)
    secret           keys of the installation

Rows

    directory        domains, accounts, aliases
    mailboxes        names, counters, mod-sequences, subscriptions
    acl, annotations rights on mailboxes; annotations of mailboxes and of the server
    quota            how full accounts are
    messages         messages in bulk, flags, copies, expunges
    delivery         the rows of a delivery batch
    history          changes of messages, for clients and indexes that catch up
    kept_indexes     stored indexes of large mailboxes, for later processes
    indexing         texts, heads, signatures, threads
    outbox           work that a worker still has to do
    imports, exports what imports brought; what an export reads
    upkeep           what the comparison with the Maildir reads and mends
    reports          numbers for administrators

What does not belong here: what a right, a flag or a full account means to a user (`services`, `core`). A statement that
another room needs becomes a function here.
"""
