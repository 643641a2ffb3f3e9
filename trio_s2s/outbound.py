"""Connect, and run a peer for a `with` block."""

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar, overload

import attrs
import trio

from trio_s2s.codes import FailureReason
from trio_s2s.config import PeerConfig
from trio_s2s.errors import (
    ConnectionFailedError,
    ConnectionRejectedError,
    RemoteProtocolError,
)
from trio_s2s.failures import explain_failure
from trio_s2s.foreign import wrong_first_frame
from trio_s2s.framing import FrameDecoder
from trio_s2s.handshake import (
    MAX_HANDSHAKE_FRAME,
    Identity,
    Welcome,
    hello,
    read_answer,
    valid_server_id,
)
from trio_s2s.lifecycle import Life, run_hook
from trio_s2s.messages import InitResponse
from trio_s2s.peer import OutboundPeer
from trio_s2s.runtime import new_instance_id, open_stream
from trio_s2s.security import check_port, refuse_plain_text
from trio_s2s.service import service_nursery
from trio_s2s.transport import (
    addresses_of,
    receive_frame,
    send_frame,
    show_address,
)

__all__ = ["open_peer", "open_tcp_peer"]

P = TypeVar("P", bound=OutboundPeer)
Dial = Callable[[], Awaitable[trio.abc.Stream]]


@attrs.frozen(kw_only=True)
class _Dialler:
    """How one connection is to be made."""

    where: str
    dial: Dial
    application_name: str
    init_object: Any
    server_id: str | None
    config: PeerConfig
    instance_id: bytes = attrs.field(factory=new_instance_id)

    def __attrs_post_init__(self) -> None:
        if self.server_id is not None and not valid_server_id(self.server_id):
            raise ValueError(
                f"server_id is 1 to 64 of A-Z a-z 0-9 . _ -, not {self.server_id!r}"
            )

    async def connect(self, peer: OutboundPeer) -> Life:
        """Connect and shake hands; whatever fails is a ConnectionFailedError."""
        # What can't travel is the caller's error, not one of the connection.
        frame = hello(
            Identity(self.instance_id),
            self.application_name,
            self.init_object,
            self.config,
        )
        try:
            with trio.fail_after(self.config.connect_timeout):
                stream = await self.dial()
        except (OSError, UnicodeError, trio.TooSlowError) as error:
            raise explain_failure(error, self.where) from error
        try:
            return await self._shake_hands(stream, frame, peer)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    async def _shake_hands(
        self, stream: trio.abc.Stream, frame: bytes, peer: OutboundPeer
    ) -> Life:
        decoder = FrameDecoder(MAX_HANDSHAKE_FRAME)
        limit = self.config.handshake_timeout
        try:
            with trio.move_on_after(limit):
                if isinstance(stream, trio.SSLStream):
                    await stream.do_handshake()
                answer = await self._exchange(stream, decoder, frame)
                return self._welcomed(answer, stream, decoder, peer)
        except ConnectionRejectedError as error:
            raise ConnectionRejectedError(
                error.code, error.debug_message, self.where
            ) from error
        except RemoteProtocolError as error:
            found = wrong_first_frame(error, decoder.first_bytes())
            raise explain_failure(found, self.where) from error
        except (ConnectionFailedError, EOFError, trio.BrokenResourceError) as error:
            raise explain_failure(error, self.where) from error
        raise ConnectionFailedError(
            f"cannot connect to {self.where}: no answer within {limit:g} s"
            " (handshake_timeout)",
            FailureReason.HANDSHAKE_TIMEOUT,
        )

    async def _exchange(
        self, stream: trio.abc.Stream, decoder: FrameDecoder, frame: bytes
    ) -> Welcome:
        broken: trio.BrokenResourceError | None = None
        try:
            await send_frame(stream, frame)
        except trio.BrokenResourceError as error:
            # It may have said why before it closed.
            broken = error
        try:
            body = await receive_frame(stream, decoder)
        except (EOFError, trio.BrokenResourceError):
            if broken is not None:
                raise broken from None
            raise
        return read_answer(body, self.instance_id, self.config)

    def _welcomed(
        self,
        welcome: Welcome,
        stream: trio.abc.Stream,
        decoder: FrameDecoder,
        peer: OutboundPeer,
    ) -> Life:
        identity = welcome.identity
        if self.server_id is not None and identity.server_id != self.server_id:
            raise ConnectionFailedError(
                f"it is {identity.server_id or 'anonymous'!r}, not {self.server_id!r}",
                FailureReason.IDENTITY_MISMATCH,
            )
        peer.init_response = InitResponse(
            identity.server_id,
            identity.instance_id,
            identity.version,
            welcome.response_object,
            welcome.resumed,
        )
        peer.response_object = welcome.response_object
        peer.resumed = welcome.resumed
        return Life.begin(
            peer, stream, decoder, identity, welcome.terms, self.config, raises=True
        )


