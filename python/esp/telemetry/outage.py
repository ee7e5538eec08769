"""What is tried again and again and fails for a while: its first failure is worth a line, and its return.

In: whether each try failed. Out: whether to log it. Without this, whoever looks at a store by the clock logs for as
long as it is away, and the line that says why is lost among those that say it again.
"""


class Outage:
    """Whether something is away."""

    __slots__ = ("_lasting",)

    def __init__(self) -> None:
        self._lasting = False

    def begins(self) -> bool:
        """Note a failure; tell whether it is the first since all was well."""
        first, self._lasting = not self._lasting, True
        return first

    def ends(self) -> bool:
        """Note a success; tell whether failures came before it."""
        was, self._lasting = self._lasting, False
        return was
