"""The drawing of running tasks."""

import re
from typing import Any

import trio
import trio.testing
from trio.lowlevel import current_task

from trio_s2s.tasktree import task_tree


async def wait_here() -> None:
    await trio.sleep_forever()


async def wait_below(task_status: trio.TaskStatus[None]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_here, name="grandchild")
        task_status.started()


def line_of_wait_here() -> str:
    return f"test_tasktree.py:{wait_here.__code__.co_firstlineno + 1}"


async def test_task_tree_draws_this_task_and_all_below_it() -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(wait_below, name="child")
        await trio.testing.wait_all_tasks_blocked()
        name, *rest = task_tree(current_task()).splitlines()
        nursery.cancel_scope.cancel(reason="the test is over")
    assert name == f"{current_task().name}  running"
    child, grandchild = rest
    assert re.fullmatch(r"  child  test_tasktree\.py:\d+", child)
    assert grandchild == f"    grandchild  {line_of_wait_here()}"


async def test_task_tree_draws_the_whole_run_by_default() -> None:
    first, *rest = task_tree().splitlines()
    assert first == "<init>"
    assert f"{current_task().name}  running" in [line.strip() for line in rest]


async def test_task_tree_does_not_depend_on_the_order_of_starting() -> None:
    async with trio.open_nursery() as nursery:
        for name in ("b", "c", "a", "a"):
            nursery.start_soon(wait_here, name=name)
        await trio.testing.wait_all_tasks_blocked()
        drawing = task_tree(current_task()).splitlines()[1:]
        nursery.cancel_scope.cancel(reason="the test is over")
    place = line_of_wait_here()
    assert drawing == [f"  {name}  {place}" for name in ("a", "a", "b", "c")]


async def test_task_tree_shows_where_a_task_will_start() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_here, name="new")
        drawing = task_tree(current_task())
        nursery.cancel_scope.cancel(reason="the test is over")
    start = wait_here.__code__.co_firstlineno
    assert drawing.endswith(f"\n  new  test_tasktree.py:{start}")


async def test_task_tree_shows_only_the_name_of_a_task_within_trio() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever, name="asleep")
        await trio.testing.wait_all_tasks_blocked()
        drawing = task_tree(current_task())
        nursery.cancel_scope.cancel(reason="the test is over")
    assert drawing.endswith("\n  asleep")


class Foreign:
    """Awaits as compiled code does: without a coroutine or a generator."""

    def __await__(self) -> Any:
        self.steps = wait_here().__await__()
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> object:
        return next(self.steps)

    def send(self, value: object) -> object:
        return self.steps.send(value)

    def throw(self, error: BaseException) -> object:
        return self.steps.throw(error)


async def wait_in_foreign_code() -> None:
    await Foreign()


async def test_task_tree_shows_where_a_task_has_left_for_foreign_code() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_in_foreign_code, name="foreign")
        await trio.testing.wait_all_tasks_blocked()
        drawing = task_tree(current_task())
        nursery.cancel_scope.cancel(reason="the test is over")
    line = wait_in_foreign_code.__code__.co_firstlineno + 1
    assert drawing.endswith(f"\n  foreign  test_tasktree.py:{line}")
