"""The IMAP door: commands in, responses out (RFC 3501, 9051)."""
