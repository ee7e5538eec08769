DROP INDEX alias_target_domains;
DROP FUNCTION domains_of(text[]);
