"""Looks up names, in threads that nobody else uses or waits for.

Trio's own look-ups share 40 threads with all else in the process. One that hangs keeps
its thread, also when nobody waits for it any more: a dead DNS server, asked again and
again, would take all of them. Here each name has two threads of its own.
"""

import socket
from collections.abc import Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

import attrs
import trio

__all__ = ["Address", "Progress", "look_up", "progress"]

PER_NAME: Final = 2
"""Threads that may look up the same name at once; who comes later waits for one."""
MOST_NAMES: Final = 50
"""Names that have threads of their own; those beyond share two, to have a bound."""

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""What `getaddrinfo` gives: family, type, protocol, a name, and where to connect to."""

_limiters: trio.lowlevel.RunVar[dict[str, trio.CapacityLimiter]]
_limiters = trio.lowlevel.RunVar("trio_s2s.lookup")


@attrs.define
class Progress:
    """How far an attempt to connect has come, for its error to tell."""

    is_looking_up: bool = False
    tried: list[str] = attrs.field(factory=list)
    """The addresses to which a connection was begun."""


progress: ContextVar[Progress] = ContextVar("progress")
"""That of the attempt under way, if somebody wants to know."""


async def look_up(host: str, port: int) -> Sequence[Address]:
    """Give the addresses of a host; what is an address itself needs no thread.

    A resolver of `trio.socket.set_custom_hostname_resolver` is asked instead, and Trio
    itself for names that are not ASCII, which it knows how to encode.

    Raises socket.gaierror, and UnicodeError for what is no name.

    Cancellation: it returns at once; its thread is left to end by itself.
    """
    reached = progress.get(None) or Progress()
    reached.is_looking_up = True
    found: Any
    if _is_address(host, port) or _has_resolver() or not host.isascii():
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    else:
        ask = partial(socket.getaddrinfo, host.encode(), port, type=socket.SOCK_STREAM)
        found = await trio.to_thread.run_sync(
            ask, abandon_on_cancel=True, limiter=_limiter_of(host)
        )
    reached.is_looking_up = False
    addresses: Sequence[Address] = found
    return addresses


def _is_address(host: str, port: int) -> bool:
    try:
        socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return False
    return True


def _has_resolver() -> bool:
    # There is no other public way to find out; nobody else runs in between.
    resolver = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver is not None


def _limiter_of(host: str) -> trio.CapacityLimiter:
    try:
        limiters = _limiters.get()
    except LookupError:
        limiters = {"": trio.CapacityLimiter(PER_NAME)}
        _limiters.set(limiters)
    if host not in limiters:
        for name, limiter in list(limiters.items()):
            if name and not limiter.borrowed_tokens:
                del limiters[name]
        if len(limiters) > MOST_NAMES:
            return limiters[""]
        limiters[host] = trio.CapacityLimiter(PER_NAME)
    return limiters[host]
