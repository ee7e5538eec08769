DROP TABLE outbox, expunged, message, thread_reference, content_index, content, subscription, mailbox, alias, account, domain;
DROP SEQUENCE content_id, uidvalidity;
