"""What must hold of a server and each other one, judged by its hooks alone."""

from collections.abc import Callable

import attrs

Check = Callable[[str, bool, str], None]


@attrs.define(eq=False)
class Pairs:
    """What one server has been told of the others, since its start."""

    server_id: str
    check: Check
    present: dict[str, str] = attrs.field(factory=dict)
    """The peer of each server whose hooks are not over."""
    known: set[str] = attrs.field(factory=set)
    """Servers that were connected, and are not lost."""
    last_seen: dict[str, float] = attrs.field(factory=dict)

    def begins(self, other: str, peer: str, *, resumed: bool) -> None:
        """An `on_connected` begins: nobody else is there, and it is known or not."""
        where = f"{peer} of {self.server_id}, which is connected to {other}"
        there = self.present.get(other)
        self.check("V22", there is None, f"{where}: {there} is there still")
        self.check("V24", other != self.server_id, f"{where}: that is itself")
        text = f"{where}: resumed is {resumed}, known are {self.known}"
        self.check("P19", resumed == (other in self.known), text)
        self.present[other] = peer
        self.known.add(other)

    def ends(self, other: str, now: float) -> None:
        """An `on_disconnected` ends."""
        self.present.pop(other, None)
        self.last_seen[other] = now

    def lost(self, other: str, now: float) -> None:
        """A `server_lost` runs: it was known, and is not there."""
        where = f"{other} is lost to {self.server_id}"
        self.check("P19", other in self.known, f"{where}, which did not know it")
        self.check("V22", other not in self.present, f"{where}, and is connected")
        self.known.discard(other)

    def over(self, now: float, ttl: float) -> None:
        """All was well for long: nobody is waited for who has been away too long."""
        for other in self.known - set(self.present):
            away = now - self.last_seen[other]
            text = f"{other} is away from {self.server_id} for {away:g} s, and not lost"
            self.check("P19", away <= ttl + 1e-6, text)
