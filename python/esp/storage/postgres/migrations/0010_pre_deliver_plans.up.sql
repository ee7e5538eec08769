-- `deliver` again, beside the one of migration 0002 (which older processes still call): half the cost of a small batch.
--
-- Planned once, for indexes: left to itself the planner made a new plan for each call, for the lengths of the arrays,
-- and on a young database, whose tables have no statistics yet, one that read whole tables.
--
-- Arrays of one length each: c_ one element for each content (message and account), b_ for each mailbox (by rising
-- id), r_ for each row of `message`. r_content and r_box count from 1; r_rank counts the rows of one mailbox from 0.
-- c_path is a file of the content below `storage.path`, for whoever indexes it.
CREATE FUNCTION deliver(
    c_account bigint[], c_size bigint[], c_sent_at timestamptz[], c_message_id text[],
    c_envelope bytea[], c_bodystructure bytea[], c_body bytea[], c_internal_date timestamptz[], c_path text[],
    b_mailbox bigint[], b_account bigint[], b_messages bigint[], b_unseen bigint[], b_octets bigint[],
    r_content integer[], r_box integer[], r_rank integer[], r_flags bigint[], r_file text[], r_file_flags text[],
    OUT refused text,           -- NULL: delivered; 'quota', 'mailbox': nothing was done, and why
    OUT subjects bigint[],      -- NULL; the accounts that have no room, the mailboxes that are gone
    OUT first_values bigint[],  -- UIDVALIDITY of each mailbox; the octets still free
    OUT second_values bigint[], -- the first UID in each mailbox; the messages still free
    OUT third_values bigint[]   -- the mod-sequence of all in each mailbox
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    content_ids bigint[];
BEGIN
    -- An account with a limit is locked: else two deliveries into two of its mailboxes could each find room.
    PERFORM 1 FROM account AS a
    WHERE a.id = ANY (b_account) AND (a.quota_octets IS NOT NULL OR a.quota_messages IS NOT NULL)
    ORDER BY a.id FOR NO KEY UPDATE;
    IF FOUND THEN
        SELECT array_agg(a.id),
            array_agg(CASE WHEN a.quota_octets IS NOT NULL THEN greatest(a.quota_octets - used.octets, 0) END),
            array_agg(CASE WHEN a.quota_messages IS NOT NULL THEN greatest(a.quota_messages - used.messages, 0) END)
        INTO subjects, first_values, second_values
        FROM (SELECT b.account_id, sum(b.octets)::bigint AS octets, sum(b.messages)::bigint AS messages
              FROM unnest(b_account, b_octets, b_messages) AS b (account_id, octets, messages)
              GROUP BY b.account_id) AS wanted
        JOIN account AS a ON a.id = wanted.account_id
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(m.octets), 0)::bigint AS octets, coalesce(sum(m.messages), 0)::bigint AS messages
            FROM mailbox AS m WHERE m.account_id = a.id) AS used
        WHERE used.octets + wanted.octets > a.quota_octets OR used.messages + wanted.messages > a.quota_messages;
        IF subjects IS NOT NULL THEN
            refused := 'quota';
            RETURN;
        END IF;
    END IF;

    -- By rising id, so that nobody waits in a circle.
    SELECT array_agg(locked.uidvalidity), array_agg(locked.uidnext), array_agg(locked.highest_modseq + 1)
    INTO first_values, second_values, third_values
    FROM (SELECT m.uidvalidity, m.uidnext, m.highest_modseq FROM mailbox AS m WHERE m.id = ANY (b_mailbox)
          ORDER BY m.id FOR NO KEY UPDATE) AS locked;
    IF coalesce(cardinality(first_values), 0) < cardinality(b_mailbox) THEN
        refused := 'mailbox';
        subjects := ARRAY(SELECT b.id FROM unnest(b_mailbox) AS b (id)
                          WHERE NOT EXISTS (SELECT FROM mailbox AS m WHERE m.id = b.id));
        RETURN;
    END IF;

    content_ids := ARRAY(SELECT nextval('content_id') FROM generate_series(1, cardinality(c_account)));
    INSERT INTO content (account_id, id, size, sent_at, message_id, envelope, bodystructure, body)
    SELECT * FROM unnest(
        c_account, content_ids, c_size, c_sent_at, c_message_id, c_envelope, c_bodystructure, c_body);

    INSERT INTO outbox (topic, payload)
    VALUES ('index', jsonb_build_object('accounts', c_account, 'contents', content_ids, 'paths', c_path));

    UPDATE mailbox AS m
    SET uidnext = m.uidnext + b.messages, highest_modseq = m.highest_modseq + 1,
        messages = m.messages + b.messages, unseen = m.unseen + b.unseen, octets = m.octets + b.octets
    FROM unnest(b_mailbox, b_messages, b_unseen, b_octets) AS b (id, messages, unseen, octets)
    WHERE m.id = b.id;

    INSERT INTO message
        (account_id, mailbox_id, uid, content_id, modseq, flags, size, internal_date, file, file_flags)
    SELECT c_account[r.content], b_mailbox[r.box], second_values[r.box] + r.rank, content_ids[r.content],
        third_values[r.box], r.flags, c_size[r.content], c_internal_date[r.content], r.file, r.file_flags
    FROM unnest(r_content, r_box, r_rank, r_flags, r_file, r_file_flags)
        AS r (content, box, rank, flags, file, file_flags);
END
$$;
