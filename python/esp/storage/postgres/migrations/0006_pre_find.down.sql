ALTER TABLE content_index DROP COLUMN head;
