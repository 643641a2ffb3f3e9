"""What an application has while it runs: its tasks, and what they share."""

import contextvars
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import trio

from trio_s2s.acceptor import Acceptor
from trio_s2s.backoff import Backoff, Fixed
from trio_s2s.dialler import Dialler
from trio_s2s.errors import ListenError
from trio_s2s.journal import log
from trio_s2s.link import Link
from trio_s2s.listening import accept_from, listener_name
from trio_s2s.node import Node
from trio_s2s.peer import OutboundPeer
from trio_s2s.runtime import Listeners
from trio_s2s.statistics import StopReport
from trio_s2s.tasks import inside_peers
from trio_s2s.transport import closing

__all__ = ["Running"]

P = TypeVar("P", bound=OutboundPeer)


class Running:
    """One run of one application; its nursery owns every listener and every link."""

    def __init__(self, node: Node, nursery: trio.Nursery) -> None:
        self.node = node
        self.stopped: trio.Event = trio.Event()
        """Set when it begins to stop."""
        self._nursery = nursery
        self._links: list[Link[Any]] = []
        self._remembering = trio.CancelScope()
        self._listeners: dict[trio.abc.Listener[Any], trio.CancelScope] = {}
        self._may_accept = trio.Event()
        # What is opened in a handler must not inherit what belongs to one request.
        self._context = contextvars.copy_context()
        if node.server_id:
            self._start(self._remember, "memory of servers that were lost")

    async def _remember(self) -> None:
        with self._remembering:
            await self.node.partners.forget_in_time()

    @property
    def listeners(self) -> Listeners:
        """Those that accept, or will when `setup` has finished."""
        return list(self._listeners)

    def open(self) -> None:
        """Let the listeners accept: `setup` has finished."""
        self._may_accept.set()

    def listen(self, listeners: Listeners, acceptor: Acceptor) -> None:
        """Accept connections from listeners, each a task."""
        for listener in listeners:
            self._listeners[listener] = trio.CancelScope()
            name = f"listener {listener_name(listener)}"
            self._start(partial(self._listen, listener, acceptor), name)

    async def _listen(
        self, listener: trio.abc.Listener[Any], acceptor: Acceptor
    ) -> None:
        async with closing(listener):
            await self._may_accept.wait()
            await accept_from(
                listener,
                acceptor.serve,
                self.node.journal,
                self._broken,
                accepting=self._listeners[listener],
            )
        del self._listeners[listener]

    def _broken(self, error: ListenError) -> None:
        # The other listeners of this server live on.
        log.error("%s: %s", self.node.name, error)

    def link(
        self, dialler: Dialler, create_peer: Callable[[], P], retry: Backoff | Fixed
    ) -> Link[P]:
        """Keep a connection, as a task."""
        link = Link(dialler, create_peer, retry)
        self._links.append(link)
        if dialler.server_id:
            self.node.makers.setdefault(dialler.server_id, link.make_peer)
        self._start(link.keep, f"link to {dialler.where}")
        return link

    def _start(self, task: Callable[[], Awaitable[None]], name: str) -> None:
        self._context.run(partial(self._nursery.start_soon, task, name=name))

    async def stop(self, grace: float) -> StopReport:
        """Begin the end of everything, and wait for that of every peer."""
        self.stopped.set()
        self._may_accept.set()
        for accepting in self._listeners.values():
            accepting.cancel(reason="the application stops")
        for link in self._links:
            link.stop()
        self._remembering.cancel(reason="the application stops")
        self.node.stop(grace)
        # Only now, or they would seem to be broken; who is cancelled leaves it to them.
        for listener in list(self._listeners):
            await listener.aclose()
        await trio.lowlevel.checkpoint()
        if not any(id(peer) in self.node.living for peer in inside_peers.get()):
            await self.node.all_ended()
        is_finished = not self.node.living
        return StopReport(tuple(self.node.reports), is_finished=is_finished)

    def cancel(self) -> None:
        """End everything at once, with a goodbye but without waiting for work."""
        self.stopped.set()
        self.node.peers.close()
        for link in self._links:
            link.stop()
        self._nursery.cancel_scope.cancel(reason="the application ends")
