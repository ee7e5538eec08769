//! Octets of a message to offsets, headers, decoded text and IMAP wire strings.
