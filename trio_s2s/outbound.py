"""Connect, and run a peer for a `with` block."""

import os
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar, overload

import trio

from trio_s2s.bounded import run_last_hook
from trio_s2s.config import PeerConfig
from trio_s2s.dialler import Dialler, dial_tcp
from trio_s2s.errors import ConnectionFailedError
from trio_s2s.node import Node
from trio_s2s.peer import OutboundPeer, describe
from trio_s2s.service import service_nursery
from trio_s2s.transport import addresses_of, closing

__all__ = ["open_peer", "open_tcp_peer", "open_unix_peer"]

P = TypeVar("P", bound=OutboundPeer)


@asynccontextmanager
async def _open(create_peer: Callable[[], P], dialler: Dialler) -> AsyncGenerator[P]:
    if not callable(create_peer):
        raise TypeError(f"pass the class of the peer, or a function, not {create_peer}")
    peer = create_peer()
    try:
        life = await dialler.connect(peer)
    except ConnectionFailedError as failed:
        dialler.node.hook_runs(peer, "on_failed", failed.reason.name)
        hook = partial(peer.on_failed, failed)
        limit = dialler.node.config.hook_timeout
        await run_last_hook(hook, describe(peer), "on_failed", limit)  # noqa: ASYNC120  shielded
        raise
    async with service_nursery(life.leave, life.explains) as nursery:
        await nursery.start(life.run)
        yield peer


@asynccontextmanager
async def _open_on(
    stream: trio.abc.Stream, create_peer: Callable[[], P], dialler: Dialler
) -> AsyncGenerator[P]:
    # The stream is ours at once, also if it never comes to a handshake.
    async with closing(stream), _open(create_peer, dialler) as peer:
        yield peer


@overload
def open_peer(
    stream: trio.abc.Stream,
    peer: Callable[[], P],
    *,
    application_name: str = "",
    init_object: Any = None,
    server_id: str | None = None,
    config: PeerConfig | None = None,
) -> AbstractAsyncContextManager[P]: ...


@overload
def open_peer(
    stream: trio.abc.Stream,
    *,
    application_name: str = "",
    init_object: Any = None,
    server_id: str | None = None,
    config: PeerConfig | None = None,
) -> AbstractAsyncContextManager[OutboundPeer]: ...


def open_peer(
    stream: trio.abc.Stream,
    peer: Callable[[], Any] = OutboundPeer,
    *,
    application_name: str = "",
    init_object: Any = None,
    server_id: str | None = None,
    config: PeerConfig | None = None,
) -> AbstractAsyncContextManager[Any]:
    """Shake hands over a stream that is connected, and run a peer for a `with` block.

    The same as `open_tcp_peer` otherwise. The stream is closed with the block.
    """

    async def dial() -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return stream

    dialler = Dialler(
        node=Node(config=config or PeerConfig()),
        address=addresses_of(stream)[1] or "the other end of the stream",
        dial=dial,
        application_name=application_name,
        init_object=init_object,
        server_id=server_id,
        raises=True,
    )
    return _open_on(stream, peer, dialler)


@overload
def open_tcp_peer(
    host: str,
    port: int,
    peer: Callable[[], P],
    *,
    application_name: str = "",
    init_object: Any = None,
    server_id: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    insecure: bool = False,
    config: PeerConfig | None = None,
) -> AbstractAsyncContextManager[P]: ...


@overload
def open_tcp_peer(
    host: str,
    port: int,
    *,
    application_name: str = "",
    init_object: Any = None,
    server_id: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    insecure: bool = False,
    config: PeerConfig | None = None,
) -> AbstractAsyncContextManager[OutboundPeer]: ...


def open_tcp_peer(
    host: str,
    port: int,
    peer: Callable[[], Any] = OutboundPeer,
    *,
    application_name: str = "",
    init_object: Any = None,
    server_id: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    insecure: bool = False,
    config: PeerConfig | None = None,
) -> AbstractAsyncContextManager[Any]:
    """Connect by TCP and run a peer for a `with` block. Photon: `ConnectTcp`.

    Args:
        host: A name or an address. Without `ssl_context` it must be loopback, unless
            `insecure` is True.
        port: 1 to 65535.
        peer: Called without an argument, makes the peer; most often its class.
        application_name: The application wanted; empty: the listener's own.
        init_object: Anything that can travel; the acceptor reads it from
            `init_request.init_object`.
        server_id: The name that the other side must have; None: any.
        ssl_context: Makes it TLS; the certificate must be for `host`.
        insecure: Allows plain text to leave this machine.
        config: Limits and timeouts.

    The block is entered when `on_connected` has finished. If the connection is lost,
    the block goes on, and calls to the peer raise. Leaving it sends what was
    accepted for sending, then says goodbye; that, and the hooks, take at most
    `drain_timeout` + 2 * `hook_timeout` + 1 s.

    Raises:
        ConnectionFailedError: After `on_failed`; its `reason` says why.
        ConnectionRejectedError: The other side said no.

    Cancellation: while it connects, no hook runs. Within the block the other side is
    told goodbye without waiting for what is under way; `on_disconnected` runs.
    """
    return _open(
        peer,
        dial_tcp(
            Node(config=config or PeerConfig()),
            host,
            port,
            application_name=application_name,
            init_object=init_object,
            server_id=server_id,
            ssl_context=ssl_context,
            insecure=insecure,
            raises=True,
        ),
    )


@overload
def open_unix_peer(
    path: str | os.PathLike[str],
    peer: Callable[[], P],
    *,
    application_name: str = "",
    init_object: Any = None,
    server_id: str | None = None,
    config: PeerConfig | None = None,
) -> AbstractAsyncContextManager[P]: ...


@overload
def open_unix_peer(
    path: str | os.PathLike[str],
    *,
    application_name: str = "",
    init_object: Any = None,
    server_id: str | None = None,
    config: PeerConfig | None = None,
) -> AbstractAsyncContextManager[OutboundPeer]: ...


def open_unix_peer(
    path: str | os.PathLike[str],
    peer: Callable[[], Any] = OutboundPeer,
    *,
    application_name: str = "",
    init_object: Any = None,
    server_id: str | None = None,
    config: PeerConfig | None = None,
) -> AbstractAsyncContextManager[Any]:
    """Connect to a Unix socket and run a peer for a `with` block.

    The same as `open_tcp_peer` otherwise; it never leaves this machine.
    """
    node = Node(config=config or PeerConfig())
    dialler = Dialler(
        node=node,
        address=os.fspath(path),
        dial=partial(node.runtime.open_unix_stream, os.fspath(path)),
        application_name=application_name,
        init_object=init_object,
        server_id=server_id,
        raises=True,
    )
    return _open(peer, dialler)
