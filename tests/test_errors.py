"""Twin of `errors.py`: one tree, data as attributes, text for people."""

from typing import Any

import pytest
import trio

from trio_s2s import errors
from trio_s2s.codes import CloseCode, DisconnectReason, FailureReason, Outcome


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_an_s2s_error(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.S2SError)


def test_errors_of_a_peer_are_also_trios() -> None:
    assert issubclass(errors.PeerDisconnectedError, trio.BrokenResourceError)
    assert issubclass(errors.PeerClosedError, trio.ClosedResourceError)


def test_message_too_large_tells_both_sizes() -> None:
    error = errors.MessageTooLargeError("Greet (operation 1)", 600_000, 524_288)
    assert (error.size, error.max_size) == (600_000, 524_288)
    assert "Greet (operation 1) has 600,000 bytes" in str(error)
    assert "524,288" in str(error)


def test_remote_protocol_error_has_a_code() -> None:
    assert errors.RemoteProtocolError("x").code is CloseCode.PROTOCOL
    assert errors.RemoteProtocolError("x", CloseCode.DECODE).code is CloseCode.DECODE


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (7, FailureReason.REJECTED),
        (CloseCode.BUSY, FailureReason.REJECTED_BUSY),
        (CloseCode.UNKNOWN_APPLICATION, FailureReason.REJECTED),
        (-12345, FailureReason.REJECTED),
    ],
)
def test_rejection_has_code_text_and_reason(code: int, reason: FailureReason) -> None:
    error = errors.ConnectionRejectedError(code, "full", "10.0.0.5:4520")
    assert (error.code, error.debug_message, error.reason) == (code, "full", reason)
    assert str(error) == (
        f"10.0.0.5:4520 rejected the connection with code {code}: full"
    )


def test_rejection_without_words_says_so() -> None:
    assert "the other side" in str(errors.ConnectionRejectedError(1))
    assert "no reason given" in str(errors.ConnectionRejectedError(1))


@pytest.mark.parametrize("given", [("full",), (5, None), (True, "x"), (5.0, "x")])
def test_rejection_takes_a_code_and_a_text_and_nothing_else(given: Any) -> None:
    with pytest.raises(TypeError, match="a rejection has a code and a text, not"):
        errors.ConnectionRejectedError(*given)


def test_disconnected_tells_what_was_waiting() -> None:
    error = errors.PeerDisconnectedError(
        DisconnectReason.HEARTBEAT_TIMEOUT, "silence", Outcome.UNKNOWN, -5, "Greet"
    )
    assert str(error) == (
        "the peer was disconnected while Greet was waiting: HEARTBEAT_TIMEOUT,"
        " silence (outcome UNKNOWN)"
    )
    assert (error.reason, error.detail) == (
        DisconnectReason.HEARTBEAT_TIMEOUT,
        "silence",
    )
    assert (error.outcome, error.code) == (Outcome.UNKNOWN, -5)
    short = errors.PeerDisconnectedError(DisconnectReason.SHUTDOWN, "")
    assert "disconnected: SHUTDOWN, no detail" in str(short)


def test_operation_error_carries_its_answer() -> None:
    error = errors.OperationError(5, "no", {"a": 1})
    assert (error.return_code, error.debug_message, error.details) == (
        5,
        "no",
        {"a": 1},
    )
    assert not error.was_received
    assert str(error) == "operation failed with return code 5: no"
    assert str(errors.OperationError(5)) == "operation failed with return code 5"


def test_contract_error_lists_every_field() -> None:
    found = [("name (parameter 0)", "str", "int 5"), ("", "a valid Greet", "no")]
    error = errors.ContractError("Greet", found)
    assert error.errors == tuple(found)
    assert str(error) == (
        "Greet.name (parameter 0): expected str, got int 5;"
        " Greet: expected a valid Greet, got no"
    )
