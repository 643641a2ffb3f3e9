"""The dialling side of a handshake, from a host's name to a peer's life."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from trio_s2s.codes import FailureReason
from trio_s2s.errors import (
    ConnectionFailedError,
    ConnectionRejectedError,
    RemoteProtocolError,
)
from trio_s2s.failures import explain_failure, explain_slowness
from trio_s2s.fields import check_server_id
from trio_s2s.foreign import wrong_first_frame
from trio_s2s.forms import show_error
from trio_s2s.framing import FrameDecoder
from trio_s2s.handshake import (
    MAX_HANDSHAKE_FRAME,
    Welcome,
    hello,
    leave,
    read_answer,
)
from trio_s2s.lifecycle import Life, claim
from trio_s2s.lookup import Progress, progress
from trio_s2s.messages import InitResponse
from trio_s2s.node import Node
from trio_s2s.pairing import Hold
from trio_s2s.peer import OutboundPeer
from trio_s2s.runtime import timer
from trio_s2s.security import check_context, check_port, refuse_plain_text
from trio_s2s.transport import receive_frame, send_frame, show_address

__all__ = ["Dialler", "Target", "dial_tcp"]

Target = str | Callable[[], Awaitable[tuple[str, int]]]
"""Whom to dial: a host, or what finds a host and a port for each attempt."""


@attrs.frozen(kw_only=True)
class Dialler:
    """How one connection is to be made."""

    node: Node
    address: str
    dial: Callable[[], Awaitable[trio.abc.Stream]]
    application_name: str
    init_object: Any
    server_id: str | None
    raises: bool
    """Whether errors of hooks and tasks come out of the peer's life, or are logged."""

    def __attrs_post_init__(self) -> None:
        if self.server_id is not None:
            check_server_id(self.server_id)

    @property
    def where(self) -> str:
        """Who is dialled, for people."""
        name = self.application_name or self.server_id
        return f"{name} at {self.address}" if name else self.address

    def hello(self, known: bytes = b"") -> bytes:
        """Make the first frame; what can't travel is the caller's error."""
        return hello(
            self.node.identity,
            self.application_name,
            self.init_object,
            self.node.config,
            known,
        )

    async def connect(self, peer: OutboundPeer, whom: str = "") -> Life:
        """Connect and shake hands; whatever fails is a ConnectionFailedError.

        `whom` is the server that is expected there, which may remember this one.
        """
        # What is wrong here is the caller's error, not one of the connection.
        claim(peer)
        self.hello()
        self.node.handshaking[True] += 1
        try:
            return await self._connect(peer, whom)
        except ConnectionFailedError as error:
            self.node.failed(error.reason)
            raise
        finally:
            self.node.handshaking[True] -= 1

    async def _connect(self, peer: OutboundPeer, whom: str) -> Life:
        stream = await self._dial_in_time()
        try:
            # Not before there is a stream: what is said must stay true until WELCOME.
            with self.node.partners.remembered(whom) as known:
                return await self._shake_hands(stream, self.hello(known), peer)
        except BaseException:
            with trio.CancelScope(shield=True):  # Closing by force does not wait.
                await trio.aclose_forcefully(stream)
            raise

    async def _dial_in_time(self) -> trio.abc.Stream:
        reached = Progress()
        token = progress.set(reached)
        try:
            with timer(self.node.config.connect_timeout):
                return await self.dial()
        except (OSError, UnicodeError, trio.TooSlowError) as error:
            raise explain_failure(error, self.where) from error
        finally:
            progress.reset(token)
        raise explain_slowness(
            self.where, is_looking_up=reached.is_looking_up, tried=reached.tried
        ) from trio.TooSlowError()

    async def _shake_hands(
        self, stream: trio.abc.Stream, frame: bytes, peer: OutboundPeer
    ) -> Life:
        decoder = FrameDecoder(MAX_HANDSHAKE_FRAME)
        limit = self.node.config.handshake_timeout
        has_tls: bool | None = None
        try:
            with timer(limit):
                if isinstance(stream, trio.SSLStream):
                    has_tls = False
                    await stream.do_handshake()
                    has_tls = True
                answer = await self._exchange(stream, decoder, frame)
                hold = await self._settle(answer, stream)
                try:
                    return self._welcomed(answer, stream, decoder, peer, hold)
                except BaseException:
                    self.node.partners.release(hold)
                    raise
        except ConnectionRejectedError as error:
            refused = ConnectionRejectedError(
                error.code, error.debug_message, self.where
            )
            refused._retry_after = error._retry_after
            raise refused from error
        except RemoteProtocolError as error:
            found = wrong_first_frame(error, decoder.first_bytes())
            raise explain_failure(found, self.where) from error
        except (ConnectionFailedError, EOFError, trio.BrokenResourceError) as error:
            raise explain_failure(error, self.where, has_tls=has_tls) from error
        missing = "TLS was not done" if has_tls is False else "it said no S2S welcome"
        raise ConnectionFailedError(
            f"cannot connect to {self.where}: connected, but {missing} within"
            f" {limit:g} s (handshake_timeout); is this the right port?",
            FailureReason.HANDSHAKE_TIMEOUT,
        ) from trio.TooSlowError()

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
                raise broken from broken.__cause__
            raise
        own = (self.node.identity.instance_id,)
        return read_answer(body, own, self.node.config)

    async def _settle(self, welcome: Welcome, stream: trio.abc.Stream) -> Hold:
        identity = welcome.identity
        if self.server_id is not None and identity.server_id != self.server_id:
            name = repr(identity.server_id) if identity.server_id else "anonymous"
            raise ConnectionFailedError(
                f"it is {name}, not {self.server_id!r} (server_id=)",
                FailureReason.IDENTITY_MISMATCH,
            )
        try:
            return self.node.partners.settle(
                identity, self.address, resumed=welcome.resumed
            )
        except ConnectionFailedError as error:
            await send_frame(stream, leave(str(error)))  # noqa: ASYNC120  it may go
            raise

    def _welcomed(
        self,
        welcome: Welcome,
        stream: trio.abc.Stream,
        decoder: FrameDecoder,
        peer: OutboundPeer,
        hold: Hold,
    ) -> Life:
        identity = welcome.identity
        peer.init_response = InitResponse(
            identity.server_id,
            identity.instance_id,
            identity.version,
            welcome.response_object,
            welcome.resumed,
        )
        peer.response_object = welcome.response_object
        return Life.begin(
            peer,
            stream,
            decoder,
            identity,
            welcome.terms,
            self.node,
            hold,
            is_dialled=True,
            raises=self.raises,
        )


