"""Token buckets: a burst of what is cheap to send, then only so much an interval."""

from trio_s2s.codes import CloseCode
from trio_s2s.errors import RemoteProtocolError

__all__ = ["Bucket"]


class Bucket:
    """Allows a burst of one thing, and forgives some of it with time."""

    __slots__ = ("_burst", "_left", "_refill", "_what", "taken")

    def __init__(self, what: str, *, burst: int, refill: int) -> None:
        self._what = what
        self._burst = burst
        self._refill = refill
        self._left = burst
        self.taken: int = 0
        """How many there were."""

    def take(self) -> None:
        """Account for one more; too many are a flood, and the other side's error."""
        self.taken += 1
        self._left -= 1
        if self._left < 0:
            raise RemoteProtocolError(
                f"{self.taken:,} {self._what}, of which {self._refill:,} an interval"
                f" are allowed after {self._burst:,}",
                CloseCode.FLOOD,
            )

    def refill(self) -> None:
        """Forgive some; called once an interval, since there is no clock here."""
        self._left = min(self._burst, self._left + self._refill)
