-- What imports brought, noted in the transaction of each delivery: one that was cut off goes on where it was, and a
-- second run brings what has come since.
CREATE TABLE import_folder (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL,
    mailbox_id bigint NOT NULL,                     -- where it goes; into another one, it is another import
    source text NOT NULL,                           -- imap://user@host:port, a path
    folder text NOT NULL,                           -- as the source spells it
    validity text NOT NULL,                         -- UIDVALIDITY; empty for files
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, mailbox_id, source, folder, validity)
);
CREATE TABLE import_item (
    account_id bigint NOT NULL,
    folder_id bigint NOT NULL,
    item text NOT NULL,                             -- UID, name of a Maildir's file, digest of an mbox's message
    PRIMARY KEY (account_id, folder_id, item)
);
