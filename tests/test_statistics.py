"""Twin of `statistics.py`."""

import contextlib
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.peers import Echo, Wait, linked
from tests.test_promises import Worker
from trio_s2s import (
    OperationRequest,
    PeerConfig,
    PeerDisconnectedError,
    PeerStatistics,
)
from trio_s2s.statistics import RequestCounts, sum_up


async def test_statistics_count_what_happened_on_a_connection() -> None:
    async with linked(Worker) as (peer, server):
        for _ in range(5):
            await peer.request(Echo("x"))
        ours, theirs = peer.statistics(), server.peer.statistics()
    assert ours.messages_sent >= 5
    assert ours.messages_received >= 5
    assert theirs.messages_received >= 5
    assert ours.bytes_received > 0 < ours.bytes_sent
    assert ours.requests_outstanding == theirs.requests_running == 0
    assert ours.round_trip_time is not None


async def test_statistics_are_a_picture_of_one_moment() -> None:
    async with linked(Worker) as (peer, _):
        before = peer.statistics()
        await peer.request(Echo("x"))
        assert peer.statistics() != before
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            before.bytes_sent = 0


async def test_requests_are_counted_by_how_they_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with linked(Worker, config=PeerConfig(drain_timeout=1)) as (peer, server):
        await peer.request(Echo("x"))
        await peer.request(OperationRequest(99))
        with trio.move_on_after(1):
            await peer.request(Wait())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ask, peer)
            await trio.testing.wait_all_tasks_blocked()
            server.peer.abort()
        counted = peer.statistics().requests
    assert counted == RequestCounts(succeeded=1, failed=1, cancelled=1, unknown=1)


async def _ask(peer: Any) -> None:
    with contextlib.suppress(PeerDisconnectedError):
        await peer.request(Wait())


def part(**figures: Any) -> PeerStatistics:
    return attrs.evolve(sum_up([]), **figures)


def test_parts_are_summed_up() -> None:
    one = part(bytes_sent=1, requests=RequestCounts(failed=2), round_trip_time=0.5)
    two = part(bytes_sent=10, requests=RequestCounts(failed=3, unknown=1))
    three = part(glitches=5, round_trip_time=0.25)
    total = sum_up([one, two, three])
    assert (total.bytes_sent, total.glitches) == (11, 5)
    assert total.requests == RequestCounts(failed=5, unknown=1)
    assert total.round_trip_time == 0.5


def test_sum_of_nothing_is_nothing() -> None:
    nothing = sum_up([])
    assert nothing.round_trip_time is None
    assert nothing.requests == RequestCounts()
    assert nothing.bytes_sent == 0
