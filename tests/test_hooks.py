"""The hooks that an application overrides."""

from typing import Any

import pytest

from trio_s2s.codes import DisconnectReason, FailureReason
from trio_s2s.errors import ConnectionFailedError
from trio_s2s.hooks import HOOKS, PeerHooks
from trio_s2s.messages import (
    EventData,
    OperationRequest,
    OperationResponse,
    SendParameters,
)


async def test_hooks_do_nothing_by_themselves() -> None:
    hooks, sent = PeerHooks(), SendParameters()
    await hooks.on_connected()
    await hooks.on_failed(ConnectionFailedError("no", FailureReason.REFUSED))
    await hooks.on_disconnected(DisconnectReason.SHUTDOWN, "")
    await hooks.on_event(EventData(1), sent)
    await hooks.on_operation_response(OperationResponse(1), sent)
    assert await hooks.on_operation_request(OperationRequest(1), sent) is None


def test_hooks_are_those_that_are_documented() -> None:
    assert sorted(HOOKS) == [
        "on_connected",
        "on_disconnected",
        "on_event",
        "on_failed",
        "on_operation_request",
        "on_operation_response",
    ]


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_hook_must_be_async(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Mine\.{name} must be an `async def`"):
        type("Mine", (PeerHooks,), {name: lambda self: None})


def test_other_methods_may_be_plain() -> None:
    class Mine(PeerHooks):
        async def on_connected(self) -> None:
            pass

        def on_my_own(self) -> None:
            pass

    assert Mine.on_my_own is not None


def test_async_generator_is_no_hook() -> None:
    async def on_connected(self: Any) -> Any:
        yield

    with pytest.raises(TypeError, match=r"Mine\.on_connected"):
        type("Mine", (PeerHooks,), {"on_connected": on_connected})
