"""Structured logs, every metric, and the context that follows a message through the rooms."""
