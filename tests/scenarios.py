"""Calls and lives of peers that are struck at each of their steps."""

from contextlib import suppress
from typing import Any

import attrs
import trio
import trio.testing

from tests.peers import Echo, Note, Wait
from tests.steps import (
    LONG,
    Back,
    Busy,
    Near,
    World,
    check_idle,
    served,
)
from trio_s2s import (
    Operation,
    OperationError,
    OperationRequest,
    PeerDisconnectedError,
    SendParameters,
)
from trio_s2s.testing import Injector

settled = trio.testing.wait_all_tasks_blocked


# -- calls --


async def linger(world: World, peer: Near) -> None:
    """See that a link is whole, and nothing is under way, after a call has ended."""
    await trio.sleep(1)
    for each in world.peers:
        check_idle(each)
    assert await peer.request(Echo("still here")) == "still here"


async def request(world: World, strike: Injector) -> None:
    async with served(world), world.open() as peer:
        await settled()
        with strike.block():
            await peer.request(Back("a" * 100))
            await peer.request(Wait(0.01))
        await linger(world, peer)


async def request_by_its_handler(world: World, strike: Injector) -> None:
    """The caller is cancelled at each step of the handler on the other side."""
    world.strike = strike
    async with served(world), world.open() as peer:
        await settled()
        with strike.block():
            await peer.request(Back("a" * 100))
        await linger(world, peer)


async def request_without_a_slot(world: World, strike: Injector) -> None:
    world.config = attrs.evolve(world.config, max_concurrent_requests=1)
    async with served(world), world.open() as peer, trio.open_nursery() as nursery:
        await settled()
        nursery.start_soon(peer.request, Wait(0.1))
        await settled()
        with strike.block():
            await peer.request(Echo("a"))
        await linger(world, peer)


async def photons_request(world: World, strike: Injector) -> None:
    world.config = attrs.evolve(world.config, max_concurrent_requests=1)
    async with served(world), world.open() as peer:
        await settled()
        queued = 0
        with strike.block():
            for _ in range(3):
                await peer.send_operation_request(OperationRequest(1, {0: "a"}))
                queued += 1
        await linger(world, peer)
        # Each that was taken has its answer, and no other.
        assert peer.record.count("response 0") == queued


async def send_events(
    world: World, strike: Injector, sent: SendParameters, **limits: Any
) -> None:
    """Events arrive in order and without a gap, those of which it was said so."""
    world.config = attrs.evolve(world.config, **limits)
    async with served(world), world.open() as peer:
        await settled()
        returned = 0
        with strike.block():
            for number in range(6):
                await peer.send_event(Note(number), sent)
                returned += 1
                await trio.lowlevel.checkpoint()  # It waits for nothing else, at times.
        await linger(world, peer)
        handled = [note for note in world.peers[-1].record if note.startswith("note")]
        assert handled == [f"note {number}" for number in range(len(handled))]
        assert len(handled) - returned in ((0, 1) if sent.flush else (0,))


async def request_with_a_deadline(world: World, strike: Injector) -> None:
    """The time is over on both sides at once, and at some step the caller is too."""
    async with served(world), world.open() as peer:
        await settled()
        with strike.block():
            with trio.move_on_after(0.05) as scope:
                await peer.request(Wait(1))
            assert scope.cancelled_caught
            with trio.fail_after(5):
                await peer.request(Back("a"))
        await linger(world, peer)


async def deadline_of_a_handler(world: World, strike: Injector) -> None:
    """A handler asks back with what is left of its time; its steps are struck."""
    world.strike = strike
    async with served(world), world.open() as peer:
        await settled()
        with strike.block(), trio.move_on_after(0.005):
            await peer.request(Back("a" * 100))
        await linger(world, peer)


async def requests_of_a_crowd(world: World, strike: Injector) -> None:
    """Many callers wait for two slots; all of them are cancelled at once."""
    world.config = attrs.evolve(world.config, max_concurrent_requests=2)
    async with served(world), world.open() as peer:
        await settled()
        with strike.block():
            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(peer.request, Echo(str(number)))
        await linger(world, peer)


