"""One server as its connections see it: who it is, its limits, who is here."""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from types import MappingProxyType
from typing import Final

import attrs
import trio

from trio_s2s.bounded import run_last_hook
from trio_s2s.codes import CloseCode, DisconnectReason, FailureReason
from trio_s2s.config import PeerConfig
from trio_s2s.errors import ConnectionRejectedError
from trio_s2s.fields import Identity
from trio_s2s.journal import Journal
from trio_s2s.messages import InitRequest
from trio_s2s.partners import Partners
from trio_s2s.peer import InboundPeer, Peer
from trio_s2s.registry import Peers
from trio_s2s.runtime import Runtime, current_runtime
from trio_s2s.statistics import (
    ApplicationStatistics,
    ConnectionCounts,
    PeerReport,
    PeerStatistics,
    sum_up,
)

__all__ = ["CreatePeer", "Farewell", "Node"]

CreatePeer = Callable[[InitRequest], InboundPeer]


@attrs.frozen
class Farewell:
    """With what a connection ends when the task that owns it is cancelled."""

    reason: DisconnectReason
    detail: str
    code: CloseCode


CANCELLED: Final = Farewell(
    DisconnectReason.LOCAL_CLOSE,
    "the task that owns the peer was cancelled",
    CloseCode.CLOSED,
)


def _accepts_nobody(init_request: InitRequest) -> InboundPeer:
    raise AssertionError("this side only dials")


