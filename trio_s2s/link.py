"""A connection that is kept: dialled, and dialled again after a failure or a loss."""

import logging
import math
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, Generic, TypeVar, overload

import trio

from trio_s2s.backoff import Attempts, Backoff, Fixed, is_for_good, wish
from trio_s2s.bounded import run_last_hook
from trio_s2s.codes import DisconnectReason, FailureReason, Outcome
from trio_s2s.contracts import Operation
from trio_s2s.dialler import Dialler
from trio_s2s.ending import Ending
from trio_s2s.errors import ConnectionFailedError, PeerDisconnectedError
from trio_s2s.lifecycle import Life
from trio_s2s.messages import OperationRequest, OperationResponse
from trio_s2s.peer import OutboundPeer, Peer, describe
from trio_s2s.runtime import now, sleep

__all__ = ["Link", "LinkState"]

P = TypeVar("P", bound=OutboundPeer)
R = TypeVar("R")


class LinkState(Enum):
    """What a link is doing."""

    CONNECTING = "connecting"
    """An attempt is under way; also while `on_connected` runs."""
    CONNECTED = "connected"
    """`link.peer` may be used."""
    WAITING = "waiting"
    """It is not connected; the next attempt comes."""
    STOPPED = "stopped"
    """Its application stops: there will be no other attempt."""


