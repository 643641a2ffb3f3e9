"""A connection that is kept: dialled, and dialled again after a failure or a loss."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar, overload

import trio

from trio_s2s.backoff import Backoff
from trio_s2s.bounded import run_last_hook
from trio_s2s.codes import CloseCode, DisconnectReason, FailureReason, Outcome
from trio_s2s.contracts import Operation
from trio_s2s.dialler import Dialler
from trio_s2s.errors import (
    ConnectionFailedError,
    ConnectionRejectedError,
    PeerDisconnectedError,
)
from trio_s2s.lifecycle import Life
from trio_s2s.messages import OperationRequest, OperationResponse
from trio_s2s.peer import OutboundPeer, describe
from trio_s2s.runtime import now, sleep

__all__ = ["Link"]

P = TypeVar("P", bound=OutboundPeer)
R = TypeVar("R")

_FINAL = frozenset(
    {
        FailureReason.VERSION_MISMATCH,
        FailureReason.AUTH_FAILED,
        FailureReason.IDENTITY_MISMATCH,
        FailureReason.SELF_CONNECTION,
    }
)
"""What the next attempt will meet again, until somebody has changed something."""


class Link(Generic[P]):
    """A connection to one server that an application keeps, see `connect_tcp`.

    It makes a new peer for each attempt, whose hooks run as those of any other. Between
    two attempts it waits: after a loss 0 to 1 s, after failures up to 3 s, drawn anew
    each time. It ends when its application does.
    """

    def __init__(self, dialler: Dialler, create_peer: Callable[[], P]) -> None:
        self._dialler = dialler
        self._create_peer = create_peer
        self._peers = dialler.node.peers
        self._backoff = Backoff(dialler.node.runtime.uniform)
        self._newest: P | None = None
        self._is_stopped = False
        self._dialling = trio.CancelScope()
        self._delay = 0.0
        self._why_not = "the first attempt is under way"

    def __repr__(self) -> str:
        """Say whom it reaches, for a log."""
        state = "connected" if self.peer else "not connected"
        return f"<Link to {self._dialler.where}, {state}>"

    @property
    def peer(self) -> P | None:
        """The peer while it is connected and does not end, else None."""
        peer = self._newest
        if peer is None or peer not in self._peers or not peer._is_usable:
            return None
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
                f"there is no connection to {self._dialler.where}: {self._why_not}",
                Outcome.NEVER_SENT,
            )
        return await peer.request(operation)

    # -- for the application --

    async def keep(self) -> None:
        """Connect, again and again, until `stop` is called."""
        delay = 0.0
        while not self._is_stopped:
            with trio.CancelScope() as self._dialling:
                await sleep(delay)
                life = await self._connect()
            if self._dialling.cancelled_caught:
                return
            delay = await self._run(life)

    def stop(self) -> None:
        """Dial no more; a connection that there is ends by itself."""
        self._is_stopped = True
        self._dialling.cancel(reason="the application stops")

    async def _connect(self) -> Life | None:
        try:
            peer = self._newest = self._create_peer()
            return await self._dialler.connect(peer)
        except ConnectionFailedError as error:
            await self._failed(peer, error)
        except Exception as error:
            # A peer that can't be made is the application's bug, and may pass.
            self._delay = self._backoff.after_failure(is_final=True)
            self._fault(f"a peer could not be made: {type(error).__name__}", error)
        return None

    async def _run(self, life: Life | None) -> float:
        """Live until the connection is over; give the seconds to wait then."""
        if life is None:
            return self._delay
        where, began = self._dialler.where, now()
        self._tell(logging.INFO, "connected", f"connected to {where}")
        try:
            await life.run()
        except Exception as error:
            # A bug of this package must not end the application.
            self._fault("the connection ended with an unexpected error", error)
            return self._backoff.after_failure(is_final=True)
        reason, detail = life.ending.reason, life.ending.detail
        assert reason is not None
        self._why_not = f"{reason.name}, {detail}"
        delay = self._backoff.after_loss(now() - began)
        if not self._is_stopped:
            then = f"next attempt in {delay:.1f} s"
            text = f"disconnected from {where}: {self._why_not}; {then}"
            self._tell(logging.INFO, "disconnected", text)
        return delay

    async def _failed(self, peer: P, error: ConnectionFailedError) -> None:
        delay = self._delay = self._backoff.after_failure(is_final=_is_final(error))
        self._why_not = str(error)
        attempt = f"next attempt in {delay:.1f} s (attempt {self._backoff.failures})"
        self._tell(logging.WARNING, error.reason.name, f"{error}; {attempt}")
        self._dialler.node.hook_runs(peer, "on_failed", error.reason.name)
        hook = partial(peer.on_failed, error)
        limit = self._dialler.node.config.hook_timeout
        await run_last_hook(hook, describe(peer), "on_failed", limit)

    def _fault(self, what: str, error: Exception) -> None:
        self._why_not = what
        self._tell(logging.ERROR, "fault", f"{self!r}: {what}", error)

    def _tell(
        self, level: int, kind: str, text: str, error: BaseException | None = None
    ) -> None:
        journal = self._dialler.node.journal
        journal.tell(level, kind, self._dialler.where, text, error)


def _is_final(error: ConnectionFailedError) -> bool:
    if isinstance(error, ConnectionRejectedError):
        return error.reason in _FINAL or error.code == CloseCode.UNKNOWN_APPLICATION
    return error.reason in _FINAL
