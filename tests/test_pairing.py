"""Twin of `pairing.py`: the rule, under every interleaving of up to four dials."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
import pytest

from trio_s2s.codes import CloseCode, DisconnectReason
from trio_s2s.ending import Ending
from trio_s2s.fields import Identity
from trio_s2s.pairing import Hold, refusal, rival, settle

NAMES = ("a", "b")
DIALLER, ACCEPTOR = 0, 1
OPEN = {DIALLER: ("up",), ACCEPTOR: ("welcomed", "confirmed")}


@attrs.frozen
class Link:
    """One dial: what each end thinks of it, and what is on its way to each end."""

    dialler: int
    """Which of the two servers."""
    ends: tuple[str, str] = ("idle", "idle")
    """`idle`, `dialled`, `up`, `closed`; `idle`, `asking`, `welcomed`, `confirmed`,
    `closed`."""
    to: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def server_at(self, end: int) -> int:
        return self.dialler if end == DIALLER else 1 - self.dialler

    def becomes(self, end: int, state: str) -> "Link":
        dialler, acceptor = self.ends
        ends = (state, acceptor) if end == DIALLER else (dialler, state)
        return attrs.evolve(self, ends=ends)

    def says(self, end: int, message: str) -> "Link":
        return self._with_to(1 - end, (*self.to[1 - end], message))

    def takes(self, end: int) -> "Link":
        return self._with_to(end, self.to[end][1:])

    def _with_to(self, end: int, messages: tuple[str, ...]) -> "Link":
        dialler, acceptor = self.to
        to = (messages, acceptor) if end == DIALLER else (dialler, messages)
        return attrs.evolve(self, to=to)


World = tuple[tuple[Link, ...], tuple[int, int]]
"""All dials, and how often each server has run `on_connected`."""


class Step:
    """What one server does at one moment; it sees nothing of the other's state."""

    def __init__(self, world: World) -> None:
        self.links = list(world[0])
        self.hooks = list(world[1])

    def result(self) -> World:
        return tuple(self.links), (self.hooks[0], self.hooks[1])

    def holds(self, server: int) -> dict[int, Hold]:
        found = {}
        for number, link in enumerate(self.links):
            end = DIALLER if link.dialler == server else ACCEPTOR
            if link.ends[end] in OPEN[end]:
                is_confirmed = link.ends[end] != "welcomed"
                found[number] = Hold(server_id="other", is_confirmed=is_confirmed)
        return found

    def say(self, number: int, end: int, message: str, then: str = "") -> None:
        link = self.links[number].says(end, message)
        self.links[number] = link.becomes(end, then) if then else link

    def close(self, number: int, end: int) -> None:
        """Say goodbye; those who waited for its answer look again."""
        self.say(number, end, "GOODBYE", "closed")
        self.look_again(self.links[number].server_at(end))

    def look_again(self, server: int) -> None:
        for number, link in enumerate(self.links):
            if link.dialler != server and link.ends[ACCEPTOR] == "asking":
                self.hello(number)

    def dial(self, number: int) -> None:
        self.say(number, DIALLER, "HELLO", "dialled")

    def receive(self, number: int, end: int) -> None:
        message = self.links[number].to[end][0]
        self.links[number] = self.links[number].takes(end)
        getattr(self, message.lower())(number, *[end] * (message in BOTH))

    # -- what arrives --

    def hello(self, number: int) -> None:
        server = self.links[number].server_at(ACCEPTOR)
        holds = self.holds(server)
        old = rival(holds.values())
        if old is None:
            self.say(number, ACCEPTOR, "WELCOME", "welcomed")
            return
        self.links[number] = self.links[number].becomes(ACCEPTOR, "asking")
        [asked] = [each for each, hold in holds.items() if hold is old]
        end = DIALLER if self.links[asked].dialler == server else ACCEPTOR
        self.say(asked, end, "ASK")

    def ask(self, number: int, end: int) -> None:
        if self.links[number].ends[end] in OPEN[end]:
            self.first(number, end)
            self.say(number, end, "ANSWER")

    def answer(self, number: int, end: int) -> None:
        server = self.links[number].server_at(end)
        if self.links[number].ends[end] not in OPEN[end]:
            return
        for other, link in enumerate(self.links):
            if link.dialler != server and link.ends[ACCEPTOR] == "asking":
                self.say(other, ACCEPTOR, "REJECT", "closed")

    def welcome(self, number: int) -> None:
        server = self.links[number].dialler
        holds = self.holds(server)
        losers = settle(NAMES[server], NAMES[1 - server], holds.values())
        if losers is None:
            self.close(number, DIALLER)
            return
        for other in [each for each, hold in holds.items() if hold in losers]:
            self.close(other, ACCEPTOR)
        self.hooks[server] += 1
        self.say(number, DIALLER, "FIRST", "up")

    def reject(self, number: int) -> None:
        self.links[number] = self.links[number].becomes(DIALLER, "closed")

    def first(self, number: int, end: int) -> None:
        """Any message but a goodbye: to an acceptor it says that WELCOME has come."""
        link = self.links[number]
        if end == DIALLER or link.ends[ACCEPTOR] != "welcomed":
            return
        server = link.server_at(ACCEPTOR)
        if rival(self.holds(server).values()) is not None:
            self.close(number, ACCEPTOR)
            return
        self.links[number] = link.becomes(ACCEPTOR, "confirmed")
        self.hooks[server] += 1

    def goodbye(self, number: int, end: int) -> None:
        if self.links[number].ends[end] != "closed":
            self.links[number] = self.links[number].becomes(end, "closed")
            self.look_again(self.links[number].server_at(end))


