-- The index that an IMAP process had of a large mailbox, for processes to come: they read it and what has happened since
-- (`expunged`, `changed`, new messages) instead of all messages. Whatever is missing here is read from `message`.
CREATE TABLE mailbox_index (
    account_id bigint NOT NULL,
    mailbox_id bigint NOT NULL,
    modseq bigint NOT NULL,                         -- all is told up to here
    uidnext bigint NOT NULL,
    octets bytea NOT NULL,                          -- rust/esp-imap/src/index/kept.rs
    PRIMARY KEY (account_id, mailbox_id)
);
-- Made small by its form already.
ALTER TABLE mailbox_index ALTER COLUMN octets SET STORAGE EXTERNAL;
