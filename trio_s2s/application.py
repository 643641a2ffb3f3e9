"""One server: identity, listeners, links, the registry of peers, broadcast, stop."""

import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar, overload

import trio

from trio_s2s.acceptor import Acceptor
from trio_s2s.backoff import Backoff, Fixed
from trio_s2s.broadcast import Slow, send_to_all
from trio_s2s.codes import CloseCode
from trio_s2s.config import PeerConfig
from trio_s2s.contracts import Event
from trio_s2s.dialler import Target, dial_tcp
from trio_s2s.errors import ConnectionRejectedError, LocalProtocolError
from trio_s2s.fields import check_server_id
from trio_s2s.link import Link
from trio_s2s.linking import LinkConfig
from trio_s2s.listener import ListenerConfig
from trio_s2s.listening import open_listeners
from trio_s2s.messages import EventData, InitRequest
from trio_s2s.peer import InboundPeer, OutboundPeer, Peer
from trio_s2s.registry import Peers
from trio_s2s.running import Running
from trio_s2s.statistics import ApplicationStatistics, StopReport

__all__ = ["Application"]

P = TypeVar("P", bound=OutboundPeer)

_RETRY: Final = Backoff()


class Application:
    """One server, to be subclassed; `open_application` or `run_application` runs it.

    Photon: `ApplicationBase`.
    """

    links: Mapping[str, Link[Any]] = MappingProxyType({})
    """The links that a settings file names, by name, once `setup` has finished; those
    that `connect_tcp` gives are the caller's to keep."""

    def __init__(
        self,
        name: str,
        *,
        server_id: str = "",
        version: str = "",
        config: PeerConfig | None = None,
    ) -> None:
        """Make an application that does not run yet.

        Args:
            name: What diallers ask for with `application_name`; one who asks for
                another is refused.
            server_id: The name of this very server, 1 to 64 of A-Z a-z 0-9 . _ -;
                empty: it is anonymous. Two servers that have one share one connection.
            version: Of the application, told to the other side.
            config: Limits and timeouts of all its connections.
        """
        if not name:
            raise ValueError(f"an application has a name, not {name!r}")
        check_server_id(server_id, may_be_empty=True)
        self.name = name
        self.server_id = server_id
        self.version = version
        self.config: PeerConfig = config or PeerConfig()
        self._run: Running | None = None
        self._openings: Sequence[ListenerConfig | LinkConfig] = ()

    def __repr__(self) -> str:
        """Say who it is, for a log."""
        name = f"{self.name} {self.server_id}".rstrip()
        run = self._run
        stopped = "stopped" if run and run.stopped.is_set() else "running"
        state = stopped if run else "not running yet"
        return f"<{type(self).__name__} {name}, {state}>"

    @property
    def peers(self) -> Peers:
        """The peers that are connected, inbound and outbound."""
        return self._running.node.peers

    # -- hooks, to be overridden --

    async def setup(self) -> None:
        """Run once, first of all: listen, and open links. Photon: `Setup`.

        Nobody is accepted before it has finished.
        """

    async def tear_down(self) -> None:
        """Run once after `setup` has begun, when all peers have ended.

        Photon: `TearDown`. It is shielded from cancellation for `hook_timeout`.
        """

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        """Make the peer of a connection that wants in. Photon: `CreatePeer`.

        Raise ConnectionRejectedError with a code above 0 and a text to say no; the
        dialler sees both. It must be quick: it is the only code of the application
        that runs before the other side is welcome.
        """
        raise ConnectionRejectedError(
            CloseCode.UNKNOWN_APPLICATION,
            f"{self.name} accepts no connections (it has no create_peer)",
        )

    async def server_lost(self, server_id: str) -> None:
        """Run when a server that was connected will not come back as the same.

        That is `resume_ttl` after its connection was lost, at once after a goodbye, or
        before the `on_connected` of a new instance of it. Forget here what belonged to
        it. Photon: a game server's context that timed out. At most `hook_timeout`.
        """

    # -- listening and linking --

    async def listen(self, listener: ListenerConfig) -> Sequence[trio.SocketListener]:
        """Accept peers by TCP for as long as the application runs.

        Which listener a connection came by, `create_peer` sees from
        `init_request.local_port`. Closing a listener that it gives ends the peers that
        this one has accepted.

        Raises:
            ListenError: The port can't be listened on.
            LocalProtocolError: The application does not run, or it stops.

        Cancellation: nothing listens then.
        """
        running = self._at_work
        listeners = await open_listeners(listener, running.node.runtime)
        if running.stopped.is_set():
            with trio.CancelScope(shield=True):  # It does not wait.
                for opened in listeners:
                    await trio.aclose_forcefully(opened)
            raise self._too_late()
        acceptor = Acceptor([running.node], listener.ssl_context, listener.config)
        running.listen(listeners, acceptor)
        return listeners

    async def listen_tcp(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        ssl_context: ssl.SSLContext | None = None,
        insecure: bool = False,
        backlog: int | None = None,
    ) -> Sequence[trio.SocketListener]:
        """Accept peers by TCP: `listen`, with the fields of a `ListenerConfig`."""
        return await self.listen(
            ListenerConfig(
                port,
                host=host,
                ssl_context=ssl_context,
                insecure=insecure,
                backlog=backlog,
            )
        )

    @overload
    def connect_tcp(
        self,
        host: Target,
        port: int | None,
        peer: Callable[[], P],
        *,
        application_name: str = "",
        init_object: Any = None,
        server_id: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        insecure: bool = False,
        retry: Backoff | Fixed = _RETRY,
    ) -> Link[P]: ...

    @overload
    def connect_tcp(
        self,
        host: Target,
        port: int | None,
        *,
        application_name: str = "",
        init_object: Any = None,
        server_id: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        insecure: bool = False,
        retry: Backoff | Fixed = _RETRY,
    ) -> Link[OutboundPeer]: ...

    def connect_tcp(
        self,
        host: Target,
        port: int | None,
        peer: Callable[[], Any] = OutboundPeer,
        *,
        application_name: str = "",
        init_object: Any = None,
        server_id: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        insecure: bool = False,
        retry: Backoff | Fixed = _RETRY,
    ) -> Link[Any]:
        """Keep a connection to another server for as long as the application runs.

        Photon: `ConnectTcp` in `Setup`, and all that has to be done by hand to come
        back. The arguments are those of `open_tcp_peer`, and:

        Args:
            host: May be an async function as well that finds host and port for each
                attempt, for instance in a directory; then `port` is None.
            peer: Makes a new peer for each attempt.
            server_id: Whom it must reach. Needed where that server dials this one as
                well: two servers share one connection. `peer` then makes a class of
                both `InboundPeer` and `OutboundPeer`, for whoever has dialled.
            retry: How long it waits between attempts.

        It returns at once; `await link.connected()` waits.
        """
        if not callable(peer):
            raise TypeError(f"pass the class of the peer, or a function, not {peer!r}")
        dialler = dial_tcp(
            self._at_work.node,
            host,
            port,
            application_name=application_name,
            init_object=init_object,
            server_id=server_id,
            ssl_context=ssl_context,
            insecure=insecure,
            raises=False,
        )
        dialler.hello()  # So that an init object that can't travel is told here.
        return self._running.link(dialler, peer, retry)

    # -- talking to many --

    async def broadcast(
        self, event: Event | EventData, peers: Iterable[Peer], *, slow: Slow = "wait"
    ) -> list[Peer]:
        """Send an event to many peers, packed once. Photon: `SendTo`.

        Args:
            event: As for `Peer.send_event`.
            peers: For instance `application.peers`.
            slow: What becomes of a peer that can't take it now: `"wait"` for it, while
                the others have it already, `"skip"` it, or `"disconnect"` it.

        Gives the peers that were missed: skipped or disconnected ones, those that ended
        meanwhile, and those that take no event of this size.

        Cancellation: those that wait do not get it, the others do.
        """
        return await send_to_all(event, peers, slow, self.config.max_elements)

    # -- the end, and counting --

    async def stop(self, grace: float | None = None) -> StopReport:
        """Stop gracefully: no new work, running requests finish, then all ends.

        Listeners close, links dial no more, every peer says goodbye (the other side
        sees SHUTDOWN) and has `grace` seconds, by default `drain_timeout`, for what was
        accepted. Returns when the last `on_disconnected` has run, with what became of
        each peer's work; from inside a hook, handler or task of a peer it starts the
        end and returns. Another call changes nothing, and waits as well.

        Cancellation: the stop goes on without the caller.
        """
        grace = self.config.drain_timeout if grace is None else grace
        if not grace >= 0:
            raise ValueError(f"grace is a number of seconds from 0 on, not {grace!r}")
        return await self._running.stop(grace)

    def statistics(self) -> ApplicationStatistics:
        """Count what has happened on all its connections."""
        return self._running.node.statistics()

    @property
    def _running(self) -> Running:
        if self._run is None:
            raise LocalProtocolError(f"{self!r}: use open_application to run it")
        return self._run

    @property
    def _at_work(self) -> Running:
        if self._running.stopped.is_set():
            raise self._too_late()
        return self._running

    def _too_late(self) -> LocalProtocolError:
        return LocalProtocolError(f"{self!r} takes no more listeners and links")
