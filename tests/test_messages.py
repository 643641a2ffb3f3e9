"""Twin of `messages.py`."""

from typing import Any

import attrs
import pytest

from trio_s2s.messages import (
    EventData,
    InitRequest,
    InitResponse,
    OperationRequest,
    OperationResponse,
    SendParameters,
)


@pytest.mark.parametrize("channel", [-1, 16, "1", 1.0])
def test_channel_is_0_to_15(channel: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="channel"):
        SendParameters(channel)


def test_flags_are_by_keyword_only() -> None:
    with pytest.raises(TypeError):
        SendParameters(1, True)  # type: ignore[call-arg]  # what must not work
    assert SendParameters(1, unreliable=True).unreliable


@pytest.mark.parametrize("kind", [OperationRequest, OperationResponse, EventData])
def test_codes_are_not_below_0(kind: Any) -> None:
    with pytest.raises(ValueError, match="code"):
        kind(-1)


def test_request_knows_its_answer() -> None:
    request = OperationRequest(7, {0: "x"})
    assert request.respond() == OperationResponse(7)
    answer = request.respond({1: 2}, return_code=3, debug_message="why")
    assert answer == OperationResponse(7, 3, {1: 2}, "why")


@pytest.mark.parametrize(
    "message", [EventData(1), OperationRequest(1), InitRequest(), InitResponse()]
)
def test_messages_are_frozen(message: Any) -> None:
    name = attrs.fields(type(message))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(message, name, 5)
