"""What may be remembered for a while: a bounded map whose entries end; the time arrives as an argument."""

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Expiring(Generic[K, V]):
    """Entries until their time; beyond `capacity` those added first go first."""

    __slots__ = ("_capacity", "_entries", "generation")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: dict[K, tuple[V, float]] = {}
        self.generation = 0
        """Counts `clear`; what was asked for in an earlier generation is not to be put."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now: float) -> V | None:
        """Return what was put and has not ended."""
        entry = self._entries.get(key)
        if entry is None or entry[1] <= now:
            return None
        return entry[0]

    def put(self, key: K, value: V, until: float) -> None:
        """Remember `value` until then."""
        self._entries.pop(key, None)
        if len(self._entries) >= self._capacity:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (value, until)

    def drop(self, key: K) -> None:
        """Forget one."""
        self._entries.pop(key, None)

    def forget(self, matching: Callable[[K], bool]) -> None:
        """Drop the entries whose key matches."""
        for key in [key for key in self._entries if matching(key)]:
            del self._entries[key]

    def clear(self) -> None:
        """Drop all."""
        self.generation += 1
        self._entries.clear()
