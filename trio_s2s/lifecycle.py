"""The life of one peer: connected, at work, disconnected with a reason."""

from collections.abc import Callable
from functools import partial

import attrs
import trio

from trio_s2s.bounded import run_last_hook, where_waiting
from trio_s2s.codes import CloseCode, DisconnectReason, Outcome
from trio_s2s.config import PeerConfig
from trio_s2s.connection import Connection
from trio_s2s.dispatch import Dispatcher
from trio_s2s.ending import Ending
from trio_s2s.fields import Identity, Terms
from trio_s2s.forms import show_error
from trio_s2s.framing import FrameDecoder
from trio_s2s.heartbeat import Heartbeat
from trio_s2s.journal import log
from trio_s2s.node import Node
from trio_s2s.pairing import Hold
from trio_s2s.peer import Peer, describe
from trio_s2s.protocol import Protocol
from trio_s2s.runtime import timer
from trio_s2s.session import Session
from trio_s2s.tasks import Tasks, in_acceptor_hook, inside_peers, reported
from trio_s2s.tasktree import task_tree
from trio_s2s.transport import addresses_of
from trio_s2s.windows import Limits

__all__ = ["Life", "claim"]

ANSWERS = 1.0
"""Seconds that `on_operation_response` has for the last answers at the end."""


def claim(peer: Peer) -> None:
    """Take a peer for its one connection; a TypeError if it had one before."""
    if peer._is_claimed:
        raise TypeError(
            f"{describe(peer)} was used before: make a new peer for each connection"
        )
    peer._is_claimed = True


