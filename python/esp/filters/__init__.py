"""Opinions about a message, and the pipeline that asks for them.

Nothing is here yet: TODO.md, section 5, lists what is to come.

In: a message on its way in, and who sends it to whom. Out: one verdict for each filter, with its reason. What does not
belong here: what is then done with the message, which `services` decide.
"""
