"""A cancel at every step of what is cancelled, and of every other task meanwhile.

`python tests/test_cancel_everywhere.py` runs all of it, and prints a line a scenario.
"""

import logging
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial

import attrs
import pytest
import trio
import trio.testing

if __name__ == "__main__":  # As a program it finds the tests by itself.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.peers import Acceptor, Dialler, Echo, Note, Wait, tls_contexts
from tests.scenarios import (
    aborting_a_peer,
    block_of_a_peer,
    closing_a_peer,
    deadline_of_a_handler,
    disconnecting_a_peer,
    disconnecting_from_both_sides,
    handler_that_stays,
    handler_that_waits_for_a_slot,
    photons_request,
    request,
    request_by_its_handler,
    request_that_is_held,
    request_with_a_deadline,
    request_without_a_slot,
    requests_of_a_crowd,
    send_events,
    task_of_a_peer,
)
from tests.steps import (
    HEADING,
    LONG,
    Busy,
    Count,
    Near,
    Run,
    World,
    check_idle,
    explore,
    served,
    start_serving,
    tasks,
    traces,
)
from trio_s2s import (
    Application,
    InboundPeer,
    InitRequest,
    PeerDisconnectedError,
    S2SError,
    SendParameters,
    open_application,
    open_peer,
    open_tcp_peer,
    serve_peers,
    serve_tcp,
)
from trio_s2s.runtime import current_runtime
from trio_s2s.testing import Injector

settled = trio.testing.wait_all_tasks_blocked
TLS = tls_contexts()
CANCELLED_ENDS = {
    "disconnected LOCAL_CLOSE",
    "disconnected REMOTE_CLOSE",
    "failed CLOSED_DURING_HANDSHAKE",
}


# -- connecting --


async def connect(world: World, strike: Injector) -> None:
    async with served(world):
        with strike.block():
            async with world.open():
                strike.rest()


async def connect_over_tls(world: World, strike: Injector) -> None:
    server, dialler = TLS
    world.has_frames = False
    async with trio.open_nursery() as nursery:
        serve = partial(serve_peers, world.far, [world.listen()], ssl_context=server)
        nursery.start_soon(serve)
        await settled()
        before = tasks()
        with strike.block():
            stream = trio.SSLStream(world.dial(), dialler, server_hostname="127.0.0.1")
            async with open_peer(stream, world.near):
                strike.rest()
        await trio.sleep(LONG)
        assert tasks() == before
        nursery.cancel_scope.cancel()


async def connect_by_tcp(world: World, strike: Injector) -> None:
    """With real sockets, whose descriptors are counted; its clock is the real one."""
    before = os.listdir("/proc/self/fd")
    async with trio.open_nursery() as nursery:
        serve = partial(serve_tcp, world.far, 0)
        [listener] = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        with strike.block():
            async with open_tcp_peer("127.0.0.1", port, world.near):
                strike.rest()
        async with open_tcp_peer("127.0.0.1", port, world.near) as other:
            assert await other.request(Echo("alive")) == "alive"
        nursery.cancel_scope.cancel()
    assert len(os.listdir("/proc/self/fd")) == len(before), "a descriptor is left"


# -- servers --


async def visit(
    open_it: Callable[[], AbstractAsyncContextManager[Near]], started: trio.Event
) -> None:
    """Be one of a server's peers until it ends, with a request under way."""
    with suppress(S2SError):  # The server may end before it is connected.
        async with open_it() as peer:
            started.set()
            with suppress(S2SError):
                await peer.request(Wait(2))
            await peer.ended.wait()


async def nursery_of_a_listener(world: World, strike: Injector) -> None:
    async with trio.open_nursery() as outer, trio.open_nursery() as nursery:
        await start_serving(nursery, world)
        started = [trio.Event() for _ in range(3)]
        for event in started:
            outer.start_soon(visit, world.open, event)
        strike.aim(nursery.cancel_scope)
        for event in started:
            await event.wait()
        await trio.sleep(1)
        strike.rest()
        nursery.cancel_scope.cancel()
    ends = [peer.record[-1] for peer in world.peers if peer.record]
    # Nobody may have accepted them.
    assert set(ends) <= CANCELLED_ENDS | {"failed HANDSHAKE_TIMEOUT"}, ends


class Hub(Application):
    """Has two listeners, and a link to another server."""

    def __init__(self, world: World) -> None:
        super().__init__("Hub", server_id="hub", config=world.config)
        self.world = world
        self.hooks: list[str] = []
        self.inbound: list[Busy] = []

    async def setup(self) -> None:
        self.hooks.append("setup")
        await self.listen_tcp(1)
        await self.listen_tcp(2)
        self.link = self.connect_tcp("localhost", 3, self.world.near)

    async def tear_down(self) -> None:
        await trio.lowlevel.checkpoint()
        self.hooks.append("tear_down")

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        peer = self.world.far(init_request)
        self.inbound.append(peer)
        return peer


