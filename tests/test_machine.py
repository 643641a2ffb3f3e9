"""Twin of `testing/machine.py`."""

import pytest
import trio
import trio.testing

from trio_s2s.runtime import current_runtime, sleep, timer
from trio_s2s.testing import MemoryNetwork
from trio_s2s.testing.machine import Machine

Clock = trio.testing.MockClock


@pytest.fixture
def machine() -> Machine:
    return MemoryNetwork(seed=3).node("a")


def test_numbers_are_those_of_the_seed_and_of_the_start(machine: Machine) -> None:
    first = machine.new_instance_id(), machine.uniform(3)
    machine.start()
    again = machine.new_instance_id(), machine.uniform(3)
    same = MemoryNetwork(seed=3).node("a")
    assert (same.new_instance_id(), same.uniform(3)) == first != again
    assert len(first[0]) == 16
    assert 0 <= first[1] <= 3


async def test_timers_stand_still_while_it_is_paused(
    machine: Machine, autojump_clock: Clock
) -> None:
    current_runtime.set(machine)
    woke: list[float] = []

    async def rest(seconds: float) -> None:
        await sleep(seconds)
        woke.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rest, 5)
        nursery.start_soon(rest, 30)
        await trio.sleep(1)
        machine.pause()
        nursery.start_soon(rest, 2)  # Also one that is set meanwhile.
        await trio.sleep(9)
        assert woke == []
        machine.resume()
    assert woke == [10, 10, 30]


async def test_timer_may_be_set_anew_while_it_is_paused(
    machine: Machine, autojump_clock: Clock
) -> None:
    current_runtime.set(machine)
    machine.pause()
    with timer(1) as scope:
        machine.restart(scope, 20)
        await trio.sleep(10)
        machine.resume()
        await trio.sleep_forever()
    assert trio.current_time() == 20


async def test_pause_of_a_paused_node_changes_nothing(
    machine: Machine, autojump_clock: Clock
) -> None:
    current_runtime.set(machine)
    with timer(5):
        machine.pause()
        machine.pause()
        machine.resume()
        await trio.sleep_forever()
    assert trio.current_time() == 5


async def test_dead_node_does_not_stand_still(
    machine: Machine, autojump_clock: Clock
) -> None:
    current_runtime.set(machine)
    with timer(5):
        machine.pause()
        machine.die(silently=False)
        await trio.sleep_forever()
    machine.start()
    assert not machine.is_paused


async def test_what_is_over_does_not_run_again(
    machine: Machine, autojump_clock: Clock
) -> None:
    current_runtime.set(machine)
    machine.pause()
    with timer(1):
        pass
    machine.resume()
    assert trio.current_time() == 0


async def test_ports_are_taken_once(machine: Machine) -> None:
    [listener] = await machine.open_tcp_listeners(0, "a", None)
    port = listener.socket.getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        await machine.open_tcp_listeners(port, "a", None)
    await listener.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    [again] = await machine.open_tcp_listeners(port, "a", None)
    listener.close()
    assert machine.listeners[port] is again


async def test_dead_node_does_not_listen(machine: Machine) -> None:
    [listener] = await machine.open_tcp_listeners(1, "a", None)
    machine.die(silently=False)
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    with pytest.raises(OSError, match="down"):
        await machine.open_tcp_listeners(2, "a", None)
    with pytest.raises(OSError, match="down"):
        await machine.open_tcp_stream("a", 1)


async def test_full_backlog_refuses_and_a_close_ends_who_waits(
    autojump_clock: Clock,
) -> None:
    network = MemoryNetwork()
    a, b = network.node("a"), network.node("b")
    [listener] = await b.open_tcp_listeners(1, "b", 2)
    streams = [await a.open_tcp_stream("b", 1) for _ in range(2)]
    with pytest.raises(ConnectionRefusedError):
        await a.open_tcp_stream("b", 1)
    await listener.aclose()
    assert [await stream.receive_some() for stream in streams] == [b"", b""]


async def test_slow_accept_that_is_cancelled_closes_the_connection(
    autojump_clock: Clock,
) -> None:
    network = MemoryNetwork()
    a, b = network.node("a"), network.node("b")
    [listener] = await b.open_tcp_listeners(1, "b", None)
    network.slow_accept("b", 5)
    stream = await a.open_tcp_stream("b", 1)
    with trio.move_on_after(1):
        await listener.accept()
    assert await stream.receive_some() == b""
    async with await a.open_tcp_stream("b", 1):
        began = trio.current_time()
        await (await listener.accept()).aclose()
    assert trio.current_time() == began + 5


async def test_paused_node_accepts_when_it_goes_on(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    a, b = network.node("a"), network.node("b")
    [listener] = await b.open_tcp_listeners(1, "b", None)
    network.pause("b")
    await a.open_tcp_stream("b", 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.accept)
        await trio.sleep(9)
        assert nursery.child_tasks
        network.resume("b")


async def test_there_are_no_unix_sockets(machine: Machine) -> None:
    with pytest.raises(OSError, match="no Unix sockets"):
        await machine.open_unix_stream("/run/x")
    with pytest.raises(OSError, match="no Unix sockets"):
        await machine.open_unix_listeners("/run/x", None)
