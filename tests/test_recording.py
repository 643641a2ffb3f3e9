"""Twin of `testing/recording.py`."""

import trio
import trio.testing

from trio_s2s import (
    Application,
    DisconnectReason,
    EventData,
    FailureReason,
    OperationRequest,
)
from trio_s2s.testing import MemoryNetwork, Record, RecordingApplication, RecordingPeer

Clock = trio.testing.MockClock


async def test_all_hooks_are_written_down(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network = MemoryNetwork()
    master = RecordingApplication("Master", server_id="master")
    other = RecordingApplication("Other", server_id="other", port=4521)
    await nursery.start(network.run, master)
    await nursery.start(network.run, other)
    link = other.connect_tcp("localhost", 4520, lambda: other.recorded(RecordingPeer()))
    peer = await link.connected()
    answer = await peer.request(OperationRequest(5, {0: "x"}))
    assert (answer.return_code, answer.parameters) == (0, {0: "x"})
    await peer.send_operation_request(OperationRequest(6))
    await peer.send_event(EventData(7, {1: 2}))
    await trio.sleep(1)
    peer.abort()
    await trio.sleep(1)
    assert master.connects[0] == "other"
    assert master.events == [("other", EventData(7, {1: 2}))]
    assert master.disconnects == [("other", DisconnectReason.CONNECTION_LOST)]
    assert other.disconnects == [("master", DisconnectReason.LOCAL_CLOSE)]
    hooks = [record.hook for record in other.records]
    assert hooks[:2] == ["on_connected", "on_operation_response"]
    assert Record(5.0, "on_connected", "other") in master.records


async def test_failures_are_written_down(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    network = MemoryNetwork()
    home = RecordingApplication("Home")
    await nursery.start(network.run, home)
    home.connect_tcp("localhost", 9, lambda: home.recorded(RecordingPeer()))
    await trio.sleep(0.1)
    assert home.failures == [FailureReason.REFUSED]
    assert isinstance(home, Application)
