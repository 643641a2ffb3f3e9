"""How long a link waits before it dials again."""

from collections.abc import Callable
from typing import Final

__all__ = ["Backoff"]

FIRST: Final = 1.0
FACTOR: Final = 2.0
CAP: Final = 3.0
STABLE: Final = 10.0
"""Seconds that a connection must have lasted to count as a success."""


class Backoff:
    """Delays between attempts: exponential with full jitter, up to a cap.

    Full jitter spreads a crowd that lost one server best: every delay is drawn between
    0 and a bound that doubles from 1 s to 3 s.
    """

    def __init__(self, uniform: Callable[[float], float]) -> None:
        self._uniform = uniform
        self._bound = FIRST
        self.failures: int = 0
        """Attempts since the last success."""

    def after_failure(self, *, is_final: bool = False) -> float:
        """Give the seconds to wait; a refusal for good waits for the cap at once."""
        self.failures += 1
        if is_final:
            self._bound = CAP
            return CAP
        bound = self._bound
        self._bound = min(bound * FACTOR, CAP)
        return self._uniform(bound)

    def after_loss(self, lasted: float) -> float:
        """Give the seconds to wait after a connection that lasted this long."""
        if lasted < STABLE:
            return self.after_failure()
        self.failures = 0
        self._bound = FIRST
        return self._uniform(FIRST)
