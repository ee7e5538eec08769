"""Conversations that ESP starts: DNS, SMTP to others, HTTP, ACME, LLM services."""
