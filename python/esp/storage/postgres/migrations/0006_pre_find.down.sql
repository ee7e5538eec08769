ALTER TABLE content_index DROP COLUMN words, DROP COLUMN head;
