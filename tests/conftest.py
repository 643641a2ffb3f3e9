"""A time limit for every test, with the tree of tasks, and a check for leaks."""

import functools
import gc
import inspect
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, settings

from trio_s2s.tasktree import task_tree

pytest_plugins = ["pytester"]

# How fast this machine is at the moment says nothing about what is tested.
settings.register_profile(
    "any machine",
    parent=settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")


def real_seconds() -> float:
    """Tell how long a test may run, also if its own clock is frozen or jumps."""
    cpus = os.cpu_count() or 1
    slow = "coverage" in sys.modules or os.getloadavg()[0] > cpus
    return 30.0 if slow else 10.0


def system_tasks() -> set[trio.lowlevel.Task]:
    """Give the tasks that nobody's nursery holds, and the main task."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return {child for nursery in root.child_nurseries for child in nursery.child_tasks}


def bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Make a test fail when it takes too long, or when it leaves a task behind."""

    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        limit = real_seconds()
        tree: list[str] = []
        scope = trio.CancelScope()
        before = system_tasks()

        def expire() -> None:
            tree.append(task_tree())
            scope.cancel(reason="the test took too long")

        token = trio.lowlevel.current_trio_token()
        timer = threading.Timer(limit, token.run_sync_soon, [expire])
        timer.daemon = True
        timer.start()
        try:
            with scope:
                await test(*args, **kwargs)
        except Exception:
            if not tree:  # Else it is but what the cancellation led to.
                raise
        finally:
            timer.cancel()
        if tree:
            pytest.fail(f"the test took more than {limit} s\n{tree[0]}", pytrace=False)
        # The fixture `nursery` ends its tasks itself; Trio itself looks after the rest.
        left = system_tasks() - before
        assert not left, f"the test left tasks behind\n{task_tree()}"

    return run


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Bound every async test, and every single example of an async property."""
    test: Any = getattr(item, "obj", None)
    if inspect.iscoroutinefunction(test):
        item.obj = bounded(test)  # type: ignore[attr-defined]  # a Function has it
    elif hasattr(test, "hypothesis"):
        inner = test.hypothesis.inner_test
        if inspect.iscoroutinefunction(inner):
            test.hypothesis.inner_test = bounded(inner)
    return (yield)


@pytest.fixture(autouse=True, scope="module")
def _collect_garbage() -> Iterator[None]:
    """Find what a module's tests forgot to close: a ResourceWarning is an error."""
    yield
    gc.collect()
