"""Time that stands still, jumps, or is over at the same moment: rows H01 to H10."""

import logging
import math
import time
from collections import Counter
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.network import Caller, memory
from tests.peers import Acceptor, Dialler, Echo, Wait, Worker, linked
from trio_s2s import (
    Application,
    DisconnectReason,
    Operation,
    PeerConfig,
    PeerDisconnectedError,
    handles,
    open_application,
)
from trio_s2s.runtime import now
from trio_s2s.testing import MemoryNetwork, RecordingPeer, memory_peers, seeded

Clock = trio.testing.MockClock
R = DisconnectReason
settled = trio.testing.wait_all_tasks_blocked


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks."""

    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@pytest.mark.parametrize("days", [-1, 1])
async def test_h01_wall_clock_that_jumps_has_no_effect(
    days: int, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with linked(Worker) as (peer, server):
        await trio.sleep(10)
        jumped = time.time() + days * 86_400
        monkeypatch.setattr(time, "time", lambda: jumped)
        with trio.fail_after(5):
            await peer.request(Wait(1))
        await trio.sleep(100)
        assert await peer.request(Echo("x")) == "x"
        assert server.peer.reason is None


async def test_h02_pause_of_4_s_is_no_silence(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with memory_peers(network=network) as (inbound, outbound):
        for name in "inbound", "outbound":
            await trio.sleep(20)
            network.pause(name)
            await trio.sleep(4)
            network.resume(name)
        await trio.sleep(20)
        assert [each.hook for each in inbound.records] == ["on_connected"]
        assert [each.hook for each in outbound.records] == ["on_connected"]


async def test_h03_after_a_pause_of_60_s_the_other_side_is_asked_first(
    autojump_clock: Clock,
) -> None:
    async with linked(Worker) as (peer, server), trio.open_nursery() as nursery:
        ended: list[float] = []

        async def ask() -> None:
            with pytest.raises(trio.TooSlowError), trio.fail_after(30):
                await peer.request(Wait())
            ended.append(now())

        nursery.start_soon(ask)
        await trio.sleep(10)
        autojump_clock.jump(60)  # The whole process has stood still.
        await trio.sleep(60)
        assert ended == [70]
        assert server.peer.reason is peer.reason is None
        assert await peer.request(Echo("x")) == "x"


class Sleeper(Acceptor):
    """Answers after as long as it is told."""

    @handles(Wait)
    async def wait(self, operation: Wait) -> None:
        await trio.sleep(operation.seconds)


def test_h04_deadline_and_silence_at_the_same_moment_have_one_outcome() -> None:
    ends: Counter[str] = Counter()

    async def run(first: float) -> None:
        network = MemoryNetwork()
        async with memory_peers(Sleeper, Dialler, network=network) as (_, peer):
            await trio.sleep(first)
            network.partition("inbound", "outbound")
            # The last sign of life came at its request's answer, 7.5 s before.
            session: Any = peer._session
            silent = session.connection.heartbeat.last_received + 7.5
            try:
                with trio.fail_at(silent):
                    await peer.request(Wait())
            except (trio.TooSlowError, PeerDisconnectedError) as error:
                ends[type(error).__name__] += 1
                assert now() == silent
            await trio.sleep(20)
            assert peer.statistics().requests_outstanding == 0

    for seed in range(20):
        with seeded(seed):
            trio.run(run, 10.0 + seed, clock=Clock(autojump_threshold=0))
    assert ends.total() == 20


@pytest.mark.parametrize(
    ("seconds", "is_error"),
    [(0, True), (-1.0, True), (math.nan, True), (math.inf, False)],
)
def test_h05_times_that_make_no_sense_are_refused(
    seconds: float, is_error: bool
) -> None:
    for name in "handshake_timeout", "heartbeat_interval", "drain_timeout":
        options: Any = {name: seconds}
        if is_error:
            with pytest.raises(ValueError, match=name):
                PeerConfig(**options)
        else:
            PeerConfig(**options)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e9, math.inf])
async def test_h05_caller_may_have_any_deadline(
    seconds: float, autojump_clock: Clock
) -> None:
    async with linked(Worker) as (peer, _):
        with trio.CancelScope(deadline=now() + seconds) as scope:
            assert await peer.request(Echo("x")) == "x"
        assert scope.cancelled_caught is (seconds <= 0)
        assert await peer.request(Echo("y")) == "y"


def test_h06_answer_in_the_moment_of_the_deadline_is_one_outcome() -> None:
    ends: Counter[str] = Counter()

    async def run() -> None:
        async with linked(Sleeper) as (peer, _):
            with trio.move_on_after(1) as scope:
                await peer.request(Wait(1))
                ends["answered"] += 1
            ends["too late"] += scope.cancelled_caught
            await trio.sleep(1)
            counts = peer.statistics()
            assert counts.requests_outstanding == 0

    for seed in range(50):
        with seeded(seed):
            trio.run(run, clock=Clock(autojump_threshold=0))
    assert ends.total() == 50


def steps_of(requests: int) -> int:
    """Count the steps of so many requests that have the same deadline."""
    steps = Steps()

    async def run() -> None:
        config = PeerConfig(max_concurrent_requests=requests)
        async with linked(Sleeper, config=config) as (peer, _):
            with trio.move_on_after(5) as scope:
                async with trio.open_nursery() as nursery:
                    for _ in range(requests):
                        nursery.start_soon(peer.request, Wait(10))
            assert scope.cancelled_caught
            await trio.sleep(1)
            assert peer.statistics().requests_outstanding == 0

    trio.run(run, clock=Clock(autojump_threshold=0), instruments=[steps])
    return steps.count


def test_h07_many_requests_with_one_deadline_end_in_one_pass() -> None:
    few, many = steps_of(500), steps_of(5000)
    assert many < 11 * few  # Nothing is done once for each pair of them.


@attrs.frozen
class Block(Operation[None], code=7):
    """Stops everything."""


async def test_h08_handler_that_stops_the_loop_costs_nobody_the_connection(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    class Blocking(Worker):
        @handles(Block)
        def block(self, operation: Block) -> None:
            autojump_clock.jump(10.2)

    async with linked(Blocking) as (peer, server):
        await trio.sleep(1)
        await peer.request(Block())
        await trio.sleep(60)
        assert await peer.request(Echo("x")) == "x"
        assert server.peer.reason is None
    assert "10.2 s" in caplog.text


async def test_h09_year_that_passes_at_once_is_one_wait(
    autojump_clock: Clock,
) -> None:
    async with memory() as world, open_application(Application("Client")) as client:
        client.connect_tcp("localhost", 4520, Caller)
        await trio.sleep(60)
        before = len(world.attempts)
        autojump_clock.jump(365 * 86_400)
        await trio.sleep(60)
    assert (
        max(after - first for first, after in pairwise(world.attempts)) > 365 * 86_400
    )
    assert len(world.attempts) - before < 2.5 * before


async def test_h10_request_ends_with_its_connection_not_with_its_deadline(
    autojump_clock: Clock,
) -> None:
    network = MemoryNetwork()
    async with memory_peers(Sleeper, RecordingPeer, network=network) as (_, peer):
        await trio.sleep(1)
        with trio.fail_after(3600):
            network.partition("inbound", "outbound")
            with pytest.raises(PeerDisconnectedError) as caught:
                await peer.request(Wait())
        assert caught.value.reason is R.HEARTBEAT_TIMEOUT
        assert now() <= 10
