"""ESP and Dovecot get the same random commands, in two sessions on one mailbox, and must answer the same.

What differs and may is in `differences.py`, and explained in `docs/imap/differences.md`.
"""

import itertools
import os
import re
import secrets
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, reject, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.scenarios import imap_commands as draw
from tests.scenarios.differences import RULES, TAKEN_BY_DOVECOT, allowed
from tests.scenarios.twins import Answer, Side
from tests.support import peers
from tests.support.instance import PROJECT, Instance
from tests.support.wire import ClosedError

EXAMPLES = int(os.environ.get("ESP_TWINS_EXAMPLES", "60"))
STEPS = 30
_numbers = itertools.count(1)
SESSION = st.integers(0, 1)


@pytest.fixture(scope="module")
def sides(esp_instance: Instance) -> Iterator[tuple[Side, Side]]:
    """ESP and Dovecot, each with a mail store of its own."""
    user, password = "twin@example.test", secrets.token_urlsafe(12)
    esp_instance.cli("user", "add", user, "--password-stdin", text=password)
    port = esp_instance.ports["imaps"]
    with peers.dovecot() as dovecot:
        esp = Side("ESP", lambda: peers.esp(port, esp_instance.ca_file, user, password))
        yield esp, Side("Dovecot", dovecot.session)
    esp_instance.cli("user", "remove", user)


def _leaves_alike(command: str) -> bool:
    # Dovecot deselects at a SELECT that it cannot read, and does some of what ESP refuses; what follows would differ.
    return command not in TAKEN_BY_DOVECOT and not command.startswith(("SELECT", "EXAMINE"))


class Twins(RuleBasedStateMachine):
    """Two servers, two sessions each."""

    sides: tuple[Side, Side]
    can: frozenset[str]

    @initialize()
    def begin(self) -> None:
        """Open sessions, and fill a mailbox that was never there before."""
        self.prefix = f"tw{next(_numbers)}"
        self.exists = [0, 0]
        for side in self.sides:
            side.begin()
        for name in draw.BOXES:
            self.both(0, f"CREATE {name}")
        for number, message in enumerate(draw.MESSAGES):
            date = draw.DATES[number % len(draw.DATES)]
            self.both(0, f"APPEND {{p}} {date} {{{len(message)}+}}\r\n{message.decode('latin-1')}")
        for session in (0, 1):
            self.both(session, "SELECT {p}")

    def teardown(self) -> None:
        """Close them."""
        for side in self.sides:
            for peer in side.sessions:
                peer.pipe.close()
            side.sessions = []

    def both(self, session: int, command: str) -> None:
        """Send a command to both servers, and compare."""
        octets = command.replace("{p}", self.prefix).encode("latin-1")
        try:
            (dovecot, dovecot_said) = self.sides[1].ask(session, octets)
        except ClosedError:
            reject()  # it crashes at some searches by sequence number
        (esp, esp_said) = self.sides[0].ask(session, octets)
        self.count(session, esp)
        difference = allowed(command, esp, dovecot)
        assert difference is not None, (
            f"{command!r}\n ESP:     {esp}\n Dovecot: {dovecot}\n"
            f" {[response.raw for response in esp_said][-8:]}\n {[response.raw for response in dovecot_said][-8:]}"
        )

    def told(self, session: int, command: str) -> None:
        """As `both`, and then all sessions ask for news.

        Commands that change messages by numbers beyond EXISTS, of which one side does a part, are not sent.
        """
        changes = re.match(r"(STORE|COPY|MOVE) (\S+)", command)
        if changes and max(map(int, re.findall(r"\d+", changes[2])), default=0) > self.exists[session]:
            return
        self.both(session, command)
        for each in (session, 1 - session):
            self.both(each, "NOOP")

    def count(self, session: int, answer: Answer) -> None:
        """Keep how many messages a session knows."""
        self.exists[session] -= len(answer.expunged)
        if answer.exists is not None:
            self.exists[session] = answer.exists

    @rule(session=SESSION, command=draw.FETCH)
    def fetched(self, session: int, command: str) -> None:
        """FETCH."""
        self.told(session, command)

    @rule(session=SESSION, command=draw.STORE)
    def stored(self, session: int, command: str) -> None:
        """STORE."""
        self.told(session, command)

    @rule(session=SESSION, command=draw.SEARCH)
    def searched(self, session: int, command: str) -> None:
        """SEARCH."""
        self.told(session, command)

    @rule(session=SESSION, marked=draw.SET, command=draw.EXPUNGE)
    def removed(self, session: int, marked: str, command: str) -> None:
        """EXPUNGE where there is something to remove."""
        self.told(session, f"UID STORE {marked} +FLAGS (\\Deleted)")
        self.told(session, command)

    @rule(box=st.sampled_from(draw.BOXES))
    def mark(self, box: str) -> None:
        """From here on `{since}` is now."""
        for side in self.sides:
            side.mark(box.replace("{p}", self.prefix))

    @rule(session=SESSION, command=st.one_of(draw.SORT, draw.THREAD))
    def ordered(self, session: int, command: str) -> None:
        """SORT and THREAD."""
        if {"SORT", "THREAD=REFERENCES"} <= self.can:
            self.told(session, command)

    @rule(session=SESSION, command=st.one_of(draw.COPY, draw.EXPUNGE, draw.APPEND, draw.APPEND))
    def come_and_go(self, session: int, command: str) -> None:
        """Commands that change which messages there are."""
        self.told(session, command)

    @rule(session=SESSION, command=st.one_of(draw.SELECT, draw.SELECT, draw.STATUS, draw.OTHER))
    def mailboxes(self, session: int, command: str) -> None:
        """Commands about mailboxes."""
        self.told(session, command)

    @rule(session=SESSION, command=st.one_of(draw.NAMING, draw.LIST))
    def names(self, session: int, command: str) -> None:
        """Commands about names."""
        self.both(session, command)

    @rule(session=SESSION, command=st.sampled_from(draw.BROKEN).filter(_leaves_alike))
    def broken(self, session: int, command: str) -> None:
        """Commands that cannot be."""
        self.both(session, command)
        self.both(session, "NOOP")


def test_both_servers_answer_the_same(sides: tuple[Side, Side]) -> None:
    Twins.sides = sides
    probe = sides[0].connect()
    Twins.can = frozenset(str(value) for value in probe.command(b"CAPABILITY")[0].values)
    probe.pipe.close()
    run_state_machine_as_test(
        Twins,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize="ESP_TWINS_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_broken_commands_are_refused_alike(sides: tuple[Side, Side]) -> None:
    machine = Twins()
    Twins.sides = sides
    machine.begin()
    wrong = []
    try:
        for command in draw.BROKEN:
            try:
                machine.both(0, command)
            except AssertionError as error:
                wrong.append(str(error))
            for side in sides:  # which Dovecot may have left, or changed
                side.ask(0, f"SELECT {machine.prefix}".encode())
    finally:
        machine.teardown()
    assert not wrong, "\n".join(wrong)


def test_every_difference_is_explained() -> None:
    page = (PROJECT / "docs" / "imap" / "differences.md").read_text()
    assert (
        set(re.findall(r"^- \*\*([a-z-]+)\*\*:", page.partition("## Commands")[2], re.MULTILINE))
        == RULES.keys()
    )
