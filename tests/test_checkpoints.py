"""Every public async call is a cancel point and a schedule point, also if fast."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.peers import Echo, Note, linked
from tests.test_promises import Worker
from trio_s2s import EventData, OperationRequest, SendParameters

CALLS: dict[str, Callable[[Any], Awaitable[object]]] = {
    "request": lambda peer: peer.request(Echo("x")),
    "request, plain": lambda peer: peer.request(OperationRequest(9)),
    "send_operation_request": lambda peer: peer.send_operation_request(
        OperationRequest(9)
    ),
    "send_event, flush": lambda peer: peer.send_event(
        Note(1), SendParameters(flush=True)
    ),
    "disconnect": lambda peer: peer.disconnect(),
    "aclose": lambda peer: peer.aclose(),
}


async def _send_event(peer: Any) -> None:
    await peer.send_event(Note(1))


@pytest.mark.parametrize("name", CALLS)
async def test_call_is_a_checkpoint(name: str) -> None:
    async with linked(Worker) as (peer, _):
        with trio.testing.assert_checkpoints():
            await CALLS[name](peer)


@pytest.mark.parametrize("name", ["disconnect", "aclose"])
async def test_closing_twice_is_a_checkpoint(name: str) -> None:
    async with linked(Worker) as (peer, _):
        await peer.aclose()
        with trio.testing.assert_checkpoints():
            await CALLS[name](peer)


@pytest.mark.parametrize("name", [*CALLS, "send_event"])
async def test_call_in_a_cancelled_scope_does_nothing(name: str) -> None:
    call = CALLS.get(name, _send_event)
    async with linked(Worker) as (peer, server):
        await trio.testing.wait_all_tasks_blocked()
        before = peer.statistics().messages_sent
        with trio.CancelScope() as scope:
            scope.cancel()
            await call(peer)
        assert scope.cancelled_caught
        if name not in ("disconnect", "aclose"):
            await trio.testing.wait_all_tasks_blocked()
            assert peer.statistics().messages_sent == before
            assert server.peer.record == ["connected"]
            assert await peer.request(Echo("alive")) == "alive"


async def test_send_event_yields_at_least_every_64_kib() -> None:
    async with linked(Worker) as (peer, _):
        with trio.testing.assert_checkpoints():
            for _ in range(67):
                await peer.send_event(EventData(9, {0: bytes(1000)}))
