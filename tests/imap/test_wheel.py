"""The wheel by a clock of the test's own."""

from collections.abc import Callable

from esp.imap.wheel import Wheel


class Clock:
    """An event loop, as far as a wheel needs one."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.due: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> "Clock":
        self.due = (self.now + delay, callback)
        return self

    def cancel(self) -> None:
        self.due = None

    def run_until(self, when: float) -> None:
        while self.due is not None and self.due[0] <= when:
            self.now, callback = self.due
            self.due = None
            callback()
        self.now = when


class Silent:
    """Somebody who says nothing."""

    def __init__(self, clock: Clock, deadline: float) -> None:
        self.clock = clock
        self.deadline = deadline
        self.slot = 0
        self.expired_at: list[float] = []

    def expired(self) -> None:
        self.expired_at.append(self.clock.now)


def wheel_with(clock: Clock, *deadlines: float) -> tuple[Wheel, list[Silent]]:
    wheel = Wheel(clock)  # type: ignore[arg-type]
    silent = [Silent(clock, deadline) for deadline in deadlines]
    for one in silent:
        wheel.add(one)
    return wheel, silent


def test_everybody_expires_once_and_soon_after_the_deadline() -> None:
    clock = Clock()
    _, silent = wheel_with(clock, 1000.1, 1003.0, 1003.9, 1900.0)
    clock.run_until(3000)
    for one in silent:
        (at,) = one.expired_at
        assert one.deadline <= at <= one.deadline + 2.0


def test_activity_puts_the_end_off() -> None:
    clock = Clock()
    _, (one,) = wheel_with(clock, 1010.0)
    clock.run_until(1009)
    one.deadline = 1020.0
    clock.run_until(1019)
    assert one.expired_at == []
    clock.run_until(1025)
    assert len(one.expired_at) == 1


def test_who_is_gone_is_forgotten() -> None:
    clock = Clock()
    wheel, (one, other) = wheel_with(clock, 1010.0, 1010.0)
    wheel.remove(one)
    wheel.remove(one)
    clock.run_until(1020)
    assert one.expired_at == []
    assert len(other.expired_at) == 1
    assert clock.due is None


def test_a_late_turn_forgets_nobody() -> None:
    clock = Clock()
    _, silent = wheel_with(clock, 1001.5, 1002.5, 1100.0)
    assert clock.due is not None
    clock.now, callback = 1050.0, clock.due[1]  # the loop was busy for 50 seconds
    clock.due = None
    callback()
    clock.run_until(1200)
    assert [len(one.expired_at) for one in silent] == [1, 1, 1]
