"""Opinions about a message, and the pipeline that asks for them."""
