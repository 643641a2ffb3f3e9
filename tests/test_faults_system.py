"""What names, ports, sockets and memory can do to a server."""

import errno
import os
import socket
import struct
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.hostile import served, shaken
from tests.peers import Acceptor, Dialler, Echo, Note, Server, linked
from tests.steps import Far
from trio_s2s import (
    Application,
    ConnectionFailedError,
    DisconnectReason,
    FailureReason,
    InboundPeer,
    InitRequest,
    ListenError,
    Outcome,
    PeerDisconnectedError,
    SendParameters,
    open_application,
    open_peer,
    open_tcp_peer,
    run_application,
    serve_peers,
    serve_tcp,
)
from trio_s2s.codec import unpack_messages
from trio_s2s.runtime import Runtime, current_runtime

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture
settled = trio.testing.wait_all_tasks_blocked

HOME = "127.0.0.1"


async def fail_to_open(host: str, port: int, **options: Any) -> ConnectionFailedError:
    """Fail to connect; the hook saw the very same error."""
    peer = Dialler()
    with pytest.raises(ConnectionFailedError) as caught:
        async with open_tcp_peer(host, port, lambda: peer, insecure=True, **options):
            raise AssertionError("not reached")
    assert peer.record == [f"failed {caught.value.reason.name}"]
    return caught.value


class Resolver(trio.abc.HostnameResolver):
    """Answers each look-up as the test wants it."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self.answers = list(answers)

    async def getaddrinfo(self, host: Any, port: Any, *args: Any) -> list[Any]:
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        stream = socket.AF_INET, socket.SOCK_STREAM, 6, ""
        return [(*stream, (address, port)) for address in answer]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise AssertionError("not asked for")


def resolve(*answers: list[str] | OSError) -> Resolver:
    """Put a resolver in place, for this Trio run."""
    resolver = Resolver(*answers)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver


# -- names --


@pytest.mark.parametrize(
    ("number", "text"),
    [
        pytest.param(
            socket.EAI_NONAME, "Name or service not known", id="G01 no such name"
        ),
        pytest.param(
            socket.EAI_AGAIN,
            "Temporary failure in name resolution",
            id="G02 no server",
        ),
    ],
)
async def test_look_up_that_fails(number: int, text: str) -> None:
    resolve(socket.gaierror(number, text), socket.gaierror(number, text))
    error = await fail_to_open("nobody.test", 4520)
    assert error.reason is FailureReason.DNS_ERROR
    assert "nobody.test:4520" in str(error)
    assert text in str(error)
    assert isinstance(error.__cause__, socket.gaierror)
    with pytest.raises(ListenError, match=text):
        await serve_tcp(Acceptor, 0, host="nobody.test", insecure=True)


@pytest.mark.parametrize("name", ["a..b", "x" * 70, f"a.{'x' * 64}.test", ".lead"])
async def test_g04_name_that_can_be_none(name: str) -> None:
    error = await fail_to_open(name, 4520)
    assert error.reason is FailureReason.INVALID_ADDRESS
    with pytest.raises(ListenError, match="no valid host name"):
        await serve_tcp(Acceptor, 0, host=name, insecure=True)


class DeadSockets(trio.abc.SocketFactory):
    """Makes sockets whose connections are never answered."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def socket(self, *args: Any) -> Any:
        made = DeadSocket()
        self.made.append(made)
        return made


class DeadSocket(trio.socket.SocketType):
    """Waits for an answer for ever."""

    def __init__(self) -> None:
        self.is_closed = False

    def setsockopt(self, *args: Any) -> None: ...

    async def connect(self, address: Any) -> None:
        await trio.sleep_forever()

    def close(self) -> None:
        self.is_closed = True


async def test_g05_fifty_dead_addresses_take_connect_timeout_in_all(
    autojump_clock: Clock,
) -> None:
    resolve([f"192.0.2.{number}" for number in range(1, 51)])
    factory = DeadSockets()
    trio.socket.set_custom_socket_factory(factory)
    began = trio.current_time()
    error = await fail_to_open("many.test", 4520)
    assert trio.current_time() - began == pytest.approx(10)
    assert error.reason is FailureReason.CONNECT_TIMEOUT
    # Each gets a quarter of a second before the next is tried as well.
    assert len(factory.made) > 30
    assert all(made.is_closed for made in factory.made)


class Impatient(Runtime):
    """Comes back without a pause."""

    def uniform(self, most: float) -> float:
        return 0.0