class Home(Application):
    """Is what the link of the hub reaches, and must not notice what is cancelled."""

    def __init__(self, world: World) -> None:
        super().__init__("Home", server_id="home", config=world.config)
        self.world = world

    async def setup(self) -> None:
        await self.listen_tcp(3)

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return self.world.far(init_request)


@asynccontextmanager
async def hub_and_home(world: World) -> AsyncGenerator[tuple[Hub, trio.Nursery]]:
    """Give a hub that does not run yet, and a nursery for its visitors."""
    current_runtime.set(world)
    async with open_application(Home(world)):
        hub = Hub(world)
        async with world.open_tcp(3) as quiet, trio.open_nursery() as nursery:
            await settled()
            yield hub, nursery
            assert await quiet.request(Echo("alive")) == "alive"
            await trio.sleep(LONG)
            assert not nursery.child_tasks
    assert hub.hooks in ([], ["setup", "tear_down"])
    ends = {peer.record[-1] for peer in hub.inbound if peer.record}
    assert ends <= {"disconnected SHUTDOWN", "disconnected REMOTE_CLOSE"}, ends


async def fill(hub: Hub, nursery: trio.Nursery) -> None:
    """Give a hub three peers with a request under way, and let its link connect."""
    started = [trio.Event() for _ in range(3)]
    for event, port in zip(started, (1, 1, 2), strict=True):
        nursery.start_soon(visit, partial(hub.world.open_tcp, port), event)
    for event in started:
        await event.wait()
    await hub.link.connected()


async def entering_an_application(world: World, strike: Injector) -> None:
    async with hub_and_home(world) as (hub, nursery):
        with strike.block():
            async with open_application(hub):
                await fill(hub, nursery)
                strike.rest()


async def stopping_an_application(world: World, strike: Injector) -> None:
    """The one that stops it is cancelled; the stop goes on without it."""
    async with hub_and_home(world) as (hub, nursery), open_application(hub):
        await fill(hub, nursery)
        with strike.block():
            await hub.stop(grace=5)
        assert (await hub.stop()).is_finished
        assert len(hub.peers) == 0


async def leaving_an_application(world: World, strike: Injector) -> None:
    async with hub_and_home(world) as (hub, nursery):
        with trio.CancelScope() as scope:
            async with open_application(hub):
                await fill(hub, nursery)
                strike.aim(scope)
        strike.rest()
        assert hub.hooks == ["setup", "tear_down"]


async def link_that_is_lost(world: World, strike: Injector) -> None:
    """The application is cancelled while its link connects, is lost, and comes back."""
    async with hub_and_home(world) as (hub, _):
        with strike.block():
            async with open_application(hub):
                peer = await hub.link.connected()
                peer.abort()
                await peer.ended.wait()
                try:
                    asked = await hub.link.request(Echo("a"), wait_connected=True)
                    assert asked == "a"
                except PeerDisconnectedError:
                    # It may be told of the end before the cancellation is.
                    if not strike.has_fired:
                        raise


class Either(Busy, Acceptor, Dialler):
    """A peer for whoever has dialled."""


class Twin(Application):
    """Dials another one, which dials it."""

    def __init__(self, world: World, ports: dict[str, int], name: str) -> None:
        super().__init__(name, server_id=name, config=world.config)
        self.world = world
        self.ports = ports

    async def setup(self) -> None:
        await self.listen_tcp(self.ports[self.name])
        [other] = self.ports.keys() - {self.name}
        port = self.ports[other]
        self.link = self.connect_tcp("localhost", port, self.make, server_id=other)

    def make(self) -> Either:
        peer = Either()
        self.world.peers.append(peer)
        return peer


async def two_that_dial_each_other(world: World, strike: Injector) -> None:
    """One of them is cancelled at any step; the next of its name is let in."""
    current_runtime.set(world)
    ports = {"a": 1, "b": 2}
    async with open_application(Twin(world, ports, "a")):
        with strike.block():
            async with open_application(Twin(world, ports, "b")) as twin:
                await twin.link.connected()
                assert await twin.link.request(Echo("b")) == "b"
        await trio.sleep(1)
        async with open_application(Twin(world, ports, "b")) as twin:
            with trio.fail_after(LONG):
                await twin.link.connected()
            assert await twin.link.request(Echo("again")) == "again"
            assert len(twin.peers) == 1


async def stopping_within_a_grace(world: World, strike: Injector) -> None:
    """What the application has under way takes longer than it has."""
    async with hub_and_home(world) as (hub, nursery), open_application(hub):
        await fill(hub, nursery)
        await settled()
        with strike.block():
            report = await hub.stop(grace=0.5)
            assert report.is_finished
            assert sum(one.cancelled for one in report.peers) == 3, report
        await hub.stop()


