ALTER TABLE message RESET (fillfactor);
ALTER TABLE mailbox ALTER COLUMN changed_horizon DROP DEFAULT;
UPDATE mailbox SET changed_horizon = NULL;
CREATE INDEX message_modseq ON message (account_id, mailbox_id, modseq);