class Link(Generic[P]):
    """A connection to one server that an application keeps, see `connect_tcp`.

    It makes a new peer for each attempt, whose hooks run as those of any other. Between
    two attempts it waits, see `Backoff`. It ends when its application does.
    """

    def __init__(
        self, dialler: Dialler, create_peer: Callable[[], P], retry: Backoff | Fixed
    ) -> None:
        self._dialler = dialler
        self._create_peer = create_peer
        self._peers = dialler.node.peers
        self._attempts = Attempts(retry, dialler.node.runtime.uniform)
        self._wanted = dialler.server_id or ""
        self._whom = self._wanted
        """Whom it reaches, or has reached last."""
        self._newest: P | None = None
        self._accepted: Peer | None = None
        """The peer of a connection that the other side has dialled."""
        self._ending: Ending | None = None
        self._is_connecting = True
        self._is_stopped = False
        self._dialling = trio.CancelScope()
        self._why_not = "the first attempt is under way"

    def __repr__(self) -> str:
        """Say whom it reaches, for a log."""
        return f"<Link to {self._dialler.where}, {self.state.value}>"

    @property
    def state(self) -> LinkState:
        """What it is doing now."""
        if self.peer is not None:
            return LinkState.CONNECTED
        if self._is_stopped:
            return LinkState.STOPPED
        ends = self._ending is not None and self._ending.reason is not None
        is_connecting = self._is_connecting and not ends
        return LinkState.CONNECTING if is_connecting else LinkState.WAITING

    @property
    def peer(self) -> P | None:
        """The peer while it is connected and does not end, else None.

        Where the other server dials as well, it may be one that was accepted.
        """
        peer: Any = self._newest
        if peer is None or peer not in self._peers:
            peer = self._peers.get(self._wanted)
        is_usable = peer is not None and peer._link is self and peer._is_usable
        return peer if is_usable else None

    def make_peer(self) -> P:
        """Make a peer for an attempt, or for a connection that the other side dials."""
        peer = self._create_peer()
        peer._link = self
        return peer

    async def connected(self) -> P:
        """Wait until it is connected, and give the peer.

        Raises PeerDisconnectedError (NOT_CONNECTED) when the application stops.
        """
        await trio.lowlevel.checkpoint()
        while (peer := self.peer) is None:
            await self._peers.change(repr(self))
        return peer

    @overload
    async def request(
        self, operation: Operation[R], *, wait_connected: bool = False
    ) -> R: ...

    @overload
    async def request(
        self, operation: OperationRequest, *, wait_connected: bool = False
    ) -> OperationResponse: ...

    async def request(self, operation: Any, *, wait_connected: bool = False) -> Any:
        """Send an operation and wait for its answer, as `Peer.request` does.

        While there is no connection it raises PeerDisconnectedError (NOT_CONNECTED,
        outcome NEVER_SENT) at once, or waits for one if `wait_connected` is True.
        Nothing is ever sent twice: a connection that is lost meanwhile is an error.
        """
        peer = await self.connected() if wait_connected else self.peer
        if peer is None:
            await trio.lowlevel.checkpoint()
            raise PeerDisconnectedError(
                DisconnectReason.NOT_CONNECTED,
                f"there is no connection to {self._dialler.where}: {self._reason}",
                Outcome.NEVER_SENT,
            )
        return await peer.request(operation)

    @property
    def _reason(self) -> str:
        """Why it is not connected."""
        session = None if self._accepted is None else self._accepted._session
        if session is None or session.connection.ending.reason is None:
            return self._why_not
        return str(session.connection.ending)

    # -- for the application --

    def _hook_runs(self, peer: Peer, hook: str) -> None:
        """Take note of what becomes of a connection that the other side has dialled."""
        if peer is self._newest:
            return  # This side has dialled.
        where = f"{self._dialler.where}, which has dialled"
        if hook == "on_connected":
            self._accepted = peer
            self._tell(logging.INFO, "connected", f"connected to {where}")
        else:
            self._why_not, self._accepted = self._reason, None
            text = f"disconnected from {where}: {self._why_not}"
            self._tell(logging.INFO, "disconnected", text)

    async def keep(self) -> None:
        """Connect, again and again, until `stop` is called."""
        delay = 0.0
        while not self._is_stopped:
            with trio.CancelScope() as self._dialling:
                await sleep(delay)
                made = await self._connect_unless_paired()
            if self._dialling.cancelled_caught:
                return
            self._is_connecting = isinstance(made, Life)
            delay = await self._run(made) if isinstance(made, Life) else made

    def stop(self) -> None:
        """Dial no more; a connection that there is ends by itself."""
        self._is_stopped = True
        self._dialling.cancel(reason="the application stops")

    async def _connect_unless_paired(self) -> Life | float:
        """Make a connection, or give the seconds to wait."""
        self._is_connecting = False
        partners = self._dialler.node.partners
        # Whoever is not sure whom it will reach has to dial to know.
        if not partners.is_free(self._wanted):
            if self.peer is None:
                text = (
                    f"{self._wanted!r} is connected by a peer that is not this link's"
                )
                self._why_not = text
                self._tell(logging.INFO, "not its own", f"{self!r}: {text}")
            await partners.until_free(self._wanted)
            # It was connected all the time, whoever has dialled.
            return self._attempts.after_loss(math.inf)
        return await self._connect()

    async def _connect(self) -> Life | float:
        self._is_connecting, self._ending = True, None
        try:
            peer = self._newest = self.make_peer()
            return await self._dialler.connect(peer, self._whom)
        except ConnectionFailedError as error:
            if error.reason is FailureReason.DUPLICATE:
                return self._not_needed(error)
            return await self._failed(peer, error)
        except Exception as error:
            # What the application gives to an attempt is its own bug, and may pass.
            self._fault(f"an attempt raised {type(error).__name__}", error)
            return self._attempts.after_failure(is_final=True)

    async def _run(self, life: Life) -> float:
        """Live until the connection is over; give the seconds to wait then."""
        where, began = self._dialler.where, now()
        self._whom = life.server_id
        self._ending = life.ending
        self._tell(logging.INFO, "connected", f"connected to {where}")
        try:
            await life.run()
        except Exception as error:
            # A bug of this package must not end the application.
            self._fault("the connection ended with an unexpected error", error)
            return self._attempts.after_failure(is_final=True)
        reason = life.ending.reason
        assert reason is not None
        self._why_not = str(life.ending)
        if self._is_stopped:
            return 0.0
        if not life.was_connected:
            return await self._came_too_late(reason)
        delay = self._attempts.after_loss(now() - began)
        then = f"next attempt in {delay:.1f} s"
        text = f"disconnected from {where}: {self._why_not}; {then}"
        self._tell(logging.INFO, "disconnected", text)
        return delay

    async def _came_too_late(self, reason: DisconnectReason) -> float:
        """Take note of a connection that ended while it waited for the last one's."""
        text = f"cannot connect to {self._dialler.where}: {self._why_not}"
        if reason in (DisconnectReason.REPLACED, DisconnectReason.PEER_RESTARTED):
            failure = FailureReason.DUPLICATE
            return self._not_needed(ConnectionFailedError(text, failure))
        assert self._newest is not None
        failure = FailureReason.CLOSED_DURING_HANDSHAKE
        self._dialler.node.failed(failure)
        return await self._failed(self._newest, ConnectionFailedError(text, failure))

    def _not_needed(self, error: ConnectionFailedError) -> float:
        """Take note that the pair is connected already, which `on_failed` is spared."""
        self._why_not = str(error)
        if self._wanted:
            self._tell(logging.INFO, error.reason.name, str(error))
        else:
            text = f"{error}; a link with server_id= would use the one that there is"
            self._tell(logging.WARNING, error.reason.name, text)
        # Who knows whom it reaches waits for the end of that one, and then not long.
        return self._attempts.after_failure(is_final=not self._wanted)

    async def _failed(self, peer: P, error: ConnectionFailedError) -> float:
        is_final = is_for_good(error)
        delay = self._attempts.after_failure(is_final=is_final)
        # Not all of those who were told the same shall come at the same moment.
        delay += wish(error)
        self._why_not = str(error)
        attempt = f"next attempt in {delay:.1f} s (attempt {self._attempts.failures})"
        if is_final:
            attempt = f"{attempt}, as this will not pass by itself"
        self._tell(logging.WARNING, error.reason.name, f"{error}; {attempt}")
        self._dialler.node.hook_runs(peer, "on_failed", error.reason.name)
        hook = partial(peer.on_failed, error)
        limit = self._dialler.node.config.hook_timeout
        await run_last_hook(hook, describe(peer), "on_failed", limit)
        return delay

    def _fault(self, what: str, error: Exception) -> None:
        self._why_not = what
        self._tell(logging.ERROR, "fault", f"{self!r}: {what}", error)

    def _tell(
        self, level: int, kind: str, text: str, error: BaseException | None = None
    ) -> None:
        journal = self._dialler.node.journal
        journal.tell(level, kind, self._dialler.where, text, error)
