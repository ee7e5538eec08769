DROP FUNCTION deliver(
    bigint[], bigint[], timestamptz[], text[], bytea[], bytea[], bytea[], timestamptz[], text[],
    bigint[], bigint[], bigint[], bigint[], bigint[], integer[], integer[], integer[], bigint[], text[], text[]);
