"""Draws the tree of running tasks, for logs and failing tests."""

import inspect
import os
from typing import Final

import trio

__all__ = ["task_tree"]

_TRIO: Final = os.path.dirname(trio.__file__) + os.sep


def task_tree(root: trio.lowlevel.Task | None = None) -> str:
    """Draw a task and all below it, by default every task of this Trio run.

    One line a task: its name, and the place where it waits, outside of Trio's own files
    if it has such a place.
    """
    root = root or trio.lowlevel.current_root_task()
    assert root is not None
    return "\n".join(_draw(root))


def _draw(task: trio.lowlevel.Task) -> list[str]:
    # Trio keeps tasks in sets: sorting makes two drawings of one state the same.
    below = sorted(
        _draw(child)
        for nursery in task.child_nurseries
        for child in nursery.child_tasks
    )
    lines = [f"{task.name}  {_place(task)}".rstrip()]
    lines += [f"  {line}" for branch in below for line in branch]
    return lines


def _place(task: trio.lowlevel.Task) -> str:
    if inspect.getcoroutinestate(task.coro) == inspect.CORO_RUNNING:
        return "running"  # It is the caller, and does not wait anywhere.
    place = ""
    for frame, line in task.iter_await_frames():
        file = frame.f_code.co_filename
        if not file.startswith(_TRIO):
            place = f"{os.path.basename(file)}:{line}"
    return place
