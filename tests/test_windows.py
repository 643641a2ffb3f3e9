"""Twin of `windows.py`."""

from trio_s2s.config import PeerConfig
from trio_s2s.windows import Limits, Window, weigh


def test_a_message_weighs_its_bytes_and_64() -> None:
    assert weigh(0) == 64
    assert weigh(1000) == 1064


def test_limits_are_those_of_a_config() -> None:
    limits = Limits.of(PeerConfig(max_frame=2048, max_concurrent_requests=3))
    assert limits == Limits(2048, 3, 4 * 1024**2, 256 * 1024)


def test_window_is_full_by_weight() -> None:
    window = Window(100)
    assert window.fits(100)
    window.add(60)
    assert window.fits(40)
    assert not window.fits(41)
    window.remove(60)
    assert window.fits(100)


def test_window_is_full_by_slots() -> None:
    window = Window(1000, slots=2)
    window.add(1)
    assert window.fits(1)
    window.add(1)
    assert not window.fits(1)


def test_window_lets_one_large_message_go_alone() -> None:
    window = Window(100)
    assert window.fits(10_000)
    window.add(10_000)
    assert not window.fits(1)


def test_window_of_0_is_shut() -> None:
    assert Window(0).shut
    assert Window(100, slots=0).shut
    assert not Window(0).fits(1)
    assert not Window(1, slots=1).shut
