"""What a failed test should say, so that it can be seen again."""

from typing import Final

from trio_s2s.testing.diagram import as_text
from trio_s2s.testing.network import MemoryNetwork

__all__ = ["failure_text"]

LINES: Final = 40


def failure_text(network: MemoryNetwork, command: str, lines: int = LINES) -> str:
    """Tell the seed, the faults, the last that happened, and how to run it again.

    Args:
        network: Where it happened.
        command: What to type to see it again.
        lines: How much of the trace, and of the drawing, to tell.
    """
    faults = [str(fault) for fault in network.plan] or ["(no plan)"]
    played = [str(entry) for entry in network.trace.entries if entry.kind == "fault"]
    last = list(network.trace.entries)[-lines:]
    return "\n".join(
        [
            f"seed {network.seed}, trace {network.trace.hash()}"
            f" of {network.trace.count:,} entries",
            f"again: {command}",
            "plan:",
            *(f"  {line}" for line in faults),
            "faults that happened:",
            *(f"  {line}" for line in played or ["(none)"]),
            "what happened last:",
            *(f"  {entry}" for entry in last),
            "",
            as_text(last, list(network.nodes)),
        ]
    )
