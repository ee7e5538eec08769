-- A delivery batch in one call: six round trips become one, and the plans stay cached with the session.
-- Its callers, what it answers and why are in storage/postgres/delivery.py.
--
-- Arrays of one length each: m_ one element for each message, c_ for each content (message and account),
-- b_ for each mailbox (by rising id), r_ for each row of `message`. c_message, r_content count from 1;
-- r_rank counts the rows of one mailbox from 0.
CREATE FUNCTION deliver(
    m_size bigint[], m_sent_at timestamptz[], m_message_id text[],
    m_envelope bytea[], m_bodystructure bytea[], m_body bytea[],
    c_message integer[], c_account bigint[],
    b_mailbox bigint[], b_account bigint[], b_messages bigint[], b_unseen bigint[], b_octets bigint[],
    r_content integer[], r_account bigint[], r_mailbox bigint[], r_rank integer[], r_flags bigint[],
    r_size bigint[], r_internal_date timestamptz[], r_file text[], r_file_flags text[]
) RETURNS TABLE (
    refused text,           -- NULL: delivered; 'quota', 'mailbox': nothing was done, and why
    subject bigint,         -- the mailbox; for 'quota' the account
    first_value bigint,     -- UIDVALIDITY; for 'quota' the octets still free
    second_value bigint,    -- the first UID; for 'quota' the messages still free
    third_value bigint      -- the mod-sequence of all
)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    content_ids bigint[];
    locked bigint;
BEGIN
    -- An account with a limit is locked: else two deliveries into two of its mailboxes could each find room.
    PERFORM 1 FROM account AS a
    WHERE a.id = ANY (b_account) AND (a.quota_octets IS NOT NULL OR a.quota_messages IS NOT NULL)
    ORDER BY a.id FOR NO KEY UPDATE;
    IF FOUND THEN
        RETURN QUERY
        SELECT 'quota', a.id,
            CASE WHEN a.quota_octets IS NULL THEN NULL ELSE greatest(a.quota_octets - used.octets, 0) END,
            CASE WHEN a.quota_messages IS NULL THEN NULL ELSE greatest(a.quota_messages - used.messages, 0) END,
            NULL::bigint
        FROM (SELECT b.account_id, sum(b.octets)::bigint AS octets, sum(b.messages)::bigint AS messages
              FROM unnest(b_account, b_octets, b_messages) AS b (account_id, octets, messages)
              GROUP BY b.account_id) AS wanted
        JOIN account AS a ON a.id = wanted.account_id
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(m.octets), 0)::bigint AS octets, coalesce(sum(m.messages), 0)::bigint AS messages
            FROM mailbox AS m WHERE m.account_id = a.id) AS used
        WHERE used.octets + wanted.octets > a.quota_octets OR used.messages + wanted.messages > a.quota_messages;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;

    -- By rising id, so that nobody waits in a circle.
    PERFORM 1 FROM mailbox AS m WHERE m.id = ANY (b_mailbox) ORDER BY m.id FOR NO KEY UPDATE;
    GET DIAGNOSTICS locked = ROW_COUNT;
    IF locked < cardinality(b_mailbox) THEN
        RETURN QUERY
        SELECT 'mailbox', b.id, NULL::bigint, NULL::bigint, NULL::bigint FROM unnest(b_mailbox) AS b (id)
        WHERE NOT EXISTS (SELECT FROM mailbox AS m WHERE m.id = b.id);
        RETURN;
    END IF;

    content_ids := ARRAY(SELECT nextval('content_id') FROM generate_series(1, cardinality(c_message)));
    INSERT INTO content (account_id, id, size, sent_at, message_id, envelope, bodystructure, body)
    SELECT c.account_id, c.id, m.size, m.sent_at, m.message_id, m.envelope, m.bodystructure, m.body
    FROM unnest(c_message, c_account, content_ids) AS c (message, account_id, id)
    JOIN unnest(m_size, m_sent_at, m_message_id, m_envelope, m_bodystructure, m_body) WITH ORDINALITY
        AS m (size, sent_at, message_id, envelope, bodystructure, body, number) ON m.number = c.message;

    INSERT INTO outbox (topic, payload)
    VALUES ('index', jsonb_build_object('accounts', c_account, 'contents', content_ids));

    RETURN QUERY
    WITH placed AS (
        UPDATE mailbox AS m
        SET uidnext = m.uidnext + b.messages, highest_modseq = m.highest_modseq + 1,
            messages = m.messages + b.messages, unseen = m.unseen + b.unseen, octets = m.octets + b.octets
        FROM unnest(b_mailbox, b_messages, b_unseen, b_octets) AS b (id, messages, unseen, octets)
        WHERE m.id = b.id
        RETURNING m.id, m.uidvalidity, m.uidnext - b.messages AS first_uid, m.highest_modseq AS modseq
    ), inserted AS (
        INSERT INTO message
            (account_id, mailbox_id, uid, content_id, modseq, flags, size, internal_date, file, file_flags)
        SELECT r.account_id, r.mailbox_id, p.first_uid + r.rank, content_ids[r.content], p.modseq,
            r.flags, r.size, r.internal_date, r.file, r.file_flags
        FROM unnest(r_content, r_account, r_mailbox, r_rank, r_flags, r_size, r_internal_date, r_file, r_file_flags)
            AS r (content, account_id, mailbox_id, rank, flags, size, internal_date, file, file_flags)
        JOIN placed AS p ON p.id = r.mailbox_id
    )
    SELECT NULL::text, p.id, p.uidvalidity, p.first_uid, p.modseq FROM placed AS p;
END
$$;
