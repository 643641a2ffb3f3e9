"""Twin of `eyeballs.py`, with sockets that do what they are told."""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from trio_s2s import FailureReason, eyeballs
from trio_s2s.eyeballs import by_turns, open_first
from trio_s2s.failures import explain_failure
from trio_s2s.lookup import Progress, progress

Clock = trio.testing.MockClock
SIX, FOUR = socket.AF_INET6, socket.AF_INET


def address(name: str, family: Any = FOUR) -> Any:
    return family, socket.SOCK_STREAM, 6, "", (name, 4520)


@attrs.define(eq=False)
class Fake(trio.socket.SocketType):
    """Connects after some seconds, or fails with an error number, by its address."""

    network: "Network"
    is_closed: bool = False
    type = socket.SOCK_STREAM

    async def connect(self, target: Any) -> None:
        name = target[0]
        self.network.began.append((name, trio.current_time()))
        delay, number = self.network.behaviour[name]
        if delay:
            await trio.sleep(delay)
        else:
            await self.network.all_at_once.wait()
        if number:
            raise OSError(number, f"Error connecting to {name}: {os.strerror(number)}")
        self.network.on_success()

    def close(self) -> None:
        self.is_closed = True

    def setsockopt(self, *args: Any) -> None:
        pass


class Network:
    """What there is to connect to, and what was tried."""

    def __init__(self, **behaviour: tuple[float, int]) -> None:
        self.behaviour = behaviour
        self.began: list[tuple[str, float]] = []
        self.sockets: list[Fake] = []
        self.all_at_once = trio.Event()
        """What those wait for that take no time of their own."""
        self.on_success: Callable[[], object] = lambda: None

    def socket(self, *args: Any) -> Fake:
        self.sockets.append(Fake(self))
        return self.sockets[-1]

    @property
    def open(self) -> int:
        return sum(not each.is_closed for each in self.sockets)


def install(
    monkeypatch: pytest.MonkeyPatch, network: Network, *addresses: Any
) -> Network:
    async def look_up(host: str, port: int) -> Any:
        await trio.lowlevel.checkpoint()
        return addresses or [address(name) for name in network.behaviour]

    monkeypatch.setattr(eyeballs, "look_up", look_up)
    monkeypatch.setattr(trio.socket, "socket", network.socket)
    return network


async def test_first_that_answers_is_taken(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    network = install(monkeypatch, Network(a=(9, 0), b=(1, 0), c=(9, 0)))
    stream = await open_first("gs-1", 4520)
    assert network.began == [("a", 0), ("b", 0.25), ("c", 0.5)]
    assert trio.current_time() == 1.25
    assert stream.socket is network.sockets[1]
    assert network.open == 1


async def test_f10_dead_address_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    network = Network(a=(0.1, errno.ECONNREFUSED), b=(1e9, 0), c=(0.01, 0))
    install(monkeypatch, network)
    await open_first("gs-1", 4520)
    assert network.began == [("a", 0), ("b", 0.1), ("c", 0.35)]
    assert network.open == 1


async def test_f10_all_attempts_are_told_if_all_fail(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    network = Network(a=(1, errno.ENETUNREACH), b=(0.1, errno.ECONNREFUSED))
    install(monkeypatch, network)
    with pytest.raises(OSError, match="none of 2 addresses of 'gs-1'") as caught:
        await open_first("gs-1", 4520)
    assert network.open == 0
    text = str(explain_failure(caught.value, "gs-1:4520"))
    assert "connecting to a: Network is unreachable" in text
    assert "connecting to b: Connection refused" in text
    # That of the last address decides, and not the last that was told.
    assert "connection refused (is the server running?)" in text


async def test_name_without_an_address_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, Network())
    with pytest.raises(OSError, match="it has no address") as caught:
        await open_first("gs-1", 4520)
    error = explain_failure(caught.value, "gs-1:4520")
    assert error.reason is FailureReason.DNS_ERROR
    assert "the name look-up failed: it has no address" in str(error)


async def test_g05_50_dead_addresses_take_no_longer_than_was_allowed(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    network = Network(**{f"dead{number}": (1e9, 0) for number in range(50)})
    install(monkeypatch, network)
    reached = Progress()
    progress.set(reached)
    with trio.move_on_after(10) as scope:
        await open_first("gs-1", 4520)
    assert scope.cancelled_caught
    assert trio.current_time() == 10
    assert len(reached.tried) == 40
    assert reached.tried[0] == "dead0:4520"
    assert network.open == 0


async def test_two_that_answer_at_once_leave_one(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    network = install(monkeypatch, Network(a=(0, 0), b=(0, 0)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_first, "gs-1", 4520)
        await trio.sleep(1)
        network.all_at_once.set()
    assert len(network.sockets) == 2
    assert network.open == 1


async def test_who_is_cancelled_at_the_end_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    for moment in (0.0, 0.1, 0.25, 0.3, 1.0):
        network = install(monkeypatch, Network(a=(1, 0), b=(1, 0)))
        began = trio.current_time()
        with trio.CancelScope(deadline=began + moment) as scope:
            await open_first("gs-1", 4520)
        assert network.open == (0 if scope.cancelled_caught else 1)


async def test_who_is_cancelled_in_the_moment_of_success_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    network = install(monkeypatch, Network(a=(0.1, 0)))
    with trio.CancelScope() as scope:
        network.on_success = scope.cancel
        await open_first("gs-1", 4520)
    assert scope.cancelled_caught
    assert network.open == 0


def test_families_take_turns() -> None:
    given = [address("a", SIX), address("b", SIX), address("c", SIX), address("d")]
    assert [each[4][0] for each in by_turns(given)] == ["a", "d", "b", "c"]
    assert [each[4][0] for each in by_turns(given[::-1])] == ["d", "c", "b", "a"]


async def test_real_sockets_reach_a_listener() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with listener, await open_first("127.0.0.1", port) as stream:
        async with await listener.accept() as far:
            await stream.send_all(b"x")
            assert await far.receive_some() == b"x"
        nodelay = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert nodelay