class Life:
    """One connection of one peer, from WELCOME to the end of `on_disconnected`.

    The task that runs it owns the peer: it leaves when all is over. Errors of hooks and
    tasks are logged, or, for an `open_*` block, raised when all is over.
    """

    def __init__(
        self,
        peer: Peer,
        connection: Connection,
        node: Node,
        hold: Hold,
        *,
        is_dialled: bool,
        raises: bool,
    ) -> None:
        self._peer = peer
        self._connection = connection
        self._node = node
        self._hold = hold
        self._config = connection.config
        self._is_dialled = is_dialled
        self.ending: Ending = connection.ending
        self.explains: Callable[[BaseException], bool] = connection.ending.explains
        """Whether an exception only says that this connection has ended."""
        self.server_id: str = peer.server_id
        self._raises = raises
        self._errors: list[Exception] = []
        self.was_connected: bool = False
        """Whether its `on_connected` has begun."""
        self._is_connecting = False
        self._was_started = False

    @classmethod
    def begin(
        cls,
        peer: Peer,
        stream: trio.abc.Stream,
        decoder: FrameDecoder,
        identity: Identity,
        terms: Terms,
        node: Node,
        hold: Hold,
        *,
        is_dialled: bool,
        raises: bool = False,
        config: PeerConfig | None = None,
    ) -> "Life":
        """Make a life of what a handshake has found out."""
        config = config or node.config
        decoder.max_frame = config.max_frame
        peer.server_id = identity.server_id
        peer.local_address, peer.remote_address = addresses_of(stream)
        connection = Connection(
            stream,
            decoder,
            Protocol(Limits.of(config), terms.limits),
            Heartbeat(
                config.heartbeat_interval, terms.heartbeat, config.heartbeat_misses
            ),
            config,
        )
        names = filter(None, (peer.server_id, peer.remote_address))
        connection.ending.who = " at ".join(names)
        return cls(peer, connection, node, hold, is_dialled=is_dialled, raises=raises)

    def leave(self) -> None:
        """Begin the end that leaving an `open_*` block means."""
        self._connection.say_goodbye(
            DisconnectReason.LOCAL_CLOSE, "the block of the peer was left", 0
        )

    async def run(  # noqa: ASYNC128  _connect does it
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Live; `started` tells that `on_connected` has finished."""
        async with trio.open_nursery() as io, trio.open_nursery() as work:
            tasks = Tasks(work, self._peer)
            journal = self._node.journal
            dispatcher = Dispatcher(self._peer, self._connection, tasks, journal)
            session = Session(
                self._connection, tasks, self._task_failed, dispatcher.responded
            )
            inside_peers.set((self._peer,))
            self._peer._session = session
            self._connection.start(io, dispatcher)
            self._node.began(self._peer, dialled=self._is_dialled)
            if self._is_dialled:
                # The acceptor knows by it that its WELCOME has arrived.
                self._connection.ping()
            self._hold.attach(self._connection)
            try:
                if await self._may_connect():
                    tasks.start_soon(
                        self._connect, dispatcher, task_status, name="on_connected"
                    )
                    await self.ending.has_begun.wait()
                    self._node.partners.moved()
                    await self._drain(dispatcher)
            finally:
                try:
                    # All that it waits for is bounded. A limit around it would cut
                    # the last hook off where the whole process has stood still.
                    with trio.CancelScope(shield=True):
                        await self._end(io, session, dispatcher)  # noqa: ASYNC102  shielded
                finally:
                    self._node.partners.release(self._hold)
                    self._node.ended(self._peer, was_connected=self.was_connected)
                    session.finished.set()
        self._raise_errors()

    async def _may_connect(self) -> bool:
        """Wait until it is this connection's turn among those of its pair."""
        if not await self._hold.has_turn(self._config.handshake_timeout):
            return False
        await self._node.partners.begin(self._hold)
        self._peer.resumed = self._hold.resumed
        self.was_connected = self._is_connecting = True
        return True

    # -- connected --

    async def _connect(
        self, dispatcher: Dispatcher, task_status: trio.TaskStatus[None]
    ) -> None:
        limit = self._config.connected_timeout
        place = ""
        has_finished = False
        if not self._is_dialled:
            in_acceptor_hook.set(self._peer)
        failed = partial(self._task_failed, name="on_connected")
        try:
            with reported(failed), timer(limit) as scope:
                try:
                    self._node.hook_runs(self._peer, "on_connected")
                    await self._peer.on_connected()
                    has_finished = True
                except BaseException as error:
                    place = where_waiting(error)
                    raise
        finally:
            self._is_connecting = False
            self._connection.moved()
        if scope.cancelled_caught:
            text = f"on_connected took more than {limit:g} s (connected_timeout)"
            self._fail(f"{text}, waiting at {place}", text)
        if not has_finished:
            return
        if self.ending.reason is None:
            self._was_started = True
            self._node.peers.add(self._peer)
            task_status.started()
        if not self._connection.is_lost:
            # What a short visit left is handled, though its end has begun.
            dispatcher.open()

    def _fail(self, detail: str, told: str) -> None:
        if not self._raises:
            log.error("%s: %s", describe(self._peer), detail)
        self._connection.fail(
            DisconnectReason.INTERNAL_ERROR, detail, CloseCode.INTERNAL, told
        )

    def _task_failed(self, error: Exception, name: str) -> None:
        """Disconnect because a hook or a task raised, unless it only tells the end."""
        if self.ending.explains(error):
            log.debug("%s: %s: %s", describe(self._peer), name, error)
            return
        if self._raises:
            self._errors.append(error)
        else:
            log.error("%s: %s raised", describe(self._peer), name, exc_info=error)
        self._connection.fail(
            DisconnectReason.INTERNAL_ERROR,
            f"{name} raised {show_error(error)}",
            CloseCode.INTERNAL,
            # What it raised is nobody else's business.
            f"{name} raised",
        )

    # -- disconnected --

    async def _drain(self, dispatcher: Dispatcher) -> None:
        await self._connection.drain(
            lambda: self._is_connecting or dispatcher.has_work,
            lambda: dispatcher.has_answers,
        )

    async def _end(
        self, io: trio.Nursery, session: Session, dispatcher: Dispatcher
    ) -> None:
        if self.ending.reason is None:
            self._connection.fail(*attrs.astuple(self._node.farewell))
        self._connection.calls.end_all()
        try:
            await self._end_tasks(session, dispatcher)
        finally:
            # Also if an interrupt has struck in the middle of that.
            await self._disconnected(io)  # noqa: ASYNC102  shielded

    async def _end_tasks(self, session: Session, dispatcher: Dispatcher) -> None:
        limit = self._config.hook_timeout
        with timer(ANSWERS):
            await self._connection.work.wait(lambda: dispatcher.has_answers)
        dispatcher.close()
        session.running_at_end = len(self._connection.protocol.running)
        with timer(limit) as scope:
            await session.tasks.cancel("the peer is disconnected")
        if scope.cancelled_caught:
            log.warning(
                "%s: %d tasks have not ended %g s after their cancellation:\n%s",
                describe(self._peer),
                session.tasks.running,
                limit,
                task_tree(trio.lowlevel.current_task()),
            )

    async def _disconnected(self, io: trio.Nursery) -> None:
        self._connection.finish()
        self._connection.protocol.forget()
        io.start_soon(self._connection.close, name="farewell")
        self._node.peers.remove(self._peer)
        if self.was_connected:
            await run_last_hook(
                self._on_disconnected,
                describe(self._peer),
                "on_disconnected",
                self._config.hook_timeout,
                self._errors.append if self._raises else None,
            )
            self._node.partners.end(self._hold, self._known_for)
        await self._connection.closed.wait()

    @property
    def _known_for(self) -> float:
        """Seconds in which the other server may come back as the same."""
        return 0 if self.ending.is_for_good else self._config.resume_ttl

    async def _on_disconnected(self) -> None:
        assert self.ending.reason is not None
        self._node.hook_runs(self._peer, "on_disconnected", self.ending.reason.name)
        await self._peer.on_disconnected(self.ending.reason, self.ending.detail)

    def _raise_errors(self) -> None:
        match self._errors:
            case [] if self._raises and not self._was_started:
                raise self.ending.error(Outcome.NEVER_SENT, "on_connected")
            case []:
                return
            case [error]:
                raise error
        raise ExceptionGroup("several tasks of one peer raised", self._errors)
