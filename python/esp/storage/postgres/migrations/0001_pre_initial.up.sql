-- The initial schema. Large tables (content, content_index, message, expunged) carry the account first, so that
-- they can be partitioned by it; they have no foreign keys, for these would be checked at every delivery.

CREATE SEQUENCE uidvalidity MINVALUE 1;
-- Later than that of any earlier database of this node, so that a rebuilt one never repeats a value (RFC 3501 §2.3.1.1).
SELECT setval('uidvalidity', extract(epoch FROM now())::bigint);

CREATE TABLE domain (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,                      -- A-labels, lower case
    alias_of bigint REFERENCES domain (id) ON DELETE CASCADE,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE account (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    domain_id bigint NOT NULL REFERENCES domain (id),
    local_part text NOT NULL,                       -- normalised as core.address does
    maildir text NOT NULL UNIQUE,                   -- below storage.path
    password_hash text,                             -- argon2id, PHC string
    scram_salt bytea,                               -- SCRAM-SHA-256 (RFC 7677)
    scram_iterations integer,
    scram_stored_key bytea,
    scram_server_key bytea,
    quota_octets bigint,                            -- NULL: no limit
    quota_messages bigint,
    admin boolean NOT NULL DEFAULT false,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (domain_id, local_part)
);

CREATE TABLE alias (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    domain_id bigint NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
    local_part text NOT NULL,                       -- empty: catch-all of the domain
    targets text[] NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (domain_id, local_part)
);

CREATE TABLE mailbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES account (id),
    name text NOT NULL,
    directory text NOT NULL,                        -- below account.maildir; '.' for INBOX
    uidvalidity bigint NOT NULL DEFAULT nextval('uidvalidity'),
    uidnext bigint NOT NULL DEFAULT 1,
    first_recent bigint NOT NULL DEFAULT 1,         -- UIDs from here were shown to no read-write session
    highest_modseq bigint NOT NULL DEFAULT 1,
    messages bigint NOT NULL DEFAULT 0,
    unseen bigint NOT NULL DEFAULT 0,
    octets bigint NOT NULL DEFAULT 0,               -- quota usage is the sum over the account's mailboxes
    special_use text,
    keywords text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_id, name),
    UNIQUE (account_id, directory)
) WITH (fillfactor = 50);                           -- updated by every delivery: HOT updates need room

CREATE TABLE subscription (
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    name text NOT NULL,                             -- may outlive its mailbox (RFC 3501 §6.3.6)
    PRIMARY KEY (account_id, name)
);

-- What is said about octets once, however many mailboxes of the account hold them. Never updated.
CREATE SEQUENCE content_id CACHE 100;
CREATE TABLE content (
    account_id bigint NOT NULL,
    id bigint NOT NULL DEFAULT nextval('content_id'),
    size bigint NOT NULL,                           -- RFC822.SIZE, octets
    sent_at timestamptz,                            -- Date, NULL when absent or unreadable
    message_id text,                                -- without angle brackets
    envelope bytea NOT NULL,                        -- wire form of ENVELOPE, with its parentheses
    bodystructure bytea NOT NULL,                   -- wire form of BODYSTRUCTURE
    body bytea NOT NULL,                            -- wire form of BODY (no extension data)
    PRIMARY KEY (account_id, id)
);

-- Written by a worker after the delivery; a message without a row is searched in its file.
CREATE TABLE content_index (
    account_id bigint NOT NULL,
    content_id bigint NOT NULL,
    thread_id bigint NOT NULL,
    preview text NOT NULL,                          -- RFC 8970
    signature bytea NOT NULL,                       -- trigram filter over `text`
    text bytea NOT NULL,                            -- decoded, case-folded header and body text
    PRIMARY KEY (account_id, content_id)
);

-- Which thread a Message-ID, In-Reply-To or References value belongs to (RFC 8474 §5.2, RFC 8621 §3).
CREATE TABLE thread_reference (
    account_id bigint NOT NULL,
    reference_hash bigint NOT NULL,
    thread_id bigint NOT NULL,
    PRIMARY KEY (account_id, reference_hash)
);

CREATE TABLE message (
    account_id bigint NOT NULL,
    mailbox_id bigint NOT NULL,
    uid bigint NOT NULL,
    content_id bigint NOT NULL,
    modseq bigint NOT NULL,
    flags bigint NOT NULL,                          -- core.message
    size bigint NOT NULL,
    internal_date timestamptz NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now(),    -- RFC 8514
    file text NOT NULL,                             -- Maildir base name, without ':2,'
    file_flags text,                                -- letters now after ':2,' in cur; NULL while in new
    PRIMARY KEY (account_id, mailbox_id, uid)
);
CREATE INDEX message_modseq ON message (account_id, mailbox_id, modseq);
CREATE INDEX message_content ON message (account_id, content_id);

CREATE TABLE expunged (
    account_id bigint NOT NULL,
    mailbox_id bigint NOT NULL,
    modseq bigint NOT NULL,
    uids text NOT NULL,                             -- an IMAP sequence-set of UIDs
    expunged_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, mailbox_id, modseq)
);

-- Facts that somebody still has to act on, written in the transaction that made them true.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,                            -- index, rename, unlink
    payload jsonb NOT NULL,                         -- typed in storage/postgres/outbox.py
    not_before timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_topic ON outbox (topic, id);