async def test_g06_each_attempt_looks_the_name_up_anew(
    nursery: trio.Nursery,
) -> None:
    current_runtime.set(Impatient())
    [listener] = await nursery.start(partial(serve_tcp, Acceptor, 0))
    port = listener.socket.getsockname()[1]
    wrong = socket.gaierror(socket.EAI_AGAIN, "not now")
    resolver = resolve(wrong, ["127.0.0.2"], ["127.0.0.1"])
    failed: list[str] = []

    class Tried(Dialler):
        async def on_failed(self, error: ConnectionFailedError) -> None:
            failed.append(error.reason.name)

    async with open_application(Application("Client")) as client:
        link = client.connect_tcp("moves.test", port, Tried, insecure=True)
        peer = await link.connected()
        assert peer.remote_address == f"127.0.0.1:{port}"
    assert failed == ["DNS_ERROR", "REFUSED"]
    assert resolver.answers == []
    nursery.cancel_scope.cancel()


# -- ports --

PORTS = [
    pytest.param(-1, id="G07"),
    pytest.param(65536, id="G08"),
    pytest.param("x", id="G09 text"),
    pytest.param(4520.0, id="G09 float"),
    pytest.param(True, id="G09 bool"),
]


@pytest.mark.parametrize("port", PORTS)
async def test_port_that_is_none_is_a_value_error_at_once(port: Any) -> None:
    with pytest.raises(ValueError, match="port is"):
        open_tcp_peer(HOME, port)
    with pytest.raises(ValueError, match="port is"):
        await serve_tcp(Acceptor, port)
    async with open_application(Application("Any")) as application:
        with pytest.raises(ValueError, match="port is"):
            application.connect_tcp(HOME, port)
        with pytest.raises(ValueError, match="port is"):
            await application.listen_tcp(port)


class Listens(Application):
    """Listens where the test says, and notes its hooks."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__("Listens")
        self.where = host, port
        self.hooks: list[str] = []

    async def setup(self) -> None:
        self.hooks.append("setup")
        host, port = self.where
        await self.listen_tcp(port, host=host, insecure=True)
        self.hooks.append("listening")

    async def tear_down(self) -> None:
        self.hooks.append("tear_down")


async def fail_to_listen(host: str, port: int) -> str:
    """Fail to listen, as a task and as an application, which leaves nothing."""
    texts = set()
    before = os.listdir("/proc/self/fd")
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            serve = partial(serve_tcp, Acceptor, port, host=host, insecure=True)
            with pytest.raises(ListenError) as caught:
                await nursery.start(serve)
            assert not nursery.child_tasks
            texts.add(str(caught.value))
            application = Listens(host, port)
            with pytest.raises(ListenError) as caught:
                # `nursery.start` of older versions of Trio loses the cause.
                await run_application(application)
            assert application.hooks == ["setup", "tear_down"]
            assert not nursery.child_tasks
            texts.add(str(caught.value))
        assert isinstance(caught.value.__cause__, OSError)
    assert len(os.listdir("/proc/self/fd")) == len(before)
    [text] = texts
    return text


async def test_g10_port_in_use_is_a_listen_error() -> None:
    [other] = await trio.open_tcp_listeners(0, host=HOME)
    async with other:
        port = other.socket.getsockname()[1]
        text = await fail_to_listen(HOME, port)
    assert text == (
        f"cannot listen on {HOME}:{port}: it is in use by another program, or by this"
        " one"
    )


async def test_g11_address_of_another_machine_is_a_listen_error() -> None:
    text = await fail_to_listen("192.0.2.1", 4520)
    assert "this machine does not have the address" in text


class Forbidden(Runtime):
    """May not listen: as root, or where low ports are free, this is not to be had."""

    async def open_tcp_listeners(self, port: int, host: str, backlog: Any) -> Any:
        await trio.lowlevel.checkpoint()
        raise PermissionError(errno.EACCES, "Permission denied")


async def test_g12_low_port_without_rights_is_a_listen_error() -> None:
    current_runtime.set(Forbidden())
    text = await fail_to_listen(HOME, 80)
    assert "permission denied; ports below 1024 need special rights" in text


# -- accepting --


class Faulty:
    """A listening socket whose next attempts to accept fail."""

    def __init__(self, inner: Any, *numbers: int) -> None:
        self.inner = inner
        self.errors = [OSError(number, os.strerror(number)) for number in numbers]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def accept(self) -> Any:
        if self.errors:
            await trio.lowlevel.checkpoint()
            raise self.errors.pop(0)
        return await self.inner.accept()


async def faulty_listener(*numbers: int) -> trio.SocketListener:
    [listener] = await trio.open_tcp_listeners(0, host=HOME)
    faulty: Any = Faulty(listener.socket, *numbers)
    listener.socket = faulty
    return listener


async def test_g15_connections_that_are_gone_already_do_no_harm(
    nursery: trio.Nursery, caplog: Log
) -> None:
    listener = await faulty_listener(
        errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTDOWN
    )
    nursery.start_soon(serve_peers, Far, [listener])
    async with open_tcp_peer(*listener.socket.getsockname()) as peer:
        assert await peer.request(Echo("x")) == "x"
    assert caplog.text == ""
    nursery.cancel_scope.cancel()


class Ports(Application):
    """Accepts everybody at one sound and one faulty port."""

    async def setup(self) -> None:
        self.listeners = [*await self.listen_tcp(0), *await self.listen_tcp(0)]
        faulty: Any = Faulty(self.listeners[0].socket, errno.EFAULT)
        self.listeners[0].socket = faulty

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return Far(init_request)


async def test_g16_any_other_error_ends_its_listener_alone(caplog: Log) -> None:
    async with open_application(Ports("Ports")) as application:
        await settled()
        assert "Ports: no connection can be accepted on" in caplog.text
        assert "Bad address" in caplog.text
        address = application.listeners[1].socket.getsockname()
        async with open_tcp_peer(*address) as peer:
            assert await peer.request(Echo("x")) == "x"
    with pytest.raises(ListenError, match="Bad address"):
        await serve_peers(Far, [await faulty_listener(errno.EFAULT)])


async def test_g17_listener_that_somebody_closes_is_a_listen_error() -> None:
    [listener] = await trio.open_tcp_listeners(0, host=HOME)
    name = f"{HOME}:{listener.socket.getsockname()[1]}"

    async def close() -> None:
        await settled()
        listener.socket.close()

    with pytest.RaisesGroup(ListenError) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_peers, Acceptor, [listener])
            nursery.start_soon(close)
    [error] = caught.value.exceptions
    assert str(error) == f"the listener on {name} was closed"


# -- memory --


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function after which one frame finds no memory."""
    unpack = unpack_messages

    def arm() -> None:
        def fail(body: bytes, max_elements: int) -> Any:
            monkeypatch.setattr("trio_s2s.inbox.unpack_messages", unpack)
            raise MemoryError

        monkeypatch.setattr("trio_s2s.inbox.unpack_messages", fail)

    return arm


