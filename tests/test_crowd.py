"""Twin of `crowd.py`, with fewer links."""

import pytest

from tests.crowd import Crowd, peak, run_seed


@pytest.mark.parametrize("cap", [3.0, 30.0])
def test_l10_crowd_that_has_lost_its_server_is_back_within_the_cap(cap: float) -> None:
    crowd = run_seed(30, cap, seed=1)
    assert crowd.last <= cap * 1.1
    assert 0 < crowd.peak_after_recovery < 30


def test_most_within_100_ms_are_counted() -> None:
    assert peak([10.0, 10.09, 10.1, 10.55, 10.5, 10.51], began=10.0) == 3
    assert peak([], began=0.0) == 0


def test_result_is_one_line() -> None:
    line = str(Crowd(1000, 3.0, 150, 70, 2.5))
    assert line == (
        "1,000 links, cap 3 s: at most 15.0 % in 100 ms after the loss, 7.0 % after the"
        " recovery; the last is back after 2.50 s"
    )
