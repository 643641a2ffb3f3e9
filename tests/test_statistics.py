"""Twin of `statistics.py`."""

import attrs
import pytest

from tests.peers import Echo, linked
from tests.test_promises import Worker


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