async def test_g19_memory_that_runs_out_costs_one_peer(
    no_memory: Any, autojump_clock: Clock, caplog: Log
) -> None:
    async with linked(Far, Dialler) as (peer, server):
        async with open_peer(server.listener.dial(), Dialler) as other:
            await settled()
            no_memory()
            with pytest.raises(PeerDisconnectedError) as caught:
                await peer.request(Echo("x"))
            assert caught.value.outcome is Outcome.REFUSED  # And never ran.
            await trio.sleep(5)
            assert await other.request(Echo("alive")) == "alive"
        assert len(server.peers[0].record) == 2
    assert "MemoryError" in caplog.text


async def test_g19_memory_that_runs_out_is_an_internal_error(
    no_memory: Any, autojump_clock: Clock
) -> None:
    async with linked(Far, Dialler) as (peer, server):
        await settled()
        no_memory()
        with pytest.raises(PeerDisconnectedError):
            await peer.request(Echo("x"))
        await trio.sleep(5)
        assert server.peer.reason is DisconnectReason.INTERNAL_ERROR
        assert peer.reason is DisconnectReason.REPORTED_BY_PEER


# -- pipes --


@pytest.mark.parametrize("is_reset", [True, False], ids=["reset", "half-closed"])
async def test_g22_pipe_that_breaks_is_a_disconnect(
    is_reset: bool, nursery: trio.Nursery
) -> None:
    """The system's EPIPE, of which SIGPIPE would be the other half."""
    server = Server(Acceptor)
    [listener] = await nursery.start(partial(serve_tcp, server.create_peer, 0))
    stream = await trio.open_tcp_stream(*listener.socket.getsockname())
    async with shaken(server, stream) as far:
        await served(far)  # So it is connected, and may send.
        if is_reset:
            linger = struct.pack("ii", 1, 0)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            stream.socket.close()
        else:
            await stream.aclose()
        with pytest.raises(PeerDisconnectedError) as caught:
            while True:
                await server.peer.send_event(Note(1), SendParameters(flush=True))
        await server.peer.ended.wait()
    # Which of them it is, is for the system to say.
    lost = DisconnectReason.CONNECTION_RESET, DisconnectReason.CONNECTION_LOST
    assert server.peer.reason in lost
    assert caught.value.reason is server.peer.reason
    assert server.peer.record[-1:] == [f"disconnected {server.peer.reason.name}"]