async def request_that_is_held(world: World, strike: Injector) -> None:
    """It waits over there until `on_connected` has finished."""
    world.connects_in = 0.1
    async with served(world), world.open() as peer:
        with strike.block():
            await peer.request(Echo("a"))
            await peer.send_event(Note(1))
        await linger(world, peer)


async def handler_that_waits_for_a_slot(world: World, strike: Injector) -> None:
    """Both sides wait inside handlers for slots that both hold."""
    world.config = attrs.evolve(
        world.config, max_concurrent_requests=1, handler_wait=0.1
    )
    world.strike = strike
    async with served(world), world.open() as peer:
        await settled()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_anyway, peer, Wait(0.05))
            nursery.start_soon(ask_anyway, world.peers[-1], Wait(1))
            await settled()
            with strike.block():
                await ask_anyway(peer, Back("a"))
        await trio.sleep(5)
        await linger(world, peer)


async def ask_anyway(peer: Busy, operation: Operation[Any]) -> None:
    """Ask; that the other side is busy, or gone, is an answer, too."""
    with suppress(OperationError, PeerDisconnectedError):
        await peer.request(operation)


# -- the life of one peer --


async def block_of_a_peer(world: World, strike: Injector) -> None:
    async with served(world):
        with strike.block():
            async with world.open() as peer:
                peer.start_soon(peer.request, Wait(10))
                await peer.request(Back("a"))
                await peer.send_event(Note(1))


async def task_of_a_peer(world: World, strike: Injector) -> None:
    async with served(world), world.open() as peer:
        await settled()

        async def work() -> None:
            with strike.block():
                await peer.request(Back("a" * 100))
                await peer.send_event(Note(1), SendParameters(flush=True))
            ended.set()

        ended = trio.Event()
        peer.start_soon(work)
        await ended.wait()
        await linger(world, peer)


async def closing_a_peer(world: World, strike: Injector) -> None:
    """A close that is cancelled becomes an abort."""
    world.aborts = True
    async with served(world), world.open() as peer:
        peer.start_soon(peer.request, Wait(2))
        await peer.send_event(Note(1))
        with strike.block():
            await peer.aclose()
        await peer.ended.wait()


async def disconnecting_a_peer(world: World, strike: Injector) -> None:
    """The drain goes on without who has asked for it, and its requests finish."""
    async with served(world), world.open() as peer:
        await settled()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_anyway, peer, Wait(0.5))
            nursery.start_soon(ask_anyway, world.peers[-1], Wait(1))
            await settled()
            with strike.block():
                await peer.disconnect("enough")
            await peer.ended.wait()
        assert trio.current_time() < LONG


async def disconnecting_from_both_sides(world: World, strike: Injector) -> None:
    """At once, and twice; who is not cancelled goes on, or is aborted here."""
    world.aborts = True
    async with served(world), world.open() as peer:
        await settled()
        far = world.peers[-1]
        peer.start_soon(ask_anyway, peer, Wait(0.2))
        with strike.block():
            async with trio.open_nursery() as nursery:
                for one in (peer, far, peer, far):
                    nursery.start_soon(one.disconnect)
        if strike.has_fired:
            peer.abort()
        await peer.ended.wait()
        await far.ended.wait()


async def aborting_a_peer(world: World, strike: Injector) -> None:
    world.aborts = True
    async with served(world), world.open() as peer:
        await settled()
        async with trio.open_nursery() as nursery:
            for operation in (Wait(1), Back("a")):
                nursery.start_soon(ask_anyway, peer, operation)
            with strike.block():
                await ask_anyway(peer, Echo("a"))
                peer.abort()
                await peer.ended.wait()
            peer.abort()


async def handler_that_stays(world: World, strike: Injector) -> None:
    """It outlives the drain, and is cancelled; the one that waits for that as well."""
    world.config = attrs.evolve(world.config, drain_timeout=0.5)
    async with served(world), world.open() as peer:
        await settled()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_anyway, world.peers[-1], Wait(100))
            await settled()
            with strike.block():
                await peer.disconnect()
            await peer.ended.wait()
