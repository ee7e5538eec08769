"""The SMTP and LMTP doors: octets in, replies out (RFC 5321, 6409, 2033)."""
