"""The dialling side of a handshake, from a host's name to a peer's life."""

from collections.abc import Awaitable, Callable
from typing import Any

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
from trio_s2s.lifecycle import Life, claim
from trio_s2s.messages import InitResponse
from trio_s2s.peer import OutboundPeer
from trio_s2s.runtime import new_instance_id
from trio_s2s.transport import receive_frame, send_frame

__all__ = ["Dialler"]


@attrs.frozen(kw_only=True)
class Dialler:
    """How one connection is to be made."""

    where: str
    dial: Callable[[], Awaitable[trio.abc.Stream]]
    application_name: str
    init_object: Any
    server_id: str | None
    config: PeerConfig
    instance_id: bytes = attrs.field(factory=new_instance_id)

    def __attrs_post_init__(self) -> None:
        name = self.server_id
        if name is not None and not (name and valid_server_id(name)):
            raise ValueError(
                f"server_id is 1 to 64 of A-Z a-z 0-9 . _ -, not {self.server_id!r}"
            )

    async def connect(self, peer: OutboundPeer) -> Life:
        """Connect and shake hands; whatever fails is a ConnectionFailedError."""
        # What is wrong here is the caller's error, not one of the connection.
        claim(peer)
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
            with trio.CancelScope(shield=True):  # Closing by force does not wait.
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
            f"cannot connect to {self.where}: connected, but it said no S2S welcome"
            f" within {limit:g} s (handshake_timeout)",
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
