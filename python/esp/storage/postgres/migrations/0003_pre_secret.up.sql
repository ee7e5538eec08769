-- Keys that every process of this installation shares and nobody else knows.
CREATE TABLE secret (
    name text PRIMARY KEY,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
