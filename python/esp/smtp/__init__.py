"""The SMTP and LMTP doors: octets in, replies out.

In: connections to the ports of `config.sections.Smtp`, read by `esp.native.SmtpReader`. Out: transactions for
`services.reception` and `services.submission`, and their outcomes as replies.

- `server` makes the doors of a process, starts, drains and reloads them;
- `door` is one port: its connections, how many there may be and for how long; PROXY protocol;
- `connection` turns octets into events and replies into octets, in order and within bounds;
- `session` has the verbs;
- `front` works with the thread before a door's sessions, which answers what all messages have in common
  (docs/adr/0008-a-thread-before-the-sessions.md);
- `delivery` says what becomes of a message that came completely, and what its client is told;
- `replies` has every reply that is not part of one command's own dialogue: one table from `core.errors` to the wire.

RFC 5321, 1870 (SIZE), 2033 (LMTP), 2034 and 3463 (status codes), 2920 (PIPELINING), 3030 (CHUNKING), 3207 (STARTTLS),
4954 (AUTH), 6152 (8BITMIME), 6409 and 8314 (submission), 6531 (SMTPUTF8). What mail is wanted, and where it
goes, is not decided here.
"""

from esp.smtp.server import SmtpServer

__all__ = ["SmtpServer"]
