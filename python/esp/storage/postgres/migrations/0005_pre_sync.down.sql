DROP INDEX content_index_thread, expunged_age;
ALTER TABLE mailbox DROP COLUMN expunged_horizon;
