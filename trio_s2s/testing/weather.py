"""How it is to send from one node to another, and what an end is told that breaks."""

import errno
from typing import Final, Protocol

import attrs
import trio

__all__ = ["Node", "Weather", "closed_error", "end_error", "reset_error"]

WINDOW: Final = 64 * 1024


def _broken(number: int, text: str) -> trio.BrokenResourceError:
    error = trio.BrokenResourceError(f"the stream broke: {text}")
    error.__cause__ = OSError(number, text)
    return error


def reset_error(text: str = "Connection reset by peer") -> trio.BrokenResourceError:
    """Make the error of a stream that the other side's system has aborted."""
    return _broken(errno.ECONNRESET, text)


def end_error() -> trio.BrokenResourceError:
    """Make the error of who sends more when the other side has closed."""
    return _broken(errno.EPIPE, "Broken pipe")


def closed_error() -> trio.ClosedResourceError:
    return trio.ClosedResourceError("this end was closed")


class Node(Protocol):
    """Where an end of a pipe is."""

    name: str
    is_paused: bool


@attrs.define(eq=False)
class Weather:
    """How it is to send from one node to another just now."""

    latency: float = 0.0
    """Seconds."""
    jitter: float = 0.0
    """Seconds that may be added to it."""
    window: int = WINDOW
    """Bytes that may be under way or unread before a sender waits."""
    is_cut: bool = False
    """Whether nothing arrives, as if the cable was out."""
    is_stalled: bool = False
    """Whether the receiver reads nothing."""
    is_held: bool = False
    """Whether frames arrive only when they are released."""
    corrupts: int = 0
    """The next writes that get a wrong bit each."""
