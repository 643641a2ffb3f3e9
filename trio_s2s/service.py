"""A nursery for the package's own tasks, invisible to the exceptions of the body."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio

__all__ = ["service_nursery"]


@asynccontextmanager
async def service_nursery(
    on_leave: Callable[[], None], is_consequence: Callable[[BaseException], bool]
) -> AsyncGenerator[trio.Nursery, None]:
    """Give a nursery whose tasks end by themselves after `on_leave` was called.

    The body's exception comes out as the very object that it is, and so does a lone one
    of a task; if both raised, a group has both, unless the body's is but a consequence.
    """
    raised: BaseException | None = None
    try:
        async with trio.open_nursery(strict_exception_groups=True) as nursery:
            try:
                yield nursery
            except BaseException as error:  # noqa: ASYNC103  kept, and raised below
                raised = error
            finally:
                on_leave()
    except BaseExceptionGroup as group:
        crash = group.split(trio.Cancelled)[1]
        if crash is not None:
            own = _without_cancelled(raised)
            if own is None or is_consequence(own):
                raise _lone(crash) from None
            raise BaseExceptionGroup(
                "the block and a task of its peer failed", [own, *crash.exceptions]
            ) from None
        if raised is None or is_consequence(raised):
            raise
    if raised is not None:
        try:
            raise raised
        finally:
            del raised


def _without_cancelled(error: BaseException | None) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return None if isinstance(error, trio.Cancelled) else error


def _lone(group: BaseExceptionGroup[BaseException]) -> BaseException:
    return group.exceptions[0] if len(group.exceptions) == 1 else group
