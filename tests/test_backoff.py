"""Twin of `backoff.py`."""

import math
from typing import Any

import pytest

from trio_s2s import (
    Backoff,
    ConnectionFailedError,
    ConnectionRejectedError,
    FailureReason,
    Fixed,
)
from trio_s2s.backoff import Attempts, is_for_good, wish
from trio_s2s.codes import CloseCode


def asked(policy: Backoff | Fixed) -> tuple[Attempts, list[float]]:
    """Give the attempts of a link, and the bounds between which it has drawn."""
    bounds: list[float] = []

    def uniform(most: float) -> float:
        bounds.append(most)
        return most / 2

    return Attempts(policy, uniform), bounds


def test_bound_of_failures_doubles_up_to_the_cap() -> None:
    attempts, bounds = asked(Backoff())
    assert [attempts.after_failure() for _ in range(5)] == [0.5, 1, 1.5, 1.5, 1.5]
    assert bounds == [1, 2, 3, 3, 3]
    assert attempts.failures == 5


def test_bound_stays_at_the_cap_for_ever() -> None:
    attempts, bounds = asked(Backoff(0.5, 30))
    for _ in range(5000):
        attempts.after_failure()
    assert bounds[-1] == attempts.cap == 30


def test_refusal_for_good_waits_for_the_cap_at_once() -> None:
    attempts, bounds = asked(Backoff())
    assert attempts.after_failure(is_final=True) == 3
    assert bounds == []


def test_loss_after_a_stable_time_begins_anew() -> None:
    attempts, bounds = asked(Backoff())
    for _ in range(3):
        attempts.after_failure()
    assert attempts.after_loss(10) == 0.5
    assert attempts.failures == 0
    attempts.after_failure()
    assert bounds == [1, 2, 3, 1, 2]


def test_connection_that_did_not_last_is_no_success() -> None:
    attempts, bounds = asked(Backoff())
    for _ in range(4):
        attempts.after_loss(9.9)
    assert bounds == [1, 2, 3, 3]


def test_fixed_time_is_always_the_same() -> None:
    attempts, bounds = asked(Fixed(15))
    waits = [attempts.after_failure(), attempts.after_failure(is_final=True)]
    assert [*waits, attempts.after_loss(60), attempts.after_loss(1)] == [15] * 4
    assert bounds == []


def test_loss_never_waits_longer_than_the_cap() -> None:
    attempts, bounds = asked(Backoff(first=5, cap=2))
    attempts.after_loss(60)
    assert bounds == [2]


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "3", True, None])
def test_wrong_times_are_refused(value: Any) -> None:
    for make in (
        lambda: Backoff(first=value),
        lambda: Backoff(cap=value),
        lambda: Fixed(value),
    ):
        with pytest.raises(ValueError, match="is a number of seconds above 0, not"):
            make()


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (ConnectionFailedError("", FailureReason.REFUSED), False),
        (ConnectionFailedError("", FailureReason.SELF_CONNECTION), True),
        (ConnectionRejectedError(CloseCode.BUSY), False),
        (ConnectionRejectedError(CloseCode.IDENTITY), True),
        (ConnectionRejectedError(CloseCode.UNKNOWN_APPLICATION), True),
        (ConnectionRejectedError(7), False),
    ],
)
def test_some_failures_will_not_pass(error: ConnectionFailedError, is_so: bool) -> None:
    assert is_for_good(error) is is_so


def test_wish_to_be_left_alone_is_respected_within_reason() -> None:
    error = ConnectionRejectedError(CloseCode.BUSY)
    assert wish(error) == 0
    error._retry_after = 20.0
    assert wish(error) == 20
    error._retry_after = 1e9
    assert wish(error) == 600
    assert wish(ConnectionFailedError("", FailureReason.REFUSED)) == 0
