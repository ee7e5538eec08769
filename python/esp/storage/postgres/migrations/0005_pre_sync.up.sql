-- Rows of `expunged` up to this mod-sequence were forgotten (RFC 7162 §3.2): older indexes and clients are told by what is
-- there, not by what is gone.
ALTER TABLE mailbox ADD COLUMN expunged_horizon bigint NOT NULL DEFAULT 0;
CREATE INDEX expunged_age ON expunged (expunged_at);

-- SEARCH THREADID (RFC 8474 §5.4).
CREATE INDEX content_index_thread ON content_index (account_id, thread_id);

-- Contents are named to clients (EMAILID, RFC 8474 §5.1), which keep what they have of them: a rebuilt database must not
-- give out a number that another message had. As with `uidvalidity`, it begins later than any before it.
SELECT setval('content_id', greatest(nextval('content_id'), (extract(epoch FROM now())::bigint - 1700000000) * 100000));
