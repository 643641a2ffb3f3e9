"""Twin of `testing/pairs.py`."""

import attrs
import pytest
import trio
import trio.testing

from trio_s2s import InboundPeer, Operation, OutboundPeer, PeerConfig, handles
from trio_s2s.testing import MemoryNetwork, RecordingPeer, memory_peers


@attrs.frozen
class Double(Operation[int], code=1):
    number: int


class Doubler(InboundPeer):
    @handles(Double)
    async def double(self, operation: Double) -> int:
        return operation.number * 2


async def test_two_recording_peers_are_connected() -> None:
    async with memory_peers() as (inbound, outbound):
        assert isinstance(inbound, RecordingPeer)
        assert [one.hook for one in inbound.records] == ["on_connected"]
        assert [one.hook for one in outbound.records] == ["on_connected"]
    assert inbound.records[-1].hook == outbound.records[-1].hook == "on_disconnected"


async def test_peers_may_be_of_any_class() -> None:
    network = MemoryNetwork(seed=2)
    config = PeerConfig(max_frame=2000)
    pair = memory_peers(Doubler, OutboundPeer, config=config, network=network)
    async with pair as (inbound, outbound):
        assert type(inbound) is Doubler
        assert await outbound.request(Double(21)) == 42
    assert set(network.nodes) == {"inbound", "outbound"}


class Slow(RecordingPeer):
    async def on_connected(self) -> None:
        await trio.sleep(3)
        await super().on_connected()


async def test_block_begins_when_both_are_connected(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_peers(Slow, RecordingPeer) as (inbound, _):
        assert trio.current_time() == 3
        assert inbound.records


async def test_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with memory_peers():
            raise ZeroDivisionError
