-- Which aliases lead into a domain: asked whenever an account or an alias is removed, and no reason to read all of them.
-- A domain holds no "@", so the last one parts it from whatever a quoted local part holds.
CREATE FUNCTION domains_of(addresses text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY(SELECT DISTINCT substring(address FROM '[^@]*$') FROM unnest(addresses) AS address);

CREATE INDEX alias_target_domains ON alias USING gin (domains_of(targets));
