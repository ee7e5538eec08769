"""The API's application."""

import logging

from esp.api.server import application


def test_the_application_leaves_logging_as_it_is() -> None:
    """One event a line, in the form that was configured: no second handler with a form of its own."""
    root = logging.getLogger()
    handlers, level, known = root.handlers[:], root.level, set(logging.Logger.manager.loggerDict)
    application({}, None, "1")
    assert (root.handlers, root.level) == (handlers, level)
    for name in set(logging.Logger.manager.loggerDict) - known:
        assert not logging.getLogger(name).handlers, name
