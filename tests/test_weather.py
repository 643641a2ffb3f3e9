"""Twin of `testing/weather.py`."""

import errno

import trio

from trio_s2s.testing.weather import (
    Weather,
    closed_error,
    end_error,
    reset_error,
)


def test_weather_is_fair_at_first() -> None:
    weather = Weather()
    assert (weather.latency, weather.jitter, weather.corrupts) == (0, 0, 0)
    assert not any([weather.is_cut, weather.is_stalled, weather.is_held])


def test_errors_are_those_of_a_socket_stream() -> None:
    error = reset_error("gone")
    assert isinstance(error.__cause__, OSError)
    assert error.__cause__.errno == errno.ECONNRESET
    assert "gone" in str(error)
    error = end_error()
    assert isinstance(error.__cause__, OSError)
    assert error.__cause__.errno == errno.EPIPE
    assert isinstance(closed_error(), trio.ClosedResourceError)
