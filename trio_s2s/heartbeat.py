"""Asks for a sign of life, and notices when it was itself that was late."""

from collections.abc import Callable
from typing import Final

import trio

from trio_s2s.runtime import now

__all__ = ["Heartbeat"]

SHORTEST: Final = 0.1
LONGEST: Final = 600.0
ROUND_TRIP_EVERY: Final = 30.0


class Heartbeat:
    """Watches one connection: any byte that arrives is a sign of life."""

    def __init__(self, ours: float, theirs: float, misses: int) -> None:
        self.interval = min(max(ours, theirs, SHORTEST), LONGEST)
        """Seconds of silence before a PING: the larger of both sides' wishes."""
        self.misses = misses
        """Intervals of silence that are too many."""
        self.last_received = now()
        self.round_trip_time: float | None = None
        self._token = 0
        self._asked_at = now()

    async def watch(self, ask: Callable[[int], None], tick: Callable[[], None]) -> None:
        """Return when the other side has been silent for too long.

        Calls `ask` with the token of a PING to send, and `tick` once an interval.
        """
        seen = self.last_received
        missed = 0
        delay = 0.0
        while True:
            due = seen + delay + self.interval * (missed + 1)
            await trio.sleep_until(due)
            tick()
            if self.last_received != seen:
                seen, missed, delay = self.last_received, 0, 0.0
                if now() - self._asked_at >= ROUND_TRIP_EVERY:
                    self.ask(ask)
                continue
            missed += 1
            # This process itself stood still, and so did its ears: that is one miss,
            # however long it took, and the other side gets the rest of its time.
            delay += now() - due
            if missed >= self.misses:
                return
            self.ask(ask)

    def ask(self, ask: Callable[[int], None]) -> None:
        """Send one PING."""
        self._token += 1
        self._asked_at = now()
        ask(self._token)

    def answered(self, token: int) -> bool:
        """Take a PONG; False if it answers nothing that was asked last."""
        if token != self._token:
            return 0 < token < self._token
        self.round_trip_time = now() - self._asked_at
        return True