BOTH = ("ASK", "ANSWER", "FIRST", "GOODBYE")


def next_steps(world: World) -> Iterator[Callable[[Step], None]]:
    for number, link in enumerate(world[0]):
        if link.ends[DIALLER] == "idle":
            yield partial(Step.dial, number=number)
        for end in (DIALLER, ACCEPTOR):
            if link.to[end]:
                yield partial(Step.receive, number=number, end=end)


def walk(world: World, rule: Callable[[World], None]) -> int:
    """Go every way that there is, and judge where each ends; give how many worlds."""
    seen = {world}
    left = [world]
    while left:
        world = left.pop()
        is_over = True
        for do in next_steps(world):
            is_over = False
            step = Step(world)
            do(step)
            after = step.result()
            if after not in seen:
                seen.add(after)
                left.append(after)
        if is_over:
            rule(world)
    return len(seen)


def one_is_left(world: World) -> None:
    links, hooks = world
    ends = [link.ends for link in links]
    assert ends.count(("up", "confirmed")) == 1, ends
    assert ends.count(("closed", "closed")) == len(links) - 1, ends
    assert hooks == (1, 1), (hooks, ends)


DIALS = [
    dials
    for count in range(1, 5)
    for dials in itertools.combinations_with_replacement((0, 1), count)
]


def start(dials: tuple[int, ...]) -> World:
    return tuple(Link(server) for server in dials), (0, 0)


@pytest.mark.parametrize("dials", DIALS)
def test_one_connection_is_left_whoever_dials_when(dials: tuple[int, ...]) -> None:
    assert walk(start(dials), one_is_left) > 3 ** len(dials)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        pytest.param("settle", lambda own, other, holds: [], id="both survive"),
        pytest.param(
            "settle", lambda own, other, holds: None if list(holds) else [], id="none"
        ),
        pytest.param("rival", lambda holds: None, id="nobody is asked"),
        pytest.param(
            "rival", lambda holds: next(iter(holds), None), id="unconfirmed is asked"
        ),
    ],
)
def test_other_rules_do_not_do(
    name: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), name, broken)
    with pytest.raises(AssertionError):
        for dials in DIALS:
            walk(start(dials), one_is_left)


# -- what it looks at --


def test_hold_that_was_dropped_is_gone_for_the_first_reason() -> None:
    hold = Hold(server_id="gs-1", address="10.0.0.1:5")
    assert str(hold) == "the connection with 10.0.0.1:5"
    assert not hold.is_gone
    assert not hold.is_left
    hold.drop("a new one", CloseCode.PEER_RESTARTED)
    hold.drop("another one", CloseCode.DUPLICATE)
    assert rival([hold]) is None
    assert settle("a", "b", [hold]) == []
    assert hold._farewell == (
        DisconnectReason.PEER_RESTARTED,
        "a new one",
        CloseCode.PEER_RESTARTED,
    )


def test_hold_that_was_dropped_before_its_connection_began_ends_it() -> None:
    class Connection:
        ending = Ending()
        first_message = None
        failed: tuple[Any, ...] = ()

        def fail(self, *reason: Any) -> None:
            self.failed = reason

    connection: Any = Connection()
    hold = Hold(server_id="gs-1", is_confirmed=False)
    hold.drop("the other one stays", CloseCode.DUPLICATE)
    hold.attach(connection)
    assert connection.failed == (
        DisconnectReason.REPLACED,
        "the other one stays",
        CloseCode.DUPLICATE,
    )


async def test_hold_that_was_just_made_answers() -> None:
    assert await Hold(server_id="gs-1").answers()


def test_refusal_tells_the_same_server_from_another_one() -> None:
    old = Hold(server_id="gs-1", instance_id=bytes(16), address="10.0.0.1:5")
    same = refusal(old, Identity(bytes(16), "gs-1"), "10.0.0.2:6")
    assert same.code == CloseCode.DUPLICATE
    text = "there is a connection with server 'gs-1' already, at 10.0.0.1:5"
    assert text in str(same)
    other = refusal(old, Identity(b"x" * 16, "gs-1"), "10.0.0.2:6")
    assert other.code == CloseCode.NAME_IN_USE
    assert "at 10.0.0.1:5, is connected as 'gs-1'; this one is at 10.0.0.2:6" in str(
        other
    )
