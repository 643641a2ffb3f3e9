"""Accepts connections from a listener, whatever happens to the system's resources."""

import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import trio

from trio_s2s.errors import ListenError
from trio_s2s.journal import Journal
from trio_s2s.listener import ListenerConfig
from trio_s2s.runtime import Runtime, sleep
from trio_s2s.transport import closing, show_address
from trio_s2s.unix import UnixListener

__all__ = ["accept_from", "listener_name", "listening_on", "open_listeners"]

L = TypeVar("L")

_NO_ROOM: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_BY_ERRNO: Final = {
    errno.EADDRINUSE: "it is in use by another program, or by this one",
    errno.EACCES: "permission denied; ports below 1024 need special rights, a path"
    " those to its folder",
    errno.EADDRNOTAVAIL: "this machine does not have the address; host= is one of its"
    " own",
    errno.ENOENT: "its folder does not exist",
    errno.ENOTDIR: "its folder does not exist",
    errno.EEXIST: "there is a file that is no socket; remove it, or take another path",
    errno.EMFILE: "this process has too many open files (ulimit -n)",
    errno.ENFILE: "this machine has too many open files",
}
PAUSE: Final = 0.1
"""Seconds between two attempts to accept while there is no room."""


async def accept_from(
    listener: trio.abc.Listener[Any],
    serve: Callable[[trio.abc.Stream], Awaitable[object]],
    journal: Journal,
    broken: Callable[[ListenError], None],
    *,
    handler_nursery: trio.Nursery | None = None,
    accepting: trio.CancelScope | None = None,
) -> None:
    """Accept connections until cancelled; each is a task of the nursery.

    Cancelling `accepting` closes the listener, and lets those live that it accepted. If
    it breaks, or somebody closes it, they end with it, and `broken` is told.
    """
    async with trio.open_nursery() as own:
        nursery = handler_nursery or own
        async with closing(listener):
            with accepting or trio.CancelScope():
                try:
                    while True:
                        stream = await _accept(listener, journal)
                        nursery.start_soon(serve, stream, name="inbound peer")
                except ListenError as error:
                    own.cancel_scope.cancel(reason="its listener is closed")
                    broken(error)


async def _accept(listener: trio.abc.Listener[Any], journal: Journal) -> Any:
    name = listener_name(listener)
    while True:
        try:
            return await listener.accept()
        except trio.ClosedResourceError as error:
            raise ListenError(f"the listener on {name} was closed") from error
        except OSError as error:
            text = f"no connection can be accepted on {name}: {_why(error)}"
            if error.errno not in _NO_ROOM:
                raise ListenError(text) from error
            journal.tell(logging.ERROR, "accept", name, text)
            await sleep(PAUSE)
        except Exception as error:
            # One listener of a user's own must not end the others.
            text = f"no connection can be accepted on {name}: {error!r}"
            raise ListenError(text) from error


def listener_name(listener: trio.abc.Listener[Any]) -> str:
    """Say where a listener listens, for people."""
    if not isinstance(listener, (trio.SocketListener, UnixListener)):
        return type(listener).__name__
    try:
        return show_address(listener.socket.getsockname())
    except OSError:
        return "a closed socket"


async def listening_on(where: str, listeners: Awaitable[L]) -> L:
    """Wait for listeners to be opened; what fails is a ListenError in words."""
    try:
        return await listeners
    except (OSError, UnicodeError) as error:
        text = _why(error)
        raise ListenError(f"cannot listen on {where}: {text}") from error


async def open_listeners(
    listener: ListenerConfig, runtime: Runtime
) -> Sequence[trio.SocketListener]:
    """Listen by TCP as it is wanted; what fails is a ListenError in words."""
    port, host, backlog = listener.port, listener.host, listener.backlog
    return await listening_on(
        show_address((host, port)), runtime.open_tcp_listeners(port, host, backlog)
    )


def _why(error: OSError | UnicodeError) -> str:
    match error:
        case UnicodeError():
            return "this is no valid host name"
        case socket.gaierror():
            return f"the name look-up failed: {error.strerror}"
        case OSError(errno=number) if number in _BY_ERRNO:
            return _BY_ERRNO[number]
    return error.strerror or str(error)
