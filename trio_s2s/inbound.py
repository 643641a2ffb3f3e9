"""Listen, and run a peer for every connection that is accepted."""

import errno
import ssl
from collections.abc import Sequence
from typing import Any, NoReturn

import trio

from trio_s2s.acceptor import Acceptor, CreatePeer
from trio_s2s.config import PeerConfig
from trio_s2s.errors import ListenError
from trio_s2s.peer import InboundPeer
from trio_s2s.runtime import open_listeners
from trio_s2s.security import check_port, refuse_plain_text
from trio_s2s.transport import show_address

__all__ = ["serve_peers", "serve_tcp"]

Listeners = Sequence[trio.abc.Listener[Any]]


async def serve_peers(
    create_peer: CreatePeer,
    listeners: Listeners,
    *,
    ssl_context: ssl.SSLContext | None = None,
    config: PeerConfig | None = None,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[Listeners] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Accept peers from any listeners until cancelled; see `serve_tcp`.

    Whether what they carry is encrypted is for the caller to know.
    """
    if not listeners:
        raise ValueError("serve_peers needs at least one listener")
    if isinstance(create_peer, type) and not issubclass(create_peer, InboundPeer):
        raise TypeError(f"{create_peer.__name__} is no InboundPeer: it can't accept")
    acceptor = Acceptor(create_peer, ssl_context, config or PeerConfig())
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(
                acceptor.listen,
                listener,
                handler_nursery,
                name=f"listener {_name(listener)}",
            )
        task_status.started(listeners)
    raise AssertionError("a listener never returns")


async def serve_tcp(  # noqa: ASYNC128  serve_peers does it
    create_peer: CreatePeer,
    port: int,
    *,
    host: str = "127.0.0.1",
    ssl_context: ssl.SSLContext | None = None,
    insecure: bool = False,
    backlog: int | None = None,
    config: PeerConfig | None = None,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[Listeners] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Accept peers by TCP until cancelled. Photon: a `TCPListener`, and `CreatePeer`.

    Args:
        create_peer: Called with the `InitRequest`, makes the peer; most often its
            class. It raises ConnectionRejectedError to say no, with a code and a text
            that the dialler sees.
        port: 0 to 65535; 0 lets the system choose.
        host: Where to listen. Without `ssl_context` it must be loopback, unless
            `insecure` is True.
        ssl_context: Makes it TLS.
        insecure: Allows plain text to leave this machine.
        backlog: Connections that the system holds before they are accepted.
        config: Limits and timeouts.
        handler_nursery: Where the peers' tasks live; None: each listener's own.
        task_status: `started` gives the listeners, so that port 0 works.

    A hook or task of a peer that raises ends that one peer; it is logged.

    Raises:
        ListenError: The port can't be listened on.

    Cancellation: every peer says goodbye, and its `on_disconnected` runs.
    """
    check_port(port, lowest=0)
    refuse_plain_text("listening on", host, ssl_context, insecure)
    try:
        listeners = await open_listeners(port, host, backlog)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {show_address((host, port))}: {_why(error)}"
        ) from error
    await serve_peers(
        create_peer,
        listeners,
        ssl_context=ssl_context,
        config=config,
        handler_nursery=handler_nursery,
        task_status=task_status,
    )


def _name(listener: trio.abc.Listener[Any]) -> str:
    if isinstance(listener, trio.SocketListener):
        return show_address(listener.socket.getsockname())
    return type(listener).__name__


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use by another program"
        case errno.EACCES:
            return "permission denied; ports below 1024 need special rights"
        case errno.EADDRNOTAVAIL:
            return "this machine does not have the address"
    return error.strerror or str(error)