async def _ask_where(
    find: Callable[[], Awaitable[tuple[str, int]]], where: str
) -> tuple[str, int]:
    try:
        return await find()
    except (ConnectionFailedError, OSError, trio.TooSlowError):
        raise
    except Exception as error:
        # That a directory does not know a server is a look-up that failed.
        text = f"cannot connect to {where}: it raised {show_error(error)}"
        raise ConnectionFailedError(text, FailureReason.DNS_ERROR) from error


def dial_tcp(
    node: Node,
    target: Target,
    port: Any,
    *,
    application_name: str,
    init_object: Any,
    server_id: str | None,
    ssl_context: ssl.SSLContext | None,
    insecure: bool,
    raises: bool,
) -> Dialler:
    """Say how a TCP connection is to be made; what is wrong with it is a ValueError."""
    check_context(ssl_context, listens=False)

    def check(host: str, port: Any) -> None:
        check_port(port, lowest=1)
        refuse_plain_text("dialling", host, ssl_context, insecure)

    async def dial_at(host: str, port: int) -> trio.abc.Stream:
        stream = await node.runtime.open_tcp_stream(host, port)
        if ssl_context is None:
            return stream
        return trio.SSLStream(stream, ssl_context, server_hostname=host)

    async def dial() -> trio.abc.Stream:
        if isinstance(target, str):
            return await dial_at(target, port)
        found = await _ask_where(target, dialler.where)
        try:
            check(*found)
        except (TypeError, ValueError) as error:
            text = f"{dialler.where} gave {found!r}: {error}"
            raise ConnectionFailedError(text, FailureReason.INVALID_ADDRESS) from error
        return await dial_at(*found)

    if isinstance(target, str):
        check(target, port)
        address = show_address((target, port))
    else:
        address = getattr(target, "__name__", repr(target))
    dialler = Dialler(
        node=node,
        address=address,
        dial=dial,
        application_name=application_name,
        init_object=init_object,
        server_id=server_id,
        raises=raises,
    )
    return dialler
