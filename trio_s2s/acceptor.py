"""The accepting side of a handshake, from a stream to a peer's life."""

import logging
import ssl
from collections import Counter
from collections.abc import Sequence

import trio

from trio_s2s.codes import FAILURE_OF_REJECT, CloseCode, FailureReason
from trio_s2s.config import PeerConfig
from trio_s2s.errors import (
    ConnectionFailedError,
    ConnectionRejectedError,
    LocalProtocolError,
    RemoteProtocolError,
)
from trio_s2s.failures import explain_left
from trio_s2s.foreign import wrong_first_frame
from trio_s2s.framing import FrameDecoder
from trio_s2s.guest import Guest, init_request
from trio_s2s.handshake import (
    MAX_HANDSHAKE_FRAME,
    read_hello,
    reject,
    welcome,
)
from trio_s2s.journal import log
from trio_s2s.lifecycle import Life, claim
from trio_s2s.messages import InitRequest
from trio_s2s.node import Node
from trio_s2s.pairing import Hold
from trio_s2s.peer import InboundPeer
from trio_s2s.runtime import timer
from trio_s2s.transport import (
    closing,
    discard_rest,
    receive_frame,
    send_frame,
)

__all__ = ["Acceptor"]


class Acceptor:
    """What all connections of one listener have in common until they have a peer.

    It serves one server, or several that the dialler chooses from by name; the first is
    the one for diallers that name none.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        ssl_context: ssl.SSLContext | None,
        config: PeerConfig | None = None,
    ) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._default = nodes[0]
        self._own_config = config
        self._config = config or nodes[0].config
        self._ssl_context = ssl_context
        self._pending: Counter[str] = Counter()
        self._refusing = 0

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Shake hands, and run the peer, if it comes to one."""
        try:
            async with closing(stream):
                life = await self._admit(stream, Guest.of(stream))
                if life is not None:
                    await life.run()
        except Exception:
            # A bug of this package must not end the listener and all other peers.
            log.exception("a connection ended with an unexpected error")

    async def _admit(self, stream: trio.abc.Stream, guest: Guest) -> Life | None:
        """Shake hands, if not too many are at it already."""
        host = guest.host
        most = self._config.max_pending_handshakes
        most_of_one = self._config.max_pending_handshakes_per_address
        pending = self._pending
        # Streams without an address, as those in memory, have no host in common.
        is_full = pending.total() >= most
        if is_full or (host and pending[host] >= most_of_one):
            limit = "" if is_full else "_per_address"
            text = (
                "too many handshakes are under way"
                f" (max_pending_handshakes{limit}); try again in a moment"
            )
            self._turn_away(FailureReason.REJECTED_BUSY, guest, f"refused: {text}")
            if self._ssl_context is None and self._refusing < most:
                await self._refuse(stream, text)
            return None
        pending[host] += 1
        self._default.handshaking[False] += 1
        try:
            return await self._admit_in_time(stream, guest)
        finally:
            self._default.handshaking[False] -= 1
            pending[host] -= 1
            if not pending[host]:
                del pending[host]

    async def _refuse(self, stream: trio.abc.Stream, text: str) -> None:
        self._refusing += 1
        try:
            with timer(self._config.handshake_timeout):
                await self._reject(stream, CloseCode.BUSY, text)
        finally:
            self._refusing -= 1

    async def _admit_in_time(
        self, stream: trio.abc.Stream, guest: Guest
    ) -> Life | None:
        decoder = FrameDecoder(MAX_HANDSHAKE_FRAME)
        limit = self._config.handshake_timeout
        life = None
        came = "silence"
        is_rejected = False
        if self._ssl_context is not None:
            stream = trio.SSLStream(stream, self._ssl_context, server_side=True)
        with timer(limit) as scope:
            try:
                if isinstance(stream, trio.SSLStream):
                    came = "half of TLS, or less"
                    await stream.do_handshake()
                    came = "silence after TLS"
                life = await self._shake_hands(stream, decoder)
            except ConnectionRejectedError as error:
                is_rejected = True
                self._tell_rejected(error, guest)
                await self._reject(stream, error.code, error.debug_message)
            except RemoteProtocolError as error:
                found = wrong_first_frame(error, decoder.first_bytes())
                self._turn_away(found.reason, guest, f"refused: {found}")
            except ConnectionFailedError as error:
                self._turn_away(error.reason, guest, f"refused: {error}")
            except (EOFError, trio.BrokenResourceError) as error:
                cause, text = explain_left(error)
                has_left = cause is FailureReason.CLOSED_DURING_HANDSHAKE
                level = logging.INFO if has_left else logging.WARNING
                self._turn_away(cause, guest, text, level)
        if scope.cancelled_caught and not is_rejected:
            self._turn_away(
                FailureReason.HANDSHAKE_TIMEOUT,
                guest,
                f"refused: no handshake within {limit:g} s (handshake_timeout), only"
                f" {decoder.progress() or came}",
            )
        return life

    async def _shake_hands(
        self, stream: trio.abc.Stream, decoder: FrameDecoder
    ) -> Life:
        body = await receive_frame(stream, decoder)
        hello = read_hello(body, self._config)
        if decoder.progress():
            raise ConnectionRejectedError(
                CloseCode.PROTOCOL, "HELLO was followed by more, before WELCOME"
            )
        node = self._choose(hello.application_name)
        if hello.identity.instance_id == node.identity.instance_id:
            text = "this server has dialled itself"
            raise ConnectionRejectedError(CloseCode.SELF_CONNECTION, text)
        with node.welcomes():
            peer = _make_peer(node, init_request(hello, stream))
            hold = await node.partners.admit(
                hello.identity, peer.init_request.remote_address, hello.known
            )
            try:
                await self._welcome(node, peer, hold, stream)
                return Life.begin(
                    peer,
                    stream,
                    decoder,
                    hello.identity,
                    hello.terms,
                    node,
                    hold,
                    is_dialled=False,
                    config=self._own_config,
                )
            except BaseException:
                node.partners.release(hold)
                raise

    async def _welcome(
        self, node: Node, peer: InboundPeer, hold: Hold, stream: trio.abc.Stream
    ) -> None:
        value = peer.response_object
        config = self._own_config or node.config
        try:
            frame = welcome(node.identity, value, config, hold.resumed)
        except LocalProtocolError as error:
            raise ConnectionRejectedError(
                CloseCode.INTERNAL,
                "the server's response object can't travel; its log says why",
            ) from error
        await send_frame(stream, frame)

    def _choose(self, name: str) -> Node:
        """Find the application that a dialler wants."""
        node = self._nodes.get(name) if name else self._default
        # A server without a name of its own takes any.
        node = node or self._nodes.get("")
        if node is None:
            raise ConnectionRejectedError(
                CloseCode.UNKNOWN_APPLICATION, f"there is no application {name!r} here"
            )
        if node.grace is not None:
            raise ConnectionRejectedError(
                CloseCode.SHUTTING_DOWN, "the server is stopping"
            )
        return node

    async def _reject(self, stream: trio.abc.Stream, code: int, text: str) -> None:
        try:
            await send_frame(stream, reject(code, text))
        except trio.BrokenResourceError:
            return
        await discard_rest(stream)

    # -- telling --

    def _tell_rejected(self, error: ConnectionRejectedError, guest: Guest) -> None:
        fault = error.__cause__ if error.code == CloseCode.INTERNAL else None
        level = logging.ERROR if fault else logging.WARNING
        if error.code == CloseCode.DUPLICATE:
            level = logging.INFO  # As it should be, where both dial.
        self._turn_away(
            FAILURE_OF_REJECT.get(error.code, FailureReason.REJECTED),
            guest,
            f"rejected with code {error.code}:"
            f" {error.debug_message or 'no reason given'}",
            level,
            fault,
        )

    def _turn_away(
        self,
        cause: FailureReason,
        guest: Guest,
        text: str,
        level: int = logging.WARNING,
        fault: BaseException | None = None,
    ) -> None:
        """Count a connection that came to nothing, and tell of it now and then."""
        self._default.rejected(cause)
        self._default.journal.tell(
            level, cause.name, guest.host, f"connection from {guest} {text}", fault
        )


def _make_peer(node: Node, request: InitRequest) -> InboundPeer:
    try:
        peer = node.make_peer(request)
        claim(peer)
    except ConnectionRejectedError:
        raise
    except Exception as error:
        raise ConnectionRejectedError(
            CloseCode.INTERNAL, "the server could not make a peer; its log says why"
        ) from error
    peer.init_request = request
    return peer
