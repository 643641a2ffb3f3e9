"""The one place for random bytes, clock, name look-up, dialling and listening."""

import random
import secrets
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import trio

from trio_s2s.eyeballs import open_first
from trio_s2s.unix import open_unix_listener

__all__ = ["Listeners", "Runtime", "current_runtime", "now", "sleep", "timer"]

Listeners = Sequence[trio.abc.Listener[Any]]


def now() -> float:
    """Give the time of Trio's clock, in seconds."""
    return trio.current_time()


class Runtime:
    """What a server takes from the world; a test may put its own in its place."""

    def new_instance_id(self) -> bytes:
        """Make the 16 bytes that tell one start of a server from the next."""
        return secrets.token_bytes(16)

    def uniform(self, most: float) -> float:
        """Draw a number between 0 and `most`."""
        return random.uniform(0, most)

    def timer(self, seconds: float, *, shield: bool = False) -> trio.CancelScope:
        """Make a scope that cancels a block after so many seconds."""
        return trio.CancelScope(deadline=now() + seconds, shield=shield)

    def restart(self, scope: trio.CancelScope, seconds: float) -> None:
        """Let a scope of `timer` cancel its block so many seconds from now."""
        scope.deadline = now() + seconds

    def hook_runs(self, server: str, other: str, hook: str, why: str) -> None:
        """Take note that a hook begins to run, for a peer of another server."""

    async def open_tcp_stream(self, host: str, port: int) -> trio.abc.Stream:
        """Connect by TCP, to whichever of the host's addresses answers first."""
        return await open_first(host, port)

    async def open_tcp_listeners(
        self, port: int, host: str, backlog: int | None
    ) -> Sequence[trio.SocketListener]:
        """Listen by TCP on every address of the host."""
        return await trio.open_tcp_listeners(port, host=host, backlog=backlog)

    async def open_unix_stream(self, path: str) -> trio.abc.Stream:
        """Connect to a path."""
        return await trio.open_unix_socket(path)

    async def open_unix_listeners(self, path: str, backlog: int | None) -> Listeners:
        """Listen on a path."""
        return [await open_unix_listener(path, backlog)]


def timer(seconds: float, *, shield: bool = False) -> trio.CancelScope:
    """Make a scope that cancels a block after so many seconds, on the current runtime.

    Every timer of the package is made here, so that a test can let them stand still.
    """
    return current_runtime.get().timer(seconds, shield=shield)


async def sleep(seconds: float) -> None:
    """Wait for so many seconds, on the current runtime."""
    with timer(seconds):
        await trio.sleep_forever()


current_runtime: ContextVar[Runtime] = ContextVar("runtime", default=Runtime())  # noqa: B039  it has no state
"""What a server that begins here runs on."""
