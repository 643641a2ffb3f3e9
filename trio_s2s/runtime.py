"""The one place for random bytes, clock, dialling and listening."""

import secrets
from collections.abc import Sequence

import trio

__all__ = ["new_instance_id", "now", "open_listeners", "open_stream"]


def now() -> float:
    """Give the time of Trio's clock, in seconds."""
    return trio.current_time()


def new_instance_id() -> bytes:
    """Make the 16 bytes that tell one start of a server from the next."""
    return secrets.token_bytes(16)


async def open_stream(host: str, port: int) -> trio.abc.Stream:
    """Connect by TCP, to whichever of the host's addresses answers first."""
    return await trio.open_tcp_stream(host, port)


async def open_listeners(
    port: int, host: str, backlog: int | None
) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
    """Listen by TCP on every address of the host."""
    return await trio.open_tcp_listeners(port, host=host, backlog=backlog)
