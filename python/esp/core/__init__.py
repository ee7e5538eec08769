"""Values and decisions.

In: plain values. Out: plain values. Nothing here awaits, reads a clock, draws chance or does I/O;
those arrive as arguments. RFC grammar that is not hot lives here too (addresses, envelopes, mailbox names)."""
