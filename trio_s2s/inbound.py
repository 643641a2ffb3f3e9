"""Listen, and run a peer for every connection that is accepted."""

import os
import ssl
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

import trio

from trio_s2s.acceptor import Acceptor
from trio_s2s.config import PeerConfig
from trio_s2s.errors import ListenError
from trio_s2s.listening import accept_from, listener_name, listening_on
from trio_s2s.node import CreatePeer, Node
from trio_s2s.peer import InboundPeer
from trio_s2s.runtime import Listeners, current_runtime
from trio_s2s.security import check_context, check_port, refuse_plain_text
from trio_s2s.transport import show_address

__all__ = ["serve_nodes", "serve_peers", "serve_tcp", "serve_unix"]


async def serve_nodes(
    nodes: Sequence[Node],
    listeners: Listeners,
    ssl_context: ssl.SSLContext | None,
    handler_nursery: trio.Nursery | None,
    task_status: trio.TaskStatus[Listeners],
) -> NoReturn:
    """Accept peers of one server, or of several, until cancelled."""
    acceptor = Acceptor(nodes, ssl_context)
    broken: list[ListenError] = []
    async with trio.open_nursery() as nursery:

        def end(error: ListenError) -> None:
            broken.append(error)
            nursery.cancel_scope.cancel(reason="a listener has broken")

        for listener in listeners:
            nursery.start_soon(
                partial(accept_from, handler_nursery=handler_nursery),
                listener,
                acceptor.serve,
                nodes[0].journal,
                end,
                name=f"listener {listener_name(listener)}",
            )
        task_status.started(listeners)
    raise broken[0]


async def serve_peers(  # noqa: ASYNC128  serve_nodes does it
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
    check_context(ssl_context, listens=True)
    _check_class(create_peer)
    node = Node(create_peer=create_peer, config=config or PeerConfig())
    await serve_nodes([node], listeners, ssl_context, handler_nursery, task_status)


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
    _check_class(create_peer)
    check_port(port, lowest=0)
    check_context(ssl_context, listens=True)
    refuse_plain_text("listening on", host, ssl_context, insecure)
    listeners = await listening_on(
        show_address((host, port)),
        current_runtime.get().open_tcp_listeners(port, host, backlog),
    )
    await serve_peers(
        create_peer,
        listeners,
        ssl_context=ssl_context,
        config=config,
        handler_nursery=handler_nursery,
        task_status=task_status,
    )


async def serve_unix(  # noqa: ASYNC128  serve_peers does it
    create_peer: CreatePeer,
    path: str | os.PathLike[str],
    *,
    backlog: int | None = None,
    config: PeerConfig | None = None,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[Listeners] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Accept peers on a Unix socket until cancelled.

    The same as `serve_tcp` otherwise. Who may connect is for the rights of the folder
    to say. The socket's file is removed at the end; that of a server that has died is
    taken over. It never leaves this machine, so there is no TLS.

    Raises:
        ListenError: The path can't be listened on.
    """
    _check_class(create_peer)
    where = os.fspath(path)
    listeners = await listening_on(
        where, current_runtime.get().open_unix_listeners(where, backlog)
    )
    await serve_peers(
        create_peer,
        listeners,
        config=config,
        handler_nursery=handler_nursery,
        task_status=task_status,
    )


def _check_class(create_peer: CreatePeer) -> None:
    """Find out before anything listens that a class is the wrong one."""
    if isinstance(create_peer, type) and not issubclass(create_peer, InboundPeer):
        raise TypeError(f"{create_peer.__name__} is no InboundPeer: it can't accept")
