"""What is kept: all SQL (`postgres`), octets (`maildir`), and what may be forgotten (`redis`)."""
