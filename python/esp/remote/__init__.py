"""Conversations that ESP starts.

In: where the other server is, and what is wanted of it. Out: values, or an error of `core.errors`, whatever the other
server says. Every wait has a limit, and everything read has a bound.

    imap_client   reads mailboxes of another IMAP server, for imports
    imap_values   the grammar of its responses

DNS, SMTP to other servers, HTTP, ACME and LLM services will be here, too; none of them is yet. What does not belong
here: when and why to ask (`services`), and connections to our own stores (`storage`).
"""
