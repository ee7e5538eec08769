"""What is kept, and what may be forgotten.

In: values and octets, from services. Out: the same, kept durably in PostgreSQL and Maildir, or for a while in Redis,
whose loss costs time but no mail.

    postgres        everything said about messages and accounts: all SQL
    maildir         where a mailbox's folder is, what file names mean, the card that names the mailbox
    quarantine      files that belong to nobody
    mailbox_files   Maildirs and mboxes written for other programs
    other_maildir   reading Maildirs of other programs
    mbox            mbox files, read and written as streams
    redis           notifications of changes from process to process
    wakeup          RQ jobs that wake workers

Message files themselves are written, read and renamed in Rust (`esp.native.Store`). What does not belong here: whether
and when something is kept (`services`), and the grammar of mbox files and flags (`core`).
"""
