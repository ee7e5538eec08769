"""A result that the server keeps up to date, as the client knows it (RFC 5267 §4.3)."""

from collections.abc import Sequence

from tests.support.violations import check
from tests.support.wire import Value, numbers


class Result:
    """What ADDTO and REMOVEFROM have made of the result of a search."""

    def __init__(self, *, uid: bool) -> None:
        self.uid = uid
        """Whether it is told in UIDs."""
        self.members: list[object] = []
        """UIDs, or messages as the view has them."""
        self.cancelled = False
        """Whether CANCELUPDATE is under way: from when on nothing more is told of it, the client cannot know."""

    def begin(self, messages: Sequence[object], found: Sequence[int]) -> None:
        """Take what the search has found."""
        self.members = [self._member(messages, number) for number in found]

    def change(self, name: str, messages: Sequence[object], change: Sequence[Value]) -> None:
        """Take a change: places, each with what goes there or comes from there; 0 is anywhere."""
        for place, text in zip(change[::2], change[1::2], strict=True):
            at = int(str(place))
            for offset, number in enumerate(numbers(str(text))):
                member = self._member(messages, number)
                if name == "ADDTO":
                    self._add(member, at + offset if at else 0)
                else:
                    self._remove(member, at)

    def _add(self, member: object, place: int) -> None:
        check(not self._has(member), "ADDTO of what is in the result")
        check(place <= len(self.members) + 1, "ADDTO behind the end")
        self.members.insert(place - 1 if place else len(self.members), member)

    def _remove(self, member: object, place: int) -> None:
        check(self._has(member), "REMOVEFROM of what is not in the result")
        at = next(at for at, each in enumerate(self.members) if _same(each, member))
        check(place in (0, at + 1), f"REMOVEFROM at {place} of what stands at {at + 1}")
        del self.members[at]

    def check_without(self, message: object, uid: int | None) -> None:
        """See that a message that goes has left the result before (RFC 5267 §4.3.2)."""
        gone: object = uid if self.uid else message
        check(
            self.cancelled or gone is None or not self._has(gone), "an expunge of what is still in a result"
        )

    def _has(self, member: object) -> bool:
        return any(_same(each, member) for each in self.members)

    def _member(self, messages: Sequence[object], number: int) -> object:
        if self.uid:
            return number
        check(1 <= number <= len(messages), f"a result with {number} of {len(messages)}")
        return messages[number - 1]


def _same(one: object, other: object) -> bool:
    return one is other or (isinstance(one, int) and one == other)
