"""Twin of `listener.py`: what a listener may be, and that its own limits hold."""

import re
import ssl
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.network import Caller, InMemory, Worker, memory
from trio_s2s import (
    Application,
    FailureReason,
    InboundPeer,
    InitRequest,
    ListenerConfig,
    ListenError,
    LocalProtocolError,
    PeerConfig,
    open_application,
)

Clock = trio.testing.MockClock


# -- what it may be --


def test_listener_has_the_defaults_that_are_promised() -> None:
    assert attrs.asdict(ListenerConfig(4520)) == {
        "port": 4520,
        "host": "127.0.0.1",
        "backlog": None,
        "ssl_context": None,
        "insecure": False,
        "config": None,
    }


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"port": -1}, "port is a whole number, 0 to 65535, not -1"),
        ({"port": 65536}, "port is a whole number, 0 to 65535, not 65536"),
        ({"port": "80"}, "port is a whole number, 0 to 65535, not '80'"),
        ({"host": ""}, "host is a text that is not empty, not ''"),
        ({"host": None}, "host is a text that is not empty, not None"),
        ({"backlog": 0}, "backlog is a whole number from 1 to 65,535, not 0"),
        ({"backlog": 65536}, "backlog is a whole number from 1 to 65,535, not 65536"),
        ({"backlog": True}, "backlog is a whole number from 1 to 65,535, not True"),
        ({"ssl_context": True}, "ssl_context is an ssl.SSLContext, not True"),
        ({"ssl_context": ssl.create_default_context()}, "this ssl_context is for dial"),
        ({"insecure": 1}, "insecure is True or False, not 1"),
        ({"config": {}}, "config is a PeerConfig, not {}"),
        ({"host": "0.0.0.0"}, "listening on 0.0.0.0 would send everything in plain"),
    ],
)
def test_listener_refuses_what_makes_no_sense(
    options: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}"):
        ListenerConfig(**{"port": 4520, **options})


def test_listener_takes_what_makes_sense() -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ListenerConfig(0, host="0.0.0.0", ssl_context=server, backlog=1)
    ListenerConfig(65535, host="::", insecure=True, backlog=65535)
    ListenerConfig(port=4520, config=PeerConfig())


def test_listener_is_frozen_and_takes_all_but_the_port_by_name() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ListenerConfig(4520).port = 5  # type: ignore[misc]  # what must not work
    with pytest.raises(TypeError, match="positional"):
        ListenerConfig(4520, "localhost")  # type: ignore[call-arg]  # nor this


# -- an application that listens by it --


class Backlogs(InMemory):
    """Notes how many connections the system is asked to hold."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, str, Any]] = []

    async def open_tcp_listeners(self, port: int, host: str, backlog: Any) -> Any:
        self.asked.append((port, host, backlog))
        return await super().open_tcp_listeners(port, host, backlog)


class Master(Application):
    """Listens on one port with limits of its own, on another with everybody's."""

    own = PeerConfig(max_frame=2048, handshake_timeout=1.5, heartbeat_interval=0.5)

    async def setup(self) -> None:
        await self.listen(ListenerConfig(4520, config=self.own))
        await self.listen(ListenerConfig(4521))

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return Worker(init_request)


async def test_listener_has_limits_of_its_own(autojump_clock: Clock) -> None:
    """They hold for the connection, and the other side is told of them."""
    client, master = Application("Client", server_id="client"), Master("Master")
    async with memory(), open_application(master), open_application(client):
        for port, max_frame, seconds in ((4520, 2048, 0.5), (4521, 2**19, 2.5)):
            link = client.connect_tcp("localhost", port, Caller)
            dialler: Any = await link.connected()
            peer: Any = await master.peers.wait_for("client")
            config = peer._session.connection.config
            assert config.max_frame == max_frame
            assert config.heartbeat_interval == seconds
            assert dialler._session.connection.protocol.max_frame == max_frame
            link.stop()
            await dialler.disconnect()
            await peer.ended.wait()


async def test_listeners_own_limits_hold_from_the_handshake_on(
    autojump_clock: Clock,
) -> None:
    async with memory() as world, open_application(Master("Master")) as master:
        for port, seconds in ((4520, 1.5), (4521, 5.0)):
            began = trio.current_time()
            stream = world.listeners[port].dial()
            await stream.receive_some()
            assert trio.current_time() - began == pytest.approx(seconds)
        rejections = master.statistics().rejections
        assert rejections == {FailureReason.HANDSHAKE_TIMEOUT: 2}


async def test_listen_gives_the_listeners_and_passes_all_on() -> None:
    world = Backlogs()
    async with memory(world), open_application(Application("Server")) as server:
        with trio.testing.assert_checkpoints():
            listeners = await server.listen(ListenerConfig(7, backlog=5))
        again = await server.listen_tcp(8, host="::", insecure=True, backlog=6)
        opened: list[Any] = [*listeners, *again]
        assert opened == list(world.listeners.values())
    assert world.asked == [(7, "127.0.0.1", 5), (8, "::", 6)]


async def test_listen_says_what_is_wrong() -> None:
    server = Application("Server")
    with pytest.raises(LocalProtocolError, match="use open_application to run it"):
        await server.listen(ListenerConfig(0))
    async with open_application(server):
        [listener] = await server.listen(ListenerConfig(0))
        port = listener.socket.getsockname()[1]
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}: it is in use"):
            await server.listen(ListenerConfig(port))
        await server.stop()
        with pytest.raises(LocalProtocolError, match="takes no more listeners"):
            await server.listen(ListenerConfig(0))
