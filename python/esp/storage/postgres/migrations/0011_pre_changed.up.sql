-- What was changed of messages that are there, a row for each STORE: whoever has an index of the mailbox does the same to
-- it, and need not read the messages again.
CREATE TABLE changed (
    account_id bigint NOT NULL,
    mailbox_id bigint NOT NULL,
    modseq bigint NOT NULL,
    uids text NOT NULL,                             -- an IMAP sequence-set of UIDs: these were changed, and no others
    kept bigint NOT NULL,                           -- flags became `flags & kept | added`
    added bigint NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, mailbox_id, modseq)
);
CREATE INDEX changed_age ON changed (changed_at);

-- `changed` has all that was changed after this mod-sequence. NULL: older processes may have changed messages without a
-- word there, so these are looked for by their mod-sequence.
ALTER TABLE mailbox ADD COLUMN changed_horizon bigint;

-- Payloads of a whole mailbox are thousands of file names, for a minute: packing them took longer than all else that
-- EXPUNGE does.
ALTER TABLE outbox ALTER COLUMN payload SET STORAGE EXTERNAL;
