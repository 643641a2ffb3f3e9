"""Asks for a sign of life, and notices when it was itself that was late."""

from collections.abc import Callable
from typing import Final

import trio

from trio_s2s.runtime import now, sleep

__all__ = ["Heartbeat"]

SHORTEST: Final = 0.1
LONGEST: Final = 600.0
ROUND_TRIP_EVERY: Final = 30.0


class Heartbeat:
    """Watches one connection: any byte that arrives is a sign of life."""

    def __init__(self, ours: float, theirs: float, misses: int) -> None:
        self.interval: float = min(max(ours, theirs, SHORTEST), LONGEST)
        """Seconds of silence before a PING: the larger of both sides' wishes."""
        self.misses = misses
        """Intervals of silence that are too many."""
        self.last_received: float = now()
        self.last_sent: float = now()
        self.round_trip_time: float | None = None
        self.moved: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        """Where to wait for an answer, or for the end."""
        self.is_asking: bool = False
        """Whether a PING waits for its answer."""
        self._token = 0
        self._asked_at = self._began_at = now()
        self._scope = trio.CancelScope(shield=True)

    def start(
        self,
        nursery: trio.Nursery,
        ask: Callable[[int], None],
        tick: Callable[[], None],
        silent: Callable[[str], None],
    ) -> None:
        """Start the task that watches; `stop` ends it.

        It calls `ask` with the token of a PING to send, `tick` once an interval, and
        `silent`, with a text, when the other side has been silent for too long.
        """
        nursery.start_soon(self._watch, ask, tick, silent, name="keep-alive")

    def stop(self) -> None:
        """End the task, which nothing else does: it is shielded."""
        self._scope.cancel(reason="the connection is closed")
        self.moved.unpark_all()

    async def _watch(
        self,
        ask: Callable[[int], None],
        tick: Callable[[], None],
        silent: Callable[[str], None],
    ) -> None:
        with self._scope:
            await self._until_silent(ask, tick)
            limit = self.interval * self.misses
            passed = now() - self.last_received
            silent(f"nothing was received for {passed:.1f} s (limit {limit:g} s)")

    async def _until_silent(
        self, ask: Callable[[int], None], tick: Callable[[], None]
    ) -> None:
        seen = self.last_received
        missed = 0
        delay = 0.0
        while True:
            due = seen + delay + self.interval * (missed + 1)
            await sleep(due - now())
            tick()
            if self.last_received != seen:
                seen, missed, delay = self.last_received, 0, 0.0
                if self._is_quiet or now() - self._asked_at >= ROUND_TRIP_EVERY:
                    self.ask(ask)
                continue
            missed += 1
            # This process itself stood still, and so did its ears: that is one miss,
            # however long it took, and the other side gets the rest of its time.
            delay += now() - due
            if missed >= self.misses:
                return
            self.ask(ask)

    @property
    def _is_quiet(self) -> bool:
        # The other side's PING may be stuck behind a long message of its own: it must
        # hear something all the same, and within two intervals.
        return now() - self.last_sent > self.interval / 2

    def ask(self, ask: Callable[[int], None]) -> None:
        """Send one PING; the same once more while it has no answer.

        A new one would take the answer's place, where it takes longer than an interval.
        """
        if not self.is_asking:
            self._token += 1
            self.is_asking = True
            self._began_at = now()
        self._asked_at = now()
        ask(self._token)

    async def answer(self, is_over: Callable[[], bool]) -> None:
        """Wait until the PING that was sent last is answered, or nothing will be."""
        while self.is_asking and not is_over():
            await self.moved.park()

    def answered(self, token: int) -> bool:
        """Take a PONG; False if it answers nothing that was asked."""
        if not self.is_asking or token != self._token:
            return 0 < token <= self._token
        self.is_asking = False
        self.round_trip_time = now() - self._began_at
        self.moved.unpark_all()
        return True
