-- Both are packed already: PostgreSQL's own compression would cost time and win nothing.
ALTER TABLE content_index ALTER COLUMN text SET STORAGE EXTERNAL, ALTER COLUMN signature SET STORAGE EXTERNAL;
