"""Windows: how much of one kind may be under way at once, told by its receiver."""

import math

import attrs

from trio_s2s.config import PeerConfig

__all__ = ["Limits", "Window", "weigh"]

OVERHEAD = 64


def weigh(size: int) -> int:
    """Give the weight of a message that has this many packed bytes."""
    return size + OVERHEAD


@attrs.frozen
class Limits:
    """What one side announces in the handshake that it takes."""

    max_frame: int
    request_slots: int
    request_weight: int
    event_weight: int

    @classmethod
    def of(cls, config: PeerConfig) -> "Limits":
        """Give the limits that a config announces."""
        return cls(
            config.max_frame,
            config.max_concurrent_requests,
            config.max_request_weight,
            config.max_event_weight,
        )


class Window:
    """The messages of one kind that are under way; both sides keep the same count.

    Where CREDIT gives weight back in lumps, only the weight says something.
    """

    __slots__ = ("count", "max_weight", "slots", "weight")

    def __init__(self, max_weight: int, slots: float = math.inf) -> None:
        self.max_weight: int = max_weight
        self.slots: float = slots
        self.count: int = 0
        self.weight: int = 0

    @property
    def shut(self) -> bool:
        """Whether its receiver takes none at all."""
        return self.max_weight == 0 or self.slots == 0

    def fits(self, weight: int) -> bool:
        """Whether a message may go: it fits, or nothing is under way."""
        if self.weight == 0:
            return not self.shut
        return self.count < self.slots and self.weight + weight <= self.max_weight

    def add(self, weight: int) -> None:
        """Account for a message that goes."""
        self.count += 1
        self.weight += weight

    def remove(self, weight: int) -> None:
        """Account for a message that is done with."""
        self.count -= 1
        self.weight -= weight
