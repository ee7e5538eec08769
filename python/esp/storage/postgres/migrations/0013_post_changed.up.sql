-- Every process writes `changed` now: messages are no longer looked for by their mod-sequence.
DROP INDEX message_modseq;
ALTER TABLE mailbox ALTER COLUMN changed_horizon SET DEFAULT 0;
UPDATE mailbox SET changed_horizon = highest_modseq;

-- With no index on what a STORE changes and room beside it, PostgreSQL leaves all indexes alone (HOT updates): a fifth of
-- the time for a whole mailbox, and reading it afterwards is twice as fast. A row is 150 octets, what else is kept of a
-- message some thousands.
ALTER TABLE message SET (fillfactor = 50);
