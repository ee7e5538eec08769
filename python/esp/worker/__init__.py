"""The RQ worker and the scheduler: everything that may wait until after the 250."""