async def broadcast_to_slow_peers(world: World, strike: Injector) -> None:
    world.config = attrs.evolve(world.config, max_event_weight=1)
    async with (
        hub_and_home(world) as (hub, _),
        open_application(hub),
        world.open_tcp(1) as one,
        world.open_tcp(2) as two,
    ):
        await settled()
        with strike.block():
            for number in range(3):
                assert await hub.broadcast(Note(number), hub.peers) == []
        await trio.sleep(1)
        for peer in one, two:
            notes = peer.record[1:]
            assert notes == [f"note {number}" for number in range(len(notes))]
        for each in world.peers:
            check_idle(each)


# -- all of them --

SCENARIOS: dict[str, tuple[str, Run]] = {
    "connect": ("J01 J02 J08", connect),
    "connect over TLS": ("J01", connect_over_tls),
    "request": ("J03", request),
    "request, by its handler's steps": ("J03", request_by_its_handler),
    "request without a slot": ("J03", request_without_a_slot),
    "send_operation_request without a slot": ("J03", photons_request),
    "request with a deadline": ("J10", request_with_a_deadline),
    "request with a deadline, its handler's": ("J10", deadline_of_a_handler),
    "requests of a crowd": ("J03", requests_of_a_crowd),
    "request that is held": ("J03", request_that_is_held),
    "handler that waits for a slot": ("J03", handler_that_waits_for_a_slot),
    "send_event": ("J04", partial(send_events, sent=SendParameters())),
    "send_event, flushed": (
        "J04",
        partial(send_events, sent=SendParameters(flush=True)),
    ),
    "send_event without credit": (
        "J04",
        partial(send_events, sent=SendParameters(), max_event_weight=1),
    ),
    "send_event without buffer": (
        "J04",
        partial(send_events, sent=SendParameters(), send_buffer=1),
    ),
    "broadcast to slow peers": ("J04", broadcast_to_slow_peers),
    "block of a peer": ("J05 J09", block_of_a_peer),
    "task of a peer": ("J03", task_of_a_peer),
    "closing a peer": ("J07", closing_a_peer),
    "disconnecting a peer": ("J07", disconnecting_a_peer),
    "disconnecting from both sides": ("J07", disconnecting_from_both_sides),
    "aborting a peer": ("J05", aborting_a_peer),
    "handler that stays": ("J07", handler_that_stays),
    "nursery of a listener": ("J06", nursery_of_a_listener),
    "entering an application": ("J06", entering_an_application),
    "stopping an application": ("J07", stopping_an_application),
    "stopping within a grace": ("J07", stopping_within_a_grace),
    "leaving an application": ("J06 J07", leaving_an_application),
    "link that is lost": ("J05", link_that_is_lost),
    "two that dial each other": ("L01", two_that_dial_each_other),
}
"""The rows of the catalogue of faults that each covers, and what it does."""
SOCKETS = "connect by TCP"


@pytest.mark.parametrize(
    ("name", "run"),
    [
        pytest.param(name, run, id=f"{rows} {name}")
        for name, (rows, run) in SCENARIOS.items()
    ],
)
def test_cancel_at_any_step_leaves_nothing(name: str, run: Run) -> None:
    # Every step of what is cancelled, and a part of all others.
    count = explore(name, run, range(1), stride=7)
    assert not count.violations, "\n".join(count.violations)
    assert count.own_steps > 0
    assert count.steps > count.own_steps
    assert count.cancels >= count.own_steps


def test_j01_cancel_of_a_connect_leaves_no_descriptor() -> None:
    count = explore(SOCKETS, connect_by_tcp, range(1), stride=7, real_clock=True)
    assert not count.violations, "\n".join(count.violations)
    assert count.cancels >= count.own_steps > 0


def test_seed_fixes_the_order_of_tasks() -> None:
    first, again, *others = traces([1, 1, 2, 3, 4])
    assert first == again
    assert len({first, *others}) == 4


def main(seeds: int, names: list[str]) -> int:
    """Injector at every step of every scenario, and print a line each."""
    logging.getLogger("trio_s2s").disabled = True
    print(HEADING)
    total = Count("total")
    for name in names or [*SCENARIOS, SOCKETS]:
        if name == SOCKETS:
            count = explore(name, connect_by_tcp, range(seeds), real_clock=True)
        else:
            count = explore(name, SCENARIOS[name][1], range(seeds))
        total.add(count)
        print(count.line(), flush=True)
        print("".join(f"    {text}\n" for text in count.violations), end="")
    print(total.line())
    return 1 if total.violations else 0


if __name__ == "__main__":
    chosen = sys.argv[1:]
    wanted = int(chosen.pop(0)) if chosen and chosen[0].isdecimal() else 3
    sys.exit(main(wanted, chosen))
