"""Twin of `backoff.py`."""

from trio_s2s.backoff import Backoff


def asked() -> tuple[Backoff, list[float]]:
    """Give a back-off, and the bounds between which it has drawn."""
    bounds: list[float] = []

    def uniform(most: float) -> float:
        bounds.append(most)
        return most / 2

    return Backoff(uniform), bounds


def test_bound_of_failures_doubles_up_to_the_cap() -> None:
    backoff, bounds = asked()
    assert [backoff.after_failure() for _ in range(5)] == [0.5, 1, 1.5, 1.5, 1.5]
    assert bounds == [1, 2, 3, 3, 3]
    assert backoff.failures == 5


def test_refusal_for_good_waits_for_the_cap_at_once() -> None:
    backoff, bounds = asked()
    assert backoff.after_failure(is_final=True) == 3
    assert bounds == []
    assert backoff.after_failure() == 1.5


def test_loss_after_a_stable_time_begins_anew() -> None:
    backoff, bounds = asked()
    for _ in range(3):
        backoff.after_failure()
    assert backoff.after_loss(10) == 0.5
    assert backoff.failures == 0
    backoff.after_failure()
    assert bounds == [1, 2, 3, 1, 1]


def test_connection_that_did_not_last_counts_as_a_failure() -> None:
    backoff, bounds = asked()
    for _ in range(4):
        backoff.after_loss(9.9)
    assert bounds == [1, 2, 3, 3]
    assert backoff.failures == 4
