//! IMAP commands to typed values, response rendering, and the mailbox index.
