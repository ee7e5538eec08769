"""Structured logs, every metric, and the context that follows a message through the rooms.

In: events with names and values. Out: lines on standard error, numbers on `/metrics`. Secrets and message
text are never given to it; what looks like a secret by its name is masked all the same."""