@asynccontextmanager
async def _open(create_peer: Callable[[], P], dialler: _Dialler) -> AsyncGenerator[P]:
    peer = create_peer()
    try:
        life = await dialler.connect(peer)
    except ConnectionFailedError as failed:
        hook = partial(peer.on_failed, failed)
        await run_hook(hook, peer, "on_failed", dialler.config.hook_timeout)
        raise
    async with service_nursery(life.leave, life.explains) as nursery:
        await nursery.start(life.run)
        yield peer


@overload
def open_peer(
    stream: trio.abc.Stream,
    peer: type[OutboundPeer] = ...,
    *,
    application_name: str = "",
    init_object: Any = None,
    server_id: str | None = None,
    config: PeerConfig | None = None,
) -> AbstractAsyncContextManager[OutboundPeer]: ...


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
        return stream

    dialler = _Dialler(
        where=addresses_of(stream)[1] or "the other end of the stream",
        dial=dial,
        application_name=application_name,
        init_object=init_object,
        server_id=server_id,
        config=config or PeerConfig(),
    )
    return _open(peer, dialler)


@overload
def open_tcp_peer(
    host: str,
    port: int,
    peer: type[OutboundPeer] = ...,
    *,
    application_name: str = "",
    init_object: Any = None,
    server_id: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    insecure: bool = False,
    config: PeerConfig | None = None,
) -> AbstractAsyncContextManager[OutboundPeer]: ...


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
        peer: Makes the peer, most often its class.
        application_name: The application wanted; empty: the listener's own.
        init_object: Anything that can travel; the acceptor reads it from
            `init_request.init_object`.
        server_id: The name that the other side must have; None: any.
        ssl_context: Makes it TLS; the certificate must be for `host`.
        insecure: Allows plain text to leave this machine.
        config: Limits and timeouts.

    The block is entered when `on_connected` has finished. Leaving it sends what was
    accepted for sending, then says goodbye; that, and the hooks, take at most
    `drain_timeout` + 2 * `hook_timeout` + 1 s.

    Raises:
        ConnectionFailedError: After `on_failed`; its `reason` says why.
        ConnectionRejectedError: The other side said no.

    Cancellation: while it connects, no hook runs. Within the block the other side is
    told goodbye without waiting for what is under way; `on_disconnected` runs.
    """
    check_port(port, lowest=1)
    refuse_plain_text("dialling", host, ssl_context, insecure)

    async def dial() -> trio.abc.Stream:
        stream = await open_stream(host, port)
        if ssl_context is None:
            return stream
        return trio.SSLStream(stream, ssl_context, server_hostname=host)

    dialler = _Dialler(
        where=show_address((host, port)),
        dial=dial,
        application_name=application_name,
        init_object=init_object,
        server_id=server_id,
        config=config or PeerConfig(),
    )
    return _open(peer, dialler)
