"""Runs a last hook for a bounded time, and says where a hook was waiting."""

import linecache
import traceback
from collections.abc import Awaitable, Callable

from trio_s2s.deadlines import handler_deadline
from trio_s2s.journal import log
from trio_s2s.runtime import timer

__all__ = ["run_last_hook", "where_waiting"]

_NOT_THE_APPLICATION = {"outcome", "trio", "trio_s2s"}


async def run_last_hook(
    hook: Callable[[], Awaitable[None]],
    who: str,
    name: str,
    limit: float,
    raised: Callable[[Exception], None] | None = None,
) -> None:
    """Run a hook shielded and bounded; its errors are logged, or given to `raised`."""
    deadline = handler_deadline.set(None)
    try:
        with timer(limit, shield=True) as scope:
            await hook()
    except Exception as error:
        if raised is not None:
            raised(error)
        else:
            log.error("%s: %s raised", who, name, exc_info=error)
    finally:
        handler_deadline.reset(deadline)
    if scope.cancelled_caught:
        text = "%s: %s took more than %g s (hook_timeout)"
        log.error(text, who, name, limit)


def where_waiting(error: BaseException) -> str:
    """Name the line of the application at which a cancellation has struck."""
    if isinstance(error, BaseExceptionGroup):
        return where_waiting(error.exceptions[0])
    place = "its first line"
    for frame, line in traceback.walk_tb(error.__traceback__):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in _NOT_THE_APPLICATION:
            code = frame.f_code
            text = linecache.getline(code.co_filename, line).strip()
            place = f"{text!r} ({code.co_name}, {code.co_filename}:{line})"
    return place
