"""How long a link waits before it dials again."""

from collections.abc import Callable
from typing import Any, Final

import attrs

from trio_s2s.codes import CloseCode, FailureReason
from trio_s2s.errors import ConnectionFailedError, ConnectionRejectedError

__all__ = ["Attempts", "Backoff", "Fixed", "is_for_good", "wish"]

FACTOR: Final = 2.0
STABLE: Final = 10.0
"""Seconds that a connection must have lasted to count as a success."""
LONGEST_WISH: Final = 600.0
"""Seconds that another side may ask to be left alone."""
FOR_GOOD: Final = {
    FailureReason.VERSION_MISMATCH,
    FailureReason.AUTH_FAILED,
    FailureReason.IDENTITY_MISMATCH,
    FailureReason.SELF_CONNECTION,
}
"""What the next attempt will meet again, until somebody has changed something."""

Draw = Callable[[float], float]
"""Draws a number between 0 and another one."""


def _seconds(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= 1e9:
        raise ValueError(
            f"{attribute.name} is a number of seconds above 0, not {value!r}"
        )


@attrs.frozen
class Backoff:
    """Waits for a time between 0 and a bound that doubles: full jitter, up to a cap.

    Full jitter spreads a crowd that has lost one server best. Keep the cap well below
    the `resume_ttl` of the other side, or a server that is back is taken for lost.
    """

    first: float = attrs.field(default=1.0, validator=_seconds)
    """The first bound, in seconds: after a loss, or after the very first failure."""
    cap: float = attrs.field(default=3.0, validator=_seconds)
    """The largest bound, in seconds."""

    def _wait(self, number: int, draw: Draw) -> float:
        # From 2 ** 1024 on it would be no float any more.
        return draw(min(self.first * FACTOR ** min(number - 1, 64), self.cap))


@attrs.frozen
class Fixed:
    """Waits for the same time always. Photon: its game servers wait 15 s."""

    cap: float = attrs.field(validator=_seconds)
    """In seconds."""

    def _wait(self, number: int, draw: Draw) -> float:
        return self.cap


class Attempts:
    """The attempts of one link since its last success."""

    def __init__(self, policy: Backoff | Fixed, draw: Draw) -> None:
        self._policy = policy
        self._draw = draw
        self._waits = 0
        self.failures: int = 0
        """Those that came to nothing."""

    @property
    def cap(self) -> float:
        """The most seconds between two attempts."""
        return self._policy.cap

    def after_failure(self, *, is_final: bool = False) -> float:
        """Give the seconds to wait; a refusal for good waits for the cap at once."""
        self.failures += 1
        return self.cap if is_final else self._wait()

    def after_loss(self, lasted: float) -> float:
        """Give the seconds to wait after a connection that lasted this long."""
        if lasted >= STABLE:
            self.failures = self._waits = 0
        return self._wait()

    def _wait(self) -> float:
        self._waits += 1
        return self._policy._wait(self._waits, self._draw)


def is_for_good(error: ConnectionFailedError) -> bool:
    """Whether a failure will not pass by itself."""
    if isinstance(error, ConnectionRejectedError):
        return error.reason in FOR_GOOD or error.code == CloseCode.UNKNOWN_APPLICATION
    return error.reason in FOR_GOOD


def wish(error: ConnectionFailedError) -> float:
    """Give the seconds that the other side asked to be left alone, within reason."""
    if isinstance(error, ConnectionRejectedError):
        return min(error._retry_after, LONGEST_WISH)
    return 0.0