@attrs.define(eq=False, kw_only=True)
class Node:
    """What all connections of one server share: an application, or a lone `serve_*`."""

    name: str = ""
    """The application's; empty: any name that a dialler wants will do."""
    create_peer: CreatePeer = _accepts_nobody
    server_lost: Callable[[str], Awaitable[None]] | None = None
    config: PeerConfig
    server_id: str = ""
    version: str = ""
    farewell: Farewell = CANCELLED
    runtime: Runtime = attrs.field(factory=current_runtime.get)
    peers: Peers = attrs.field(factory=Peers)
    journal: Journal = attrs.field(factory=Journal)
    identity: Identity = attrs.field(init=False)
    partners: Partners = attrs.field(init=False)
    makers: dict[str, Callable[[], Peer]] = attrs.field(factory=dict, init=False)
    """What makes the peer of a server that this one dials as well, by its id."""
    living: dict[int, tuple[Peer, bool]] = attrs.field(factory=dict, init=False)
    """The peers that are welcomed and not over; True for those that we dialled.

    By `id`: an application's class may compare by value, or have no hash.
    """
    handshaking: dict[bool, int] = attrs.field(init=False)
    welcoming: int = attrs.field(default=0, init=False)
    """Those who are let in, and do not live yet."""
    grace: float | None = attrs.field(default=None, init=False)
    """Seconds that connections have to finish; None: the server is not stopping."""
    reports: list[PeerReport] = attrs.field(factory=list, init=False)
    """What became of the peers that ended since the server was stopped."""
    _rejections: Counter[FailureReason] = attrs.field(factory=Counter, init=False)
    _failures: Counter[FailureReason] = attrs.field(factory=Counter, init=False)
    _ends: Counter[DisconnectReason] = attrs.field(factory=Counter, init=False)
    _total: PeerStatistics = attrs.field(factory=lambda: sum_up([]), init=False)
    _moved: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )

    def __attrs_post_init__(self) -> None:
        new = self.runtime.new_instance_id()
        self.identity = Identity(new, self.server_id, self.version)
        self.partners = Partners(self.identity, self._lost)
        self.handshaking = {False: 0, True: 0}

    # -- the life of a connection --

    def make_peer(self, request: InitRequest) -> InboundPeer:
        """Make the peer of a connection that wants in; an exception says no."""
        maker = self.makers.get(request.server_id) if request.server_id else None
        if maker is None:
            peer = self.create_peer(request)
            if isinstance(peer, InboundPeer):
                return peer
            raise TypeError(f"create_peer made {peer!r}, which is no InboundPeer")
        shared = maker()
        if isinstance(shared, InboundPeer):
            return shared
        raise ConnectionRejectedError(
            CloseCode.IDENTITY,
            f"{self.server_id!r} dials {request.server_id!r} itself, and that peer"
            f" can't accept: derive {type(shared).__name__} from InboundPeer as well",
        )

    def rejected(self, cause: FailureReason) -> None:
        """Count a connection that was turned away."""
        self._rejections[cause] += 1

    def failed(self, cause: FailureReason) -> None:
        """Count an attempt to connect that failed."""
        self._failures[cause] += 1

    @contextlib.contextmanager
    def welcomes(self) -> Iterator[None]:
        """Let a stop wait for somebody who is about to be let in."""
        self.welcoming += 1
        try:
            yield
        finally:
            self.welcoming -= 1
            self._moved.unpark_all()

    def began(self, peer: Peer, *, dialled: bool) -> None:
        """Take note of a peer that was welcomed."""
        self.living[id(peer)] = peer, dialled
        if self.grace is not None:
            self._say_goodbye(peer, self.grace)

    def ended(self, peer: Peer, *, was_connected: bool) -> None:
        """Take note of a peer that is over, with its hooks, if they have run."""
        _, was_dialled = self.living.pop(id(peer))
        session = peer._session
        assert session is not None
        reason = session.connection.ending.reason
        assert reason is not None
        if was_connected:
            self._ends[reason] += 1
        elif not was_dialled:
            self.rejected(FailureReason.CLOSED_DURING_HANDSHAKE)
        closed = attrs.evolve(
            session.statistics(), round_trip_time=None, bytes_waiting=0
        )
        self._total = sum_up([self._total, closed])
        if self.grace is not None:
            name = peer.server_id or peer.remote_address
            self.reports.append(session.report(name))
        self._moved.unpark_all()

    def hook_runs(self, peer: Peer, hook: str, why: str = "") -> None:
        """Let the link know of a hook, and the runtime, which may be a test's."""
        if peer._link is not None:
            peer._link._hook_runs(peer, hook)
        self.runtime.hook_runs(self.name, peer.server_id, hook, why)

    async def _lost(self, server_id: str) -> None:
        """Tell the application that a server will not come back as the same."""
        assert self.server_lost is not None  # Only applications have partners.
        hook = partial(self.server_lost, server_id)
        await run_last_hook(hook, self.name, "server_lost", self.config.hook_timeout)

    # -- the end of all --

    def stop(self, grace: float) -> None:
        """Say goodbye to all, who may finish; there will be no others."""
        if self.grace is not None:
            return
        self.grace = grace
        self.peers.close()
        for peer, _ in list(self.living.values()):
            self._say_goodbye(peer, grace)

    async def all_ended(self) -> None:
        """Wait until the last connection is over."""
        while self.living or self.welcoming:
            await self._moved.park()

    def _say_goodbye(self, peer: Peer, grace: float) -> None:
        session = peer._session
        assert session is not None
        connection = session.connection
        session.running_at_stop = len(connection.protocol.running)
        connection.work.shorten(grace)
        farewell = self.farewell
        connection.say_goodbye(farewell.reason, farewell.detail, farewell.code)

    # -- counting --

    def statistics(self) -> ApplicationStatistics:
        """Count what has happened so far."""
        sessions = (peer._session for peer, _ in self.living.values())
        parts = [self._total, *(one.statistics() for one in sessions if one)]
        return ApplicationStatistics(
            inbound=self._count(self.handshaking[False], dialled=False),
            outbound=self._count(self.handshaking[True], dialled=True),
            rejections=MappingProxyType(dict(self._rejections)),
            failures=MappingProxyType(dict(self._failures)),
            ends=MappingProxyType(dict(self._ends)),
            total=sum_up(parts),
        )

    def _count(self, handshaking: int, *, dialled: bool) -> ConnectionCounts:
        states = Counter(map(self._state, self._of_side(dialled)))
        return ConnectionCounts(handshaking=handshaking, **states)

    def _of_side(self, dialled: bool) -> Iterable[Peer]:
        return (peer for peer, side in self.living.values() if side is dialled)

    def _state(self, peer: Peer) -> str:
        assert peer._session is not None
        if peer._session.connection.ending.reason is not None:
            return "ending"
        return "connected" if peer in self.peers else "connecting"
