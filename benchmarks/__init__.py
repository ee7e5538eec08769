"""Measures ESP against Postfix and Dovecot on one machine, in one run, by turns.

In: two servers with the same hundred users on one file system, and the name of what to measure.
Out: figures until the mail is *visible over IMAP*, with what they cost (the CPU of each server's whole
process tree, proportional memory), and the ratio of the two; as a table, as JSON, in `docs/performance.md`.

Absolute figures depend on the machine and on what else it does; the ratios of one run are what counts.
Nothing here changes a server: who wants to know *why* a figure is what it is uses `benchmarks.profile`.
"""
