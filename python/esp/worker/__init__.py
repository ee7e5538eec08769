"""The RQ worker and the scheduler: everything that may wait until after the 250.

In: wake-ups from Redis, each naming a topic of the outbox. Out: that topic's rows worked off in batches, as coroutines
on the event loop of this process. The truth is the outbox in PostgreSQL; if Redis loses a wake-up, the scheduler sends
it again. Nothing from Redis is ever executed: a wake-up can only name a topic known here."""
