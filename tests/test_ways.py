"""Twin of `testing/ways.py`."""

import socket

import pytest
import trio
import trio.testing

from trio_s2s.framing import encode_frame
from trio_s2s.testing import MemoryNetwork

Clock = trio.testing.MockClock


@pytest.fixture
def network() -> MemoryNetwork:
    made = MemoryNetwork()
    for name in "abc":
        made.node(name)
    return made


async def listen(network: MemoryNetwork, name: str, port: int) -> None:
    await network.node(name).open_tcp_listeners(port, name, None)


async def reached(network: MemoryNetwork, source: str, host: str, port: int) -> str:
    stream = await network.node(source).open_tcp_stream(host, port)
    return stream.socket.getpeername()[0]


async def test_nodes_are_found_by_name(network: MemoryNetwork) -> None:
    await listen(network, "b", 1)
    assert await reached(network, "a", "b", 1) == "b"
    with pytest.raises(ConnectionRefusedError):
        await reached(network, "a", "b", 2)
    with pytest.raises(socket.gaierror):
        await reached(network, "a", "nobody", 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_loopback_is_the_own_node_or_the_only_one(
    host: str, network: MemoryNetwork
) -> None:
    await listen(network, "b", 1)
    assert await reached(network, "a", host, 1) == "b"
    await listen(network, "a", 1)
    assert await reached(network, "a", host, 1) == "a"
    with pytest.raises(ValueError, match=r"dial one by its name \(a, b\)"):
        await reached(network, "c", host, 1)
    with pytest.raises(ConnectionRefusedError):
        await reached(network, "c", host, 2)


async def test_dialling_takes_a_round_trip(
    network: MemoryNetwork, autojump_clock: Clock
) -> None:
    await listen(network, "b", 1)
    network.set_latency(1)
    network.set_latency(3, 0.0, "a", "b")
    await reached(network, "a", "b", 1)
    assert trio.current_time() == 4
    told = [str(entry).split() for entry in list(network.trace.entries)[-2:]]
    assert told == [
        ["0.000000", "a", "->", "b", "dial", "port", "1"],
        ["4.000000", "a", "->", "b", "(1)", "open", "port", "1"],
    ]


async def test_dialling_through_a_partition_waits_for_its_end(
    network: MemoryNetwork, autojump_clock: Clock
) -> None:
    await listen(network, "b", 1)
    network.partition("b", "a", one_way=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reached, network, "a", "b", 1)
        await trio.sleep(100)
        assert nursery.child_tasks
        network.heal()


async def test_doubled_connection_is_there_until_all_its_ends_are_closed(
    network: MemoryNetwork, autojump_clock: Clock
) -> None:
    [listener] = await network.node("b").open_tcp_listeners(1, "b", None)
    network.double_dial("a")
    near = await network.node("a").open_tcp_stream("b", 1)
    ghost, far = await listener.accept(), await listener.accept()
    network.pause("b")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ghost.receive_some)
        await near.send_all(encode_frame([b"x"]))
        await trio.sleep(1)
        assert nursery.child_tasks
        network.resume("b")  # It is woken, too.
    # The answers of both go to the dialler, which sees those of one only.
    await ghost.send_all(b"lost")
    await far.send_all(b"answer")
    assert (await near.receive_some()).startswith(b"a")
    for stream in near, far, ghost:
        assert len(network.connections) == 1
        stream.close()
    assert network.connections == []


async def test_connections_are_forgotten_when_both_ends_are_closed(
    network: MemoryNetwork,
) -> None:
    [listener] = await network.node("b").open_tcp_listeners(1, "b", None)
    near = await network.node("a").open_tcp_stream("b", 1)
    far = await listener.accept()
    assert len(network.connections) == 1
    near.close()
    assert len(network.connections) == 1
    far.close()
    assert network.connections == []
