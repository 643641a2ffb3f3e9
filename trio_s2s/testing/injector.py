"""Cancels a block at every one of its steps, one run after the other."""

import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio
import trio.testing

from trio_s2s.testing.scheduler import seeded

__all__ = ["Injector", "cancel_at_every_step"]


class Injector(trio.abc.Instrument):
    """Cancels a block at its n-th step: of its own task, or of any task at all."""

    def __init__(self, step: int, *, own: bool = True) -> None:
        """Make one for a run; it must be among the instruments of `trio.run`."""
        self.step = step
        self.own = own
        self.steps: int = 0
        self._scope: trio.CancelScope | None = None
        self._task: trio.lowlevel.Task | None = None

    @property
    def has_fired(self) -> bool:
        """Whether it came to the step."""
        return self.steps >= self.step

    @contextmanager
    def block(self) -> Iterator[trio.CancelScope]:
        """Mark what is to be cancelled."""
        with trio.CancelScope() as scope:
            self.aim(scope)
            try:
                yield scope
            finally:
                self.rest()

    def aim(self, scope: trio.CancelScope) -> None:
        """Begin to count; the caller is the task whose own steps are meant."""
        self._scope, self._task = scope, trio.lowlevel.current_task()

    def aim_from_here(self) -> None:
        """Count the steps of the caller instead of those of who is cancelled."""
        self._task = trio.lowlevel.current_task()

    def rest(self) -> None:
        """Count no more."""
        self._scope = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count a step; Trio calls it."""
        if self._scope is None or (self.own and task is not self._task):
            return
        self.steps += 1
        if self.steps == self.step:
            self.fire(task)

    def fire(self, task: trio.lowlevel.Task) -> None:
        """Do it; a subclass may do something else."""
        assert self._scope is not None
        self._scope.cancel(reason=f"injected at step {self.step}")


def cancel_at_every_step(
    scenario: Callable[[Injector], Awaitable[Any]], *, seed: int = 0, own: bool = True
) -> int:
    """Run a scenario again and again, each time cancelled one step later.

    The scenario marks with `injector.block()` what is cancelled, and checks afterwards
    that nothing is left of it. Each run has a mock clock of its own that jumps.

    Args:
        scenario: An async function, which is given the injector.
        seed: Fixes the order in which Trio runs tasks.
        own: Whether only the steps of the task in the block count, or those of all.

    Returns the number of steps at which it was cancelled. What a run raises comes out
    with the number of its step as a note.
    """
    for step in itertools.count(1):
        injector = Injector(step, own=own)
        clock = trio.testing.MockClock(autojump_threshold=0)
        try:
            with seeded(seed):
                trio.run(scenario, injector, clock=clock, instruments=[injector])
        except BaseException as error:
            error.add_note(f"cancelled at step {step}, with seed {seed}")
            raise
        if not injector.has_fired:
            return step - 1
    raise AssertionError("unreachable")  # pragma: no cover  it counts for ever
