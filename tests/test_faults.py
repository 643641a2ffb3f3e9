"""Twin of `testing/faults.py`: each verb, done to two servers that are linked."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing

from trio_s2s import (
    DisconnectReason,
    FailureReason,
    Link,
    OperationRequest,
    S2SError,
)
from trio_s2s.testing import (
    Fault,
    MemoryNetwork,
    RecordingApplication,
    RecordingPeer,
)

Clock = trio.testing.MockClock
R = DisconnectReason
ASK = OperationRequest(1, {0: "x"})


class Pair:
    """Two servers, `a` and `b`; `a` keeps a link to `b`."""

    def __init__(self) -> None:
        self.network = MemoryNetwork(seed=4)
        self.a = RecordingApplication("A", server_id="a", port=1)
        self.b = RecordingApplication("B", server_id="b", port=2)
        self.link: Link[RecordingPeer]

    def connect(self) -> None:
        self.link = self.a.connect_tcp("b", 2, self.make, insecure=True)

    def make(self) -> RecordingPeer:
        return self.a.recorded(RecordingPeer())

    async def ask(self) -> float:
        """Ask; give how long it took."""
        began = trio.current_time()
        assert (await self.link.request(ASK, wait_connected=True)).return_code == 0
        return trio.current_time() - began

    @property
    def reasons(self) -> list[DisconnectReason]:
        """Why each side was disconnected first: that of a, then that of b."""
        firsts = [server.disconnects[:1] for server in (self.a, self.b)]
        return [why for first in firsts for _, why in first]


@asynccontextmanager
async def pair(*, connects: bool = True) -> AsyncGenerator[Pair]:
    async with trio.open_nursery() as nursery:
        servers = Pair()
        await nursery.start(servers.network.run, servers.b)
        await nursery.start(servers.network.run, servers.a)
        if connects:
            servers.connect()
            await servers.link.connected()
            await trio.sleep(1)
        yield servers
        nursery.cancel_scope.cancel()


Verb = Callable[[MemoryNetwork], Any]


@pytest.mark.parametrize(
    ("verb", "lasts", "reasons"),
    [
        pytest.param(
            lambda network: network.partition("a", "b"),
            30,
            [R.HEARTBEAT_TIMEOUT, R.HEARTBEAT_TIMEOUT],
            id="partition",
        ),
        pytest.param(
            lambda network: network.partition("a", "b", one_way=True),
            30,
            [R.REPORTED_BY_PEER, R.HEARTBEAT_TIMEOUT],
            id="one way",
        ),
        pytest.param(
            lambda network: network.stall("b", "a"),
            30,
            [R.HEARTBEAT_TIMEOUT, R.REPORTED_BY_PEER],
            id="stall",
        ),
        pytest.param(
            lambda network: network.silence("a", "b"),
            30,
            [R.HEARTBEAT_TIMEOUT, R.HEARTBEAT_TIMEOUT],
            id="silence",
        ),
        pytest.param(
            lambda network: network.reset("a", "b"),
            0,
            [R.CONNECTION_RESET, R.CONNECTION_RESET],
            id="reset",
        ),
        pytest.param(
            lambda network: network.end("b", "a"),
            0,
            [R.CONNECTION_LOST, R.CONNECTION_LOST],
            id="end",
        ),
        pytest.param(
            lambda network: network.cut_after("a", "b", 2),
            5,
            [R.CONNECTION_LOST, R.CONNECTION_LOST],
            id="cut in a frame",
        ),
        pytest.param(
            lambda network: network.cut_after("a", "b", 2, resets=True),
            5,
            [R.CONNECTION_RESET, R.CONNECTION_RESET],
            id="cut and reset",
        ),
    ],
)
async def test_link_is_lost_and_comes_back(
    verb: Verb, lasts: float, reasons: list[R], autojump_clock: Clock
) -> None:
    async with pair() as servers:
        verb(servers.network)
        await trio.sleep(lasts)
        servers.network.heal()
        await trio.sleep(3)
        assert servers.reasons == reasons
        await servers.ask()


async def test_short_partition_only_delays(autojump_clock: Clock) -> None:
    async with pair() as servers:
        servers.network.node("c")
        servers.network.partition("a", "b")
        servers.network.partition("a", "c")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(servers.ask)
            await trio.sleep(4)
            servers.network.heal("c", "a")
            assert nursery.child_tasks
            servers.network.heal("a", "b")
        assert servers.reasons == []


async def test_latency_is_for_all_or_for_one_way(autojump_clock: Clock) -> None:
    async with pair() as servers:
        servers.network.set_latency(1)
        assert await servers.ask() == 2
        servers.network.set_latency(0.5, 0.0, "a", "b")
        assert await servers.ask() == 1.5


async def test_small_window_makes_it_slow(autojump_clock: Clock) -> None:
    async with pair() as servers:
        servers.network.set_latency(0.1)
        servers.network.set_window(1, "a", "b")
        assert await servers.ask() > 1.0
        servers.network.set_window(5)
        assert servers.network.default.window == 5


async def test_cut_to_come_is_no_more_when_it_is_healed(autojump_clock: Clock) -> None:
    async with pair() as servers:
        servers.network.cut_after("a", "b", 2)
        servers.network.heal("b", "a")
        await servers.ask()
        assert servers.reasons == []


async def test_wrong_bits_are_noticed_and_the_link_comes_back(
    autojump_clock: Clock,
) -> None:
    async with pair() as servers:
        servers.network.corrupt("a", "b", 40)
        while not servers.reasons:
            with trio.move_on_after(1), suppress(S2SError):
                await servers.link.request(ASK)
        assert servers.network.way("a", "b").corrupts < 40
        servers.network.way("a", "b").corrupts = 0
        await servers.ask()


async def test_frames_are_held_until_they_are_released(autojump_clock: Clock) -> None:
    async with pair() as servers:
        held = servers.network.hold("a", "b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(servers.ask)
            await trio.sleep(1)
            assert nursery.child_tasks
            held.release()
        held.release_all()
        await servers.ask()
        assert servers.reasons == []


async def test_frame_still_to_be_sent_may_be_released(autojump_clock: Clock) -> None:
    async with pair() as servers:
        held = servers.network.hold("a", "b")
        held.release(1)
        assert await servers.ask() == 0
        with trio.move_on_after(1) as scope:
            await servers.ask()
        assert scope.cancelled_caught


async def test_hold_is_for_new_connections_too(autojump_clock: Clock) -> None:
    async with pair(connects=False) as servers:
        held = servers.network.hold("a", "b")
        servers.connect()
        await trio.sleep(1)
        assert servers.link.peer is None
        held.release(2)
        await servers.link.connected()


@pytest.mark.parametrize(
    ("verb", "reason"),
    [
        (lambda network: network.refuse("b"), FailureReason.REFUSED),
        (lambda network: network.forget_name("b"), FailureReason.DNS_ERROR),
        (lambda network: network.slow_accept("b", 8), FailureReason.HANDSHAKE_TIMEOUT),
        (lambda network: network.partition("a", "b"), FailureReason.CONNECT_TIMEOUT),
    ],
)
async def test_dialling_fails_until_it_is_well_again(
    verb: Verb, reason: FailureReason, autojump_clock: Clock
) -> None:
    async with pair(connects=False) as servers:
        network = servers.network
        verb(network)
        servers.connect()
        await trio.sleep(12)
        assert servers.a.failures[0] is reason
        network.refuse("b", refuses=False)
        network.forget_name("b", forgets=False)
        network.slow_accept("b", 0)
        network.heal()
        await servers.ask()


async def test_dial_that_arrives_twice_connects_once(autojump_clock: Clock) -> None:
    async with pair(connects=False) as servers:
        servers.network.double_dial("a")
        servers.connect()
        await servers.ask()
        await trio.sleep(0.1)
        await trio.sleep(20)
        # Nobody is behind the second.
        assert servers.b.connects == ["a"]
        assert servers.b.disconnects == []
        await servers.ask()


async def test_hold_that_is_over_is_over_for_new_connections_too(
    autojump_clock: Clock,
) -> None:
    async with pair(connects=False) as servers:
        servers.network.hold("a", "b").release_all()
        servers.connect()
        await servers.ask()


async def test_cut_is_for_one_way(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    [listener] = await network.node("b").open_tcp_listeners(1, "b", None)
    near = await network.node("a").open_tcp_stream("b", 1)
    far = await listener.accept()
    network.cut_after("b", "a", 1)
    await near.send_all(b"xy")
    await far.send_all(b"xy")
    assert [await near.receive_some(), await near.receive_some()] == [b"x", b""]
    with trio.move_on_after(1) as scope:
        while True:
            assert await far.receive_some()
    assert scope.cancelled_caught


VERBS = [
    Fault(0, "set_latency", (1, 2)),
    Fault(0, "set_window", (7,)),
    Fault(0, "partition", ("a", "b")),
    Fault(0, "stall", ("a", "b")),
    Fault(0, "heal", ("a", "b")),
    Fault(0, "corrupt", ("a", "b", 2)),
    Fault(0, "hold", ("a", "b")),
    Fault(0, "reset", ("a", "b")),
    Fault(0, "cut_after", ("a", "b", 9)),
    Fault(0, "silence", ("a", "b")),
    Fault(0, "refuse", ("b",)),
    Fault(0, "forget_name", ("b",)),
    Fault(0, "slow_accept", ("b", 3)),
    Fault(0, "double_dial", ("b",)),
    Fault(0, "pause", ("b",)),
    Fault(0, "resume", ("b",)),
    Fault(0, "kill", ("b",)),
    Fault(0, "restart", ("b",)),
]


async def test_every_verb_is_in_the_trace() -> None:
    network = MemoryNetwork()
    for name in "ab":
        network.node(name)
    await network.play(VERBS)
    told = [(one.kind, one.source, one.text) for one in network.trace.entries]
    assert told == [
        ("fault", fault.verb, " ".join(map(str, fault.args))) for fault in VERBS
    ]


@pytest.mark.parametrize(
    "fault",
    [
        *(
            one
            for one in VERBS
            if one.verb in ("partition", "stall", "heal", "corrupt")
        ),
        *(
            one
            for one in VERBS
            if one.verb in ("hold", "reset", "cut_after", "silence")
        ),
        *(one for one in VERBS if one.verb in ("pause", "resume", "kill")),
        Fault(0, "end", ("a", "b")),
    ],
    ids=str,
)
async def test_name_that_no_node_has_is_refused(fault: Fault) -> None:
    """A fault without effect would let a test pass that shows nothing."""
    network = MemoryNetwork()
    network.node("a")
    with pytest.raises(ValueError, match="there is no node 'b'; the nodes are: 'a'"):
        await network.play([fault])
    assert not network.trace.entries


def test_fault_that_there_is_not_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="there is no fault 'explode'; there are: "):
        Fault(0, "explode")


async def test_plan_is_played_at_its_times(autojump_clock: Clock) -> None:
    async with pair() as servers:
        plan = [Fault(9, "heal"), Fault(2, "partition", ("a", "b"))]
        began = trio.current_time()
        await servers.network.play(plan)
        played = servers.network.trace.entries
        assert [
            (one.time - began, one.source) for one in played if one.kind == "fault"
        ] == [(2, "partition"), (9, "heal")]
        assert not servers.network.way("a", "b").is_cut
        assert [str(one) for one in servers.network.plan] == [
            "at 2 s: partition('a', 'b')",
            "at 9 s: heal()",
        ]


async def test_plan_may_have_options(autojump_clock: Clock) -> None:
    async with pair() as servers:
        fault = Fault(1, "partition", ("a", "b"), {"one_way": True})
        assert str(fault) == "at 1 s: partition('a', 'b', one_way=True)"
        await servers.network.play([fault])
        assert servers.network.way("a", "b").is_cut
        assert not servers.network.way("b", "a").is_cut
