"""What goes wrong in a world: an explicit list, drawn before it begins."""

import random
from typing import Any

import attrs

from tests.simulator.options import Options

STATES = (
    "waiting", "dialling", "handshake", "connecting", "idle", "busy", "ending",
)  # fmt: skip
"""What a link may be doing when a fault comes; the first is between two attempts."""


@attrs.frozen
class Trouble:
    """One fault, the link at which it aims, and what that should be doing then."""

    at: float
    verb: str
    link: tuple[str, str]
    state: str = ""
    lasts: float = 0.0
    amount: float = 0.0

    def __str__(self) -> str:
        """Write it as one line."""
        shown = f"{self.at:8.2f} {self.verb} {'->'.join(self.link)}"
        rest = f" when {self.state}" if self.state else ""
        rest += f" for {self.lasts:.2f} s" if self.lasts else ""
        return f"{shown}{rest} ({self.amount:.3f})"


VERBS = (
    "partition", "partition_there", "partition_back", "reset", "end", "cut_after",
    "cut_after_reset", "silence", "stall", "slow_accept", "refuse", "forget_name",
    "latency_spike", "small_window", "hold", "double_dial", "kill", "kill_silently",
    "pause", "stop", "disconnect", "abort", "cancel_calls", "crash_on_connected",
    "crash_on_disconnected", "crash_on_failed", "corrupt",
)  # fmt: skip


def draw_plan(options: Options) -> list[Trouble]:
    """Draw the troubles of a world."""
    rng = random.Random(f"{options.seed} plan")
    links = options.links()
    # Wrong bytes may do anything, so few worlds have them, and are judged by less.
    verbs = VERBS if rng.random() < 0.1 else VERBS[:-1]
    return sorted(
        (
            _trouble(rng, options, rng.choice(verbs), links)
            for _ in range(options.faults)
        ),
        key=lambda trouble: trouble.at,
    )


def _trouble(
    rng: random.Random, options: Options, verb: str, links: list[tuple[str, str]]
) -> Trouble:
    lasts: Any = rng.choice([0.01, 0.5, 5.0, 40.0])
    return Trouble(
        at=rng.random() * options.duration,
        verb=verb,
        link=rng.choice(links),
        state=rng.choice(STATES) if rng.random() < 0.7 else "",
        lasts=lasts * rng.random(),
        amount=rng.random(),
    )
