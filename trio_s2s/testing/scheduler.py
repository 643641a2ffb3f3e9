"""The order in which Trio runs tasks, fixed by a seed; it uses private names."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trio._core import _run

__all__ = ["seeded"]

# It has no public name. A test sees whether a new Trio still heeds it.
_scheduler: Any = _run


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let Trio choose the order of tasks by a seed; around `trio.run`."""
    before = _scheduler._r.getstate(), _scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    _scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    _scheduler._r.seed(seed)
    try:
        yield
    finally:
        _scheduler._r.setstate(before[0])
        _scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before[1]
