"""Twin of `codes.py`."""

import pytest

from trio_s2s.codes import (
    FAILURE_OF_REJECT,
    REASON_OF_ERROR,
    CloseCode,
    DisconnectReason,
    FailureReason,
    Kind,
    ReturnCode,
    reason_of_goodbye,
)


def test_kinds_are_numbered_as_on_the_wire() -> None:
    assert [kind.value for kind in Kind] == list(range(14))


def test_return_codes_below_minus_9_never_travel() -> None:
    travelling = [code for code in ReturnCode if code >= -9]
    assert sorted(travelling) == list(range(-9, 1))
    assert min(ReturnCode) == -10


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, DisconnectReason.REMOTE_CLOSE),
        (7, DisconnectReason.REMOTE_CLOSE),
        (2**40, DisconnectReason.REMOTE_CLOSE),
        (CloseCode.SHUTTING_DOWN, DisconnectReason.SHUTDOWN),
        (CloseCode.REPLACED, DisconnectReason.REPLACED),
        (CloseCode.PEER_RESTARTED, DisconnectReason.PEER_RESTARTED),
        (CloseCode.DUPLICATE, DisconnectReason.REPLACED),
        *((code, DisconnectReason.REPORTED_BY_PEER) for code in range(-7, 0)),
        pytest.param(-999, DisconnectReason.REPORTED_BY_PEER, id="C25"),
    ],
)
def test_goodbye_means_a_reason(code: int, reason: DisconnectReason) -> None:
    assert reason_of_goodbye(code) is reason


def test_every_error_of_the_codec_has_a_reason() -> None:
    assert set(REASON_OF_ERROR) >= {
        CloseCode.PROTOCOL,
        CloseCode.DECODE,
        CloseCode.FRAME_TOO_LARGE,
        CloseCode.FLOOD,
    }


def test_rejects_become_failures() -> None:
    assert FAILURE_OF_REJECT[-20] is FailureReason.VERSION_MISMATCH
    assert FAILURE_OF_REJECT[CloseCode.BUSY] is FailureReason.REJECTED_BUSY
