"""The RQ worker and the scheduler: everything that may wait until after the 250.

In: wake-ups from Redis, each naming a topic of the outbox. Out: that topic's rows worked off in batches, as
coroutines on this process' event loop. The truth is the outbox in PostgreSQL; a wake-up that Redis forgets is
sent again by the scheduler. Nothing from Redis is ever executed: a wake-up can only name a topic known here."""
