"""What applications subclass: hooks, handlers, and the calls to the other side."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, ClassVar, NoReturn, TypeVar, TypeVarTuple, overload

import trio

from trio_s2s.answers import received_error
from trio_s2s.codes import DisconnectReason, ReturnCode
from trio_s2s.contracts import Event, Operation, contract_of
from trio_s2s.errors import LocalProtocolError
from trio_s2s.forms import Message
from trio_s2s.handlers import HandlerTable, table_of
from trio_s2s.hooks import PeerHooks
from trio_s2s.messages import (
    EventData,
    InitRequest,
    InitResponse,
    OperationRequest,
    OperationResponse,
    Parameters,
    SendParameters,
)
from trio_s2s.session import Session
from trio_s2s.statistics import PeerStatistics
from trio_s2s.tasks import in_acceptor_hook, inside_peers, reported

__all__ = ["InboundPeer", "OutboundPeer", "Peer", "describe"]

R = TypeVar("R")
Args = TypeVarTuple("Args")

_PLAIN = SendParameters()


class Peer(PeerHooks, trio.abc.AsyncResource):
    """This side of one connection: subclass `InboundPeer` or `OutboundPeer`.

    Photon: `S2SPeerBase`.
    """

    # All has a default in the class, so that a subclass may forget `super()`.
    server_id: str = ""
    """The other side's name; empty: it is anonymous."""
    resumed: bool = False
    """Whether both sides remember each other from before."""
    local_address: str = ""
    """This side's address, as `host:port`, or a path, or empty."""
    remote_address: str = ""
    """The other side's address, in the same form."""
    response_object: Any = None
    """The acceptor sets it in `__init__` or `create_peer`; the dialler reads it from
    `on_connected` on. Photon: `ResponseObject`."""
    groups: Collection[str] = ()
    """For `peers.group`; to be set until `on_connected` has finished."""

    _handlers: ClassVar[HandlerTable] = HandlerTable()
    _session: Session | None = None
    _is_claimed: bool = False
    _link: Any = None  # The one that has made it, if one has.

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the marked methods; a wrong definition is a TypeError here."""
        super().__init_subclass__(**kwargs)
        cls._handlers = table_of(cls)

    def __repr__(self) -> str:
        """Say who it is, for a log."""
        return describe(self)

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled: a connection can't be in two places."""
        raise TypeError(f"{self!r} is a live connection and can't be copied or pickled")

    @property
    def goodbye_code(self) -> int | None:
        """What the other side's GOODBYE said, None without one."""
        session = self._session
        return None if session is None else session.connection.ending.goodbye_code

    # -- operations --

    @overload
    async def request(self, operation: Operation[R]) -> R: ...

    @overload
    async def request(self, operation: OperationRequest) -> OperationResponse: ...

    async def request(self, operation: Any) -> Any:
        """Send an operation and wait for its answer.

        An `Operation` gives its typed result; an answer with an error code is an
        OperationError. An `OperationRequest` gives its `OperationResponse`, whatever
        the code.

        Raises EncodeError or MessageTooLargeError (nothing was sent), ContractError
        (the answer does not fit), PeerDisconnectedError (its `outcome` says what became
        of the request), PeerClosedError, and LocalProtocolError before it is connected,
        from an acceptor's `on_connected`, or where the other side takes no requests.
        Waits while the other side has no free slot; inside a handler for `handler_wait`
        at most, then it is an OperationError with SERVER_BUSY (-7).

        Cancellation: a request that has not left is taken back, for one that has the
        other side's handler is cancelled, as it is once your deadline is over there.
        """
        if isinstance(operation, OperationRequest):
            code = operation.operation_code
            answer = await self._ask(code, operation.parameters, "request")
            return OperationResponse(code, *answer[2:5])
        if not isinstance(operation, Operation):
            raise TypeError(f"request takes an operation, not {operation!r}")
        contract = contract_of(type(operation))
        table = contract.to_parameters(operation)
        answer = await self._ask(contract.code, table, contract.name)
        if answer[2] != ReturnCode.OK:
            raise received_error(contract.name, *answer[2:5])
        return contract.result_from_parameters(answer[3])

    async def send_operation_request(
        self,
        request: OperationRequest,
        send_parameters: SendParameters = _PLAIN,
    ) -> None:
        """Send an operation whose answer comes to `on_operation_response`.

        Photon: `SendOperationRequest`. Waits, raises and is cancelled like
        `send_event`, and waits for a hook that is slower than its answers; once it has
        returned, the answer will come, unless the connection ends before `on_connected`
        has. `flush` and `unreliable` have no meaning here.
        """
        session = self._usable("a request", send_parameters)
        call = session.call(request.operation_code, request.parameters, "request")
        if send_parameters.channel:
            call.options = {1: send_parameters.channel}
        call.on_end = lambda ended: session.responded(ended, request, send_parameters)
        await session.connection.calls.post_request(call)

    # -- events --

    async def send_event(
        self,
        event: Event | EventData,
        send_parameters: SendParameters = _PLAIN,
    ) -> None:
        """Send an event, waiting for the other side's window and the send buffer.

        Photon: `SendEvent`. Returns when the event is queued; with `flush`, when the
        transport has taken it. `unreliable` drops it instead of waiting.

        Raises EncodeError or MessageTooLargeError, LocalProtocolError (`encrypted`
        without TLS), PeerDisconnectedError, PeerClosedError, PeerBusyError (inside a
        handler, after `handler_wait`).

        Cancellation: an event that still waits is not sent; never half of one. Always a
        cancel point, a schedule point at least every 64 KiB.
        """
        session = self._usable("an event", send_parameters)
        await session.connection.calls.send_event(
            session.post(event, send_parameters.channel),
            unreliable=send_parameters.unreliable,
            flush=send_parameters.flush,
        )

    def send_event_nowait(
        self,
        event: Event | EventData,
        send_parameters: SendParameters = _PLAIN,
    ) -> None:
        """Send an event, or raise trio.WouldBlock where `send_event` would wait."""
        session = self._usable("an event", send_parameters)
        session.connection.calls.send_event_nowait(
            session.post(event, send_parameters.channel),
            unreliable=send_parameters.unreliable,
        )

    # -- tasks, and the end --

    def start_soon(
        self, function: Callable[[*Args], Awaitable[object]], *args: *Args
    ) -> None:
        """Run a task for as long as the connection lives.

        If it raises, the peer is disconnected with INTERNAL_ERROR.
        """
        session = self._usable("start_soon")
        name = getattr(function, "__qualname__", repr(function))

        async def run() -> None:
            with reported(lambda error: session.crashed(error, name)):
                await function(*args)

        session.tasks.start_soon(run, name=name)

    async def disconnect(self, detail: str = "", *, code: int = 0) -> None:
        """Say goodbye, finish what was accepted for `drain_timeout`, and close.

        Photon: `Disconnect`. The other side sees REMOTE_CLOSE with this text; `code` is
        the application's own, or 0: then both servers forget each other. Returns when
        `on_disconnected` has run; inside a hook, handler or task of this peer at once.

        Cancellation: the end goes on without the caller.
        """
        if type(code) is not int or not 0 <= code < 2**63:
            raise ValueError(f"code is 0, or the application's own, not {code!r}")
        session = self._session
        if session is None:
            await trio.lowlevel.checkpoint()
            return
        session.check_home(describe(self))
        session.connection.say_goodbye(
            DisconnectReason.LOCAL_CLOSE, detail or "closed by this side", code
        )
        if any(peer is self for peer in inside_peers.get()):
            await trio.lowlevel.checkpoint()
        else:
            await session.finished.wait()

    def abort(self) -> None:
        """Close at once, without a goodbye. Photon: `AbortConnection`."""
        if self._session is not None:
            self._session.check_home(describe(self))
            self._session.connection.fail(
                DisconnectReason.LOCAL_CLOSE, "aborted by this side"
            )

    async def aclose(self) -> None:
        """Disconnect; if that is cancelled, abort."""
        try:
            await self.disconnect()
        except trio.Cancelled:
            self.abort()
            raise

    def statistics(self) -> PeerStatistics:
        """Count what has happened on this connection."""
        if self._session is None:
            raise LocalProtocolError(f"{self!r} has no statistics yet")
        return self._session.statistics()

    # -- within --

    @property
    def _is_usable(self) -> bool:
        session = self._session
        return session is not None and session.connection.ending.reason is None

    def _usable(self, what: str, send_parameters: SendParameters = _PLAIN) -> Session:
        session = self._session
        if session is None:
            raise LocalProtocolError(f"{what}: {self!r} is not connected yet")
        ending = session.connection.ending
        if ending.reason is not None:
            raise ending.error(None, what)
        session.check_home(describe(self))
        if send_parameters.encrypted and not session.connection.is_encrypted:
            text = "must travel encrypted, and this connection has no TLS"
            raise LocalProtocolError(f"{what} {text}")
        return session

    async def _ask(self, code: int, parameters: Parameters, name: str) -> Message:
        what = f"{name} (operation {code})"
        session = self._usable(what)
        if in_acceptor_hook.get() is self:
            raise LocalProtocolError(
                f"{what}: an acceptor's on_connected can't send requests to its own"
                " peer, which may wait for it; ask from start_soon"
            )
        call = session.call(code, parameters, name)
        return await session.connection.calls.request(call)


class InboundPeer(Peer):
    """A peer that an application makes for a connection that it accepts.

    Photon: `InboundS2SPeer`.
    """

    init_request: InitRequest = InitRequest()
    """Who asked to be let in."""

    def __init__(self, init_request: InitRequest) -> None:
        """Make the peer; a subclass may take more, and need not call this."""
        self.init_request = init_request


class OutboundPeer(Peer):
    """A peer that dials. Photon: `OutboundS2SPeer`."""

    init_response: InitResponse = InitResponse()
    """Who let us in, from `on_connected` on."""


def describe(peer: Peer) -> str:
    """Say who a peer is, for a log; unlike its `repr` it is not the application's."""
    name = peer.server_id or peer.remote_address or "nobody yet"
    if peer._session is None:
        return f"<{type(peer).__name__} {name}, not connected>"
    reason = peer._session.connection.ending.reason
    state = "connected" if reason is None else reason.name
    return f"<{type(peer).__name__} {name}, {state}>"
