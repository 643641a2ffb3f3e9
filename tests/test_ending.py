"""Why a connection ended."""

import gc
import weakref

import pytest

from trio_s2s.codes import DisconnectReason, Outcome
from trio_s2s.ending import Ending
from trio_s2s.errors import PeerClosedError, PeerDisconnectedError


def ended(reason: DisconnectReason = DisconnectReason.SHUTDOWN) -> Ending:
    ending = Ending()
    assert ending.record(reason, "bye")
    return ending


def test_ending_has_no_reason_before_it_begins() -> None:
    ending = Ending()
    assert ending.reason is None
    assert ending.detail == ""
    assert ending.goodbye_code is None
    assert not ending.has_begun.is_set()


def test_first_reason_wins() -> None:
    ending = ended()
    assert ending.has_begun.is_set()
    assert not ending.record(DisconnectReason.CONNECTION_LOST, "later")
    assert (ending.reason, ending.detail) == (DisconnectReason.SHUTDOWN, "bye")


@pytest.mark.parametrize("outcome", Outcome)
def test_error_has_all_that_is_known(outcome: Outcome) -> None:
    ending = ended()
    ending.goodbye_code = -8
    error = ending.error(outcome, "Echo (operation 1)")
    assert isinstance(error, PeerDisconnectedError)
    assert (error.reason, error.detail) == (DisconnectReason.SHUTDOWN, "bye")
    assert (error.outcome, error.code) == (outcome, -8)
    assert "Echo (operation 1)" in str(error)


def test_error_of_a_later_call_was_never_sent() -> None:
    error = ended().error(None, "Echo")
    assert isinstance(error, PeerDisconnectedError)
    assert error.outcome is Outcome.NEVER_SENT


def test_error_after_own_close_says_closed_to_later_calls_only() -> None:
    ending = ended(DisconnectReason.LOCAL_CLOSE)
    assert isinstance(ending.error(None, "Echo"), PeerClosedError)
    assert isinstance(ending.error(Outcome.UNKNOWN, "Echo"), PeerDisconnectedError)


def test_ending_explains_its_own_errors_only() -> None:
    ending, other = ended(), ended()
    own = ending.error(Outcome.UNKNOWN, "Echo")
    foreign = other.error(Outcome.UNKNOWN, "Echo")
    assert ending.explains(own)
    assert not ending.explains(foreign)
    assert not ending.explains(ValueError())
    assert ending.explains(ExceptionGroup("", [own, ExceptionGroup("", [own])]))
    assert not ending.explains(ExceptionGroup("", [own, foreign]))


def test_ending_keeps_no_error_alive() -> None:
    ending = ended()
    error = weakref.ref(ending.error(Outcome.UNKNOWN, "Echo"))
    gc.collect()
    assert error() is None
