-- Annotations (RFC 5464), access control lists (RFC 4314), shared accounts, and how full an account was last seen.

ALTER TABLE account
    ADD COLUMN shared boolean NOT NULL DEFAULT false,       -- its mailboxes are in the shared namespace
    ADD COLUMN quota_level smallint NOT NULL DEFAULT 0;     -- percent that a warning was last given for

ALTER TABLE mailbox
    ADD COLUMN acl_version bigint NOT NULL DEFAULT 0;       -- rises with its access control list; 0: it never had one

CREATE TABLE mailbox_acl (
    mailbox_id bigint NOT NULL REFERENCES mailbox (id) ON DELETE CASCADE,
    account_id bigint REFERENCES account (id) ON DELETE CASCADE,    -- NULL: anyone in the domain
    domain_id bigint REFERENCES domain (id) ON DELETE CASCADE,      -- the owner's, where it is for anyone
    negative boolean NOT NULL,
    rights text NOT NULL,                                           -- letters, core.rights
    CHECK ((account_id IS NULL) <> (domain_id IS NULL)),
    UNIQUE NULLS NOT DISTINCT (mailbox_id, account_id, negative)
);
CREATE INDEX mailbox_acl_account ON mailbox_acl (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX mailbox_acl_domain ON mailbox_acl (domain_id) WHERE domain_id IS NOT NULL;

CREATE TABLE annotation (
    mailbox_id bigint REFERENCES mailbox (id) ON DELETE CASCADE,    -- NULL: of the server
    account_id bigint REFERENCES account (id) ON DELETE CASCADE,    -- whose, below /private; NULL below /shared
    entry text NOT NULL,                                            -- lower case, with /private or /shared
    value bytea NOT NULL,
    UNIQUE NULLS NOT DISTINCT (mailbox_id, account_id, entry)
);
CREATE INDEX annotation_account ON annotation (account_id) WHERE account_id IS NOT NULL;
