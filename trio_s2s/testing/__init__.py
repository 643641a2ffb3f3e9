"""For tests: clusters of unmodified applications in memory, faults and virtual time.

`MemoryNetwork` runs them; `memory_peers` is enough for two peers. See docs/testing.md.
"""

from trio_s2s.tasktree import task_tree
from trio_s2s.testing.diagram import as_mermaid, as_text
from trio_s2s.testing.faults import Fault, Held
from trio_s2s.testing.injector import Injector, cancel_at_every_step
from trio_s2s.testing.network import MemoryNetwork
from trio_s2s.testing.pairs import memory_peers
from trio_s2s.testing.recording import Record, RecordingApplication, RecordingPeer
from trio_s2s.testing.report import failure_text
from trio_s2s.testing.scheduler import seeded

__all__ = [
    "Fault",
    "Held",
    "Injector",
    "MemoryNetwork",
    "Record",
    "RecordingApplication",
    "RecordingPeer",
    "as_mermaid",
    "as_text",
    "cancel_at_every_step",
    "failure_text",
    "memory_peers",
    "seeded",
    "task_tree",
]
