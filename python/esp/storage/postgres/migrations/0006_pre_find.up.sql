-- What SORT, THREAD and header searches look at. NULL: a worker has not come to it yet.
ALTER TABLE content_index ADD COLUMN head bytea;
-- Rows that were written before are made again.
INSERT INTO outbox (topic, payload)
SELECT 'index', jsonb_build_object('accounts', array_agg(account_id), 'contents', array_agg(content_id))
FROM (SELECT account_id, content_id, (row_number() OVER (ORDER BY account_id, content_id) - 1) / 100 AS batch
      FROM content_index) AS rows
GROUP BY batch;
