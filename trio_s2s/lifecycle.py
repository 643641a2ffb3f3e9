"""The life of one peer: connected, at work, disconnected with a reason."""

import linecache
import traceback
from collections.abc import Awaitable, Callable

import trio

from trio_s2s.codes import CloseCode, DisconnectReason, Outcome
from trio_s2s.config import PeerConfig
from trio_s2s.connection import Connection
from trio_s2s.dispatch import Dispatcher
from trio_s2s.framing import FrameDecoder
from trio_s2s.handshake import Identity, Terms
from trio_s2s.heartbeat import Heartbeat
from trio_s2s.peer import (
    InboundPeer,
    OutboundPeer,
    Peer,
    in_acceptor_hook,
    log,
)
from trio_s2s.protocol import Protocol
from trio_s2s.session import Session
from trio_s2s.tasks import Tasks, inside_peers
from trio_s2s.tasktree import task_tree
from trio_s2s.transport import addresses_of
from trio_s2s.windows import Limits

__all__ = ["Life", "refuse_used", "run_hook"]

_NOT_THE_APPLICATION = {"outcome", "trio", "trio_s2s"}


async def run_hook(
    hook: Callable[[], Awaitable[None]], peer: Peer, name: str, limit: float
) -> None:
    """Run a last hook: shielded and bounded, its errors logged."""
    with trio.move_on_after(limit, shield=True) as scope:
        try:
            await hook()
        except Exception as error:
            log.error("%r: %s raised", peer, name, exc_info=error)
    if scope.cancelled_caught:
        log.error("%r: %s took more than %g s (hook_timeout)", peer, name, limit)


def refuse_used(peer: Peer) -> None:
    """Raise a TypeError for a peer that has had its one connection."""
    if peer._session is not None:
        raise TypeError(f"{peer!r} was connected before: make a new peer for each one")


class Life:
    """One connection of one peer, from WELCOME to the end of `on_disconnected`.

    The task that runs it owns the peer: it leaves when all is over. Errors of hooks and
    tasks are logged, or, for an `open_*` block, raised when all is over.
    """

    def __init__(self, peer: Peer, connection: Connection, *, raises: bool) -> None:
        self._peer = peer
        self._connection = connection
        self._config = connection.config
        self._ending = connection.ending
        self.explains: Callable[[BaseException], bool] = connection.ending.explains
        """Whether an exception only says that this connection has ended."""
        self._raises = raises
        self._errors: list[Exception] = []
        self._is_connecting = True
        self._was_started = False

    @classmethod
    def begin(
        cls,
        peer: Peer,
        stream: trio.abc.Stream,
        decoder: FrameDecoder,
        identity: Identity,
        terms: Terms,
        config: PeerConfig,
        *,
        raises: bool,
    ) -> "Life":
        """Make a life of what a handshake has found out."""
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
        return cls(peer, connection, raises=raises)

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
            dispatcher = Dispatcher(self._peer, self._connection, tasks)
            session = Session(
                self._connection, tasks, self._task_failed, dispatcher.responded
            )
            inside_peers.set((self._peer,))
            self._peer._session = session
            self._connection.start(io, dispatcher)
            if isinstance(self._peer, OutboundPeer):
                # The acceptor knows by it that its WELCOME has arrived.
                self._connection.ping()
            try:
                tasks.start_soon(
                    self._connect, dispatcher, task_status, name="on_connected"
                )
                await self._ending.has_begun.wait()
                await self._drain(dispatcher)
            finally:
                with trio.move_on_after(self._leave_timeout, shield=True):
                    await self._end(io, tasks, dispatcher)
                session.finished.set()
        self._raise_errors()

    @property
    def _leave_timeout(self) -> float:
        # A little more than the sum of the bounds within, which are what is promised.
        return 2 * self._config.hook_timeout + 2.0

    # -- connected --

    async def _connect(
        self, dispatcher: Dispatcher, task_status: trio.TaskStatus[None]
    ) -> None:
        limit = self._config.connected_timeout
        place = ""
        if isinstance(self._peer, InboundPeer):
            in_acceptor_hook.set(self._peer)
        try:
            with trio.move_on_after(limit) as scope:
                try:
                    await self._peer.on_connected()
                except trio.Cancelled as cancelled:
                    place = _place(cancelled)
                    raise
        except Exception as error:
            self._task_failed(error, "on_connected")
            return
        finally:
            self._is_connecting = False
            self._connection.moved()
        if scope.cancelled_caught:
            text = f"it took more than {limit:g} s (connected_timeout), in {place}"
            self._task_failed(TimeoutError(text), "on_connected")
        elif self._ending.reason is None:
            self._was_started = True
            task_status.started()
            dispatcher.open()

    def _task_failed(self, error: Exception, name: str) -> None:
        """Disconnect because a hook or a task raised, unless it only tells the end."""
        if self._ending.explains(error):
            log.debug("%r: %s ended with its connection: %s", self._peer, name, error)
            return
        if self._raises:
            self._errors.append(error)
        else:
            log.error("%r: %s raised", self._peer, name, exc_info=error)
        self._connection.fail(
            DisconnectReason.INTERNAL_ERROR,
            f"{name} raised {type(error).__name__}: {error}",
            CloseCode.INTERNAL,
        )

    # -- disconnected --

    async def _drain(self, dispatcher: Dispatcher) -> None:
        with trio.move_on_after(self._config.drain_timeout):
            await self._connection.drain(
                lambda: self._is_connecting or dispatcher.has_work,
                lambda: dispatcher.has_answers,
            )

    async def _end(
        self, io: trio.Nursery, tasks: Tasks, dispatcher: Dispatcher
    ) -> None:
        limit = self._config.hook_timeout
        if self._ending.reason is None:
            self._connection.fail(
                DisconnectReason.LOCAL_CLOSE,
                "the task that owns the peer was cancelled",
                CloseCode.CLOSED,
            )
        dispatcher.close()
        with trio.move_on_after(limit) as scope:
            await tasks.cancel(f"{self._peer!r} is disconnected")
        if scope.cancelled_caught:
            log.warning(
                "%r: %d tasks have not ended %g s after their cancellation:\n%s",
                self._peer,
                tasks.running,
                limit,
                task_tree(trio.lowlevel.current_task()),
            )
        self._connection.finish()
        io.start_soon(self._connection.close, name="farewell")
        await run_hook(self._on_disconnected, self._peer, "on_disconnected", limit)
        await self._connection.closed.wait()

    async def _on_disconnected(self) -> None:
        assert self._ending.reason is not None
        await self._peer.on_disconnected(self._ending.reason, self._ending.detail)

    def _raise_errors(self) -> None:
        match self._errors:
            case [] if self._raises and not self._was_started:
                raise self._ending.error(Outcome.NEVER_SENT, "on_connected")
            case []:
                return
            case [error]:
                raise error
        raise ExceptionGroup("several tasks of one peer raised", self._errors)


def _place(error: BaseException) -> str:
    """Name the line of the application in which a hook was waiting."""
    place = "?"
    for frame, line in traceback.walk_tb(error.__traceback__):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in _NOT_THE_APPLICATION:
            code = frame.f_code
            text = linecache.getline(code.co_filename, line).strip()
            place = f"{text!r} ({code.co_name}, {code.co_filename}:{line})"
    return place
