"""The accepting side of a handshake, from a listener to a peer's life."""

import errno
import logging
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import trio

from trio_s2s.codes import CloseCode
from trio_s2s.config import PeerConfig
from trio_s2s.errors import (
    ConnectionFailedError,
    ConnectionRejectedError,
    LocalProtocolError,
    RemoteProtocolError,
)
from trio_s2s.foreign import wrong_first_frame
from trio_s2s.framing import FrameDecoder
from trio_s2s.handshake import (
    MAX_HANDSHAKE_FRAME,
    Hello,
    Identity,
    read_hello,
    reject,
    welcome,
)
from trio_s2s.lifecycle import Life, claim
from trio_s2s.messages import InitRequest
from trio_s2s.peer import InboundPeer, log
from trio_s2s.runtime import new_instance_id
from trio_s2s.transport import (
    addresses_of,
    closing,
    discard_rest,
    receive_frame,
    send_frame,
)

__all__ = ["Acceptor", "CreatePeer"]

CreatePeer = Callable[[InitRequest], InboundPeer]

_NO_ROOM: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


class Acceptor:
    """What all connections of one server have in common until they have a peer."""

    def __init__(
        self,
        create_peer: CreatePeer,
        ssl_context: ssl.SSLContext | None,
        config: PeerConfig,
    ) -> None:
        self._create_peer = create_peer
        self._ssl_context = ssl_context
        self._config = config
        self._identity = Identity(new_instance_id())
        self._pending: Counter[str] = Counter()
        self._refusing = 0

    async def listen(
        self,
        listener: trio.abc.Listener[Any],
        handler_nursery: trio.Nursery | None,
    ) -> None:
        """Accept connections until cancelled; each peer is a task of the nursery."""
        async with closing(listener), trio.open_nursery() as own:
            nursery = handler_nursery or own
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in _NO_ROOM:
                        raise
                    log.error("no connection can be accepted: %s", error)
                    await trio.sleep(0.1)
                    continue
                nursery.start_soon(self._serve, stream, name="inbound peer")

    async def _serve(self, stream: trio.abc.Stream) -> None:
        where = addresses_of(stream)[1]
        try:
            async with closing(stream):
                life = await self._admit(stream, where)
                if life is not None:
                    await life.run()
        except Exception:
            # A bug of this package must not end the listener and all other peers.
            log.exception("the peer at %s ended with an unexpected error", where)

    async def _admit(self, stream: trio.abc.Stream, where: str) -> Life | None:
        """Shake hands, if not too many are at it already."""
        host = where.rpartition(":")[0]
        most = self._config.max_pending_handshakes
        most_of_one = self._config.max_pending_handshakes_per_address
        pending = self._pending
        # Streams without an address, as those in memory, have no host in common.
        if pending.total() >= most or (host and pending[host] >= most_of_one):
            log.warning("%s refused: too many handshakes are under way", where)
            if self._ssl_context is None and self._refusing < most:
                await self._refuse(stream)
            return None
        pending[host] += 1
        try:
            return await self._admit_in_time(stream, where)
        finally:
            pending[host] -= 1
            if not pending[host]:
                del pending[host]

    async def _refuse(self, stream: trio.abc.Stream) -> None:
        self._refusing += 1
        try:
            text = "too many handshakes are under way (max_pending_handshakes)"
            with trio.move_on_after(self._config.handshake_timeout):
                await self._reject(stream, CloseCode.BUSY, text)
        finally:
            self._refusing -= 1

    async def _admit_in_time(self, stream: trio.abc.Stream, where: str) -> Life | None:
        decoder = FrameDecoder(MAX_HANDSHAKE_FRAME)
        limit = self._config.handshake_timeout
        life = None
        if self._ssl_context is not None:
            stream = trio.SSLStream(stream, self._ssl_context, server_side=True)
        with trio.move_on_after(limit) as scope:
            try:
                life = await self._shake_hands(stream, where, decoder)
            except ConnectionRejectedError as error:
                text = error.debug_message
                fault = error.__cause__ if error.code == CloseCode.INTERNAL else None
                log.log(
                    logging.ERROR if fault else logging.WARNING,
                    "%s rejected with code %d: %s",
                    where,
                    error.code,
                    text,
                    exc_info=fault,
                )
                await self._reject(stream, error.code, text)
            except RemoteProtocolError as error:
                found = wrong_first_frame(error, decoder.first_bytes())
                log.warning("%s refused: %s", where, found)
            except ConnectionFailedError as error:
                log.warning("%s refused: %s", where, error)
            except EOFError as error:
                log.info("%s left before it said hello %s", where, error)
            except trio.BrokenResourceError as error:
                log.info("%s left: %s", where, error.__cause__ or error)
        if scope.cancelled_caught:
            log.warning(
                "%s refused: no handshake within %g s (handshake_timeout), only %s",
                where,
                limit,
                decoder.progress() or "silence",
            )
        return life

    async def _shake_hands(
        self, stream: trio.abc.Stream, where: str, decoder: FrameDecoder
    ) -> Life:
        if isinstance(stream, trio.SSLStream):
            await stream.do_handshake()
        body = await receive_frame(stream, decoder)
        hello = read_hello(body, self._identity.instance_id, self._config)
        if decoder.progress():
            raise ConnectionRejectedError(
                CloseCode.PROTOCOL, "HELLO was followed by more, before WELCOME"
            )
        peer = self._make_peer(hello, stream)
        try:
            frame = welcome(self._identity, peer.response_object, self._config)
        except LocalProtocolError as error:
            raise ConnectionRejectedError(
                CloseCode.INTERNAL, "the server's response object can't travel"
            ) from error
        await send_frame(stream, frame)
        return Life.begin(
            peer,
            stream,
            decoder,
            hello.identity,
            hello.terms,
            self._config,
            raises=False,
        )

    def _make_peer(self, hello: Hello, stream: trio.abc.Stream) -> InboundPeer:
        local, remote = addresses_of(stream)
        port = local.rpartition(":")[2]
        request = InitRequest(
            hello.application_name,
            hello.identity.server_id,
            hello.identity.instance_id,
            hello.identity.version,
            hello.init_object,
            local,
            int(port) if port.isdecimal() else None,
            remote,
        )
        try:
            peer = self._create_peer(request)  # with one argument, the InitRequest
            if not isinstance(peer, InboundPeer):
                raise TypeError(f"create_peer made {peer!r}, which is no InboundPeer")
            claim(peer)
        except ConnectionRejectedError:
            raise
        except Exception as error:
            raise ConnectionRejectedError(
                CloseCode.INTERNAL, "the server could not make a peer"
            ) from error
        peer.init_request = request
        return peer

    async def _reject(self, stream: trio.abc.Stream, code: int, text: str) -> None:
        try:
            await send_frame(stream, reject(code, text))
        except trio.BrokenResourceError:
            return
        await discard_rest(stream)
