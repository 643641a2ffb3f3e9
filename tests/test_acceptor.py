"""The accepting side of a handshake: whoever comes, the listener lives on."""

import errno
import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.peers import Acceptor, Dialler, Server, linked, start_server, tls_contexts
from tests.streams import LIMITS, Far, fickle_pair, reset_error
from trio_s2s import (
    ConnectionFailedError,
    ConnectionRejectedError,
    FailureReason,
    InboundPeer,
    InitRequest,
    ListenError,
    PeerConfig,
    open_peer,
    open_tcp_peer,
    serve_peers,
    serve_tcp,
)
from trio_s2s.codec import pack
from trio_s2s.codes import CloseCode, Kind
from trio_s2s.fields import Identity
from trio_s2s.framing import encode_frame
from trio_s2s.handshake import hello

Clock = trio.testing.MockClock

FIELDS: dict[Any, Any] = {
    0: "",
    1: bytes(16),
    2: "",
    4: dict(enumerate((LIMITS.max_frame, 1024, 4 * 1024**2, 256 * 1024))),
}
HELLO = hello(Identity(bytes(16)), "", None, PeerConfig())
CLIENT_HELLO = bytes.fromhex("160301020001000 1fc0303".replace(" ", ""))


def frame(*messages: list[Any]) -> bytes:
    return encode_frame(map(pack, messages))


def hello_with(fields: dict[Any, Any], low: int = 1, high: int = 1) -> bytes:
    return frame([Kind.HELLO, "trio-s2s", [low, high], fields])


async def refuse(
    server: Server, caplog: pytest.LogCaptureFixture, sent: bytes
) -> tuple[list[Any] | None, str]:
    """Send bytes to a server; give the REJECT, if one came, and the one log line."""
    caplog.clear()
    caplog.set_level(logging.INFO, "trio_s2s")
    far = Far(server.listener.dial())
    await far.stream.send_all(sent)
    rest = await far.receive_rest()
    await far.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    [record] = caplog.records
    assert len(rest) <= 1
    return (rest[0] if rest else None), record.getMessage()


async def check_alive(server: Server) -> None:
    """See that nobody was made a peer so far, and that the next dialler is served."""
    assert server.peers == []
    async with open_peer(server.listener.dial(), Dialler) as peer:
        assert peer.record == ["connected"]


# -- who gets no answer --

NO_S2S = {
    "wrong magic": (
        frame([Kind.HELLO, "other-s2s", [1, 1], FIELDS]),
        "it said 'other-s2s', not 'trio-s2s'",
    ),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "an HTTP request: a web client?"),
    "TLS": (CLIENT_HELLO, "a TLS ClientHello; this listener has no TLS"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH greeting"),
    "random bytes": (bytes.fromhex("deadbeef55"), "bytes that begin with de ad be ef"),
    "frame of 4097": ((4097).to_bytes(4), "a frame of 4,097 bytes, more than the"),
    "frame of 0": (bytes(4), "a frame of length 0"),
    "rubbish": (encode_frame([b"\xc1\xc1"]), "its first frame is no S2S"),
}


@pytest.mark.parametrize(("sent", "text"), NO_S2S.values(), ids=NO_S2S)
async def test_what_is_no_s2s_is_logged_and_closed(
    sent: bytes, text: str, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(nursery)
    answer, line = await refuse(server, caplog, sent)
    assert answer is None
    assert "refused" in line
    assert text in line
    await check_alive(server)


# -- who is told no --

REJECTED = {
    "versions to come": (
        hello_with(FIELDS, 2, 3),
        CloseCode.VERSION,
        "this side speaks protocol 1 to 1, the dialler 2 to 3",
    ),
    "versions upside down": (hello_with(FIELDS, 1, 0), CloseCode.VERSION, "1 to 0"),
    "a bad name": (
        hello_with(FIELDS | {0: "what ever"}),
        CloseCode.PROTOCOL,
        "HELLO with a wrong server id",
    ),
    "no limits": (
        hello_with({0: "", 1: bytes(16), 2: ""}),
        CloseCode.PROTOCOL,
        "HELLO without its limits (field 4)",
    ),
    "an application that is no text": (
        hello_with(FIELDS | {2: 5}),
        CloseCode.PROTOCOL,
        "HELLO with a wrong application name (field 2): a int",
    ),
    "a short instance id": (
        hello_with(FIELDS | {1: b"short"}),
        CloseCode.PROTOCOL,
        "HELLO with an instance id of 5 bytes, not 16",
    ),
    "a challenge": (
        frame([Kind.CHALLENGE, {}]),
        CloseCode.PROTOCOL,
        "expected HELLO, got CHALLENGE",
    ),
    "a proof": (
        frame([Kind.PROOF, {}]),
        CloseCode.PROTOCOL,
        "expected HELLO, got PROOF",
    ),
    "a welcome": (
        frame([Kind.WELCOME, 1, FIELDS]),
        CloseCode.PROTOCOL,
        "expected HELLO, got WELCOME",
    ),
    "two messages": (
        frame([Kind.PING, 1], [Kind.PING, 2]),
        CloseCode.PROTOCOL,
        "2 messages in one handshake frame",
    ),
    "more than a hello": (
        HELLO + frame([Kind.PING, 1]),
        CloseCode.PROTOCOL,
        "HELLO was followed by more, before WELCOME",
    ),
}


@pytest.mark.parametrize(("sent", "code", "text"), REJECTED.values(), ids=REJECTED)
async def test_wrong_hello_is_rejected_with_code_and_text(
    sent: bytes,
    code: CloseCode,
    text: str,
    nursery: trio.Nursery,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = await start_server(nursery)
    answer, line = await refuse(server, caplog, sent)
    assert answer is not None
    assert answer[:2] == [Kind.REJECT, code]
    assert text in answer[2]
    assert f"rejected with code {code:d}" in line
    assert text in line
    await check_alive(server)


async def test_d16_own_instance_id_is_a_connection_to_oneself(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(nursery)
    async with open_peer(server.listener.dial()) as peer:
        instance_id = peer.init_response.instance_id
    await server.peer.ended.wait()
    server.peers.clear()
    itself = hello(Identity(instance_id), "", None, PeerConfig())
    answer, line = await refuse(server, caplog, itself)
    assert answer is not None
    assert answer[1] == CloseCode.SELF_CONNECTION
    assert "this server has dialled itself" in line
    await check_alive(server)


# -- who leaves, or says nothing --


@pytest.mark.parametrize("sent", [0, 1, 4, 5, len(HELLO) - 1])
async def test_close_during_hello_is_no_more_than_news(
    sent: int, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_s2s")
    server = await start_server(nursery)
    stream = server.listener.dial()
    if sent:
        await stream.send_all(HELLO[:sent])
    await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    [record] = caplog.records
    assert record.levelname == "INFO"
    assert "left before it said hello" in record.getMessage()
    await check_alive(server)


async def test_close_after_hello_is_the_end_of_a_connected_peer(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    server = await start_server(nursery)
    stream = server.listener.dial()
    await stream.send_all(HELLO)
    await stream.receive_some()
    await stream.aclose()
    await trio.sleep(1)
    assert server.peer.record == ["connected", "disconnected CONNECTION_LOST"]


async def test_close_before_welcome_was_taken_runs_no_hook(
    nursery: trio.Nursery, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_s2s")
    server = await start_server(nursery)
    near, far = fickle_pair()
    near.send_error = reset_error()
    server.listener.offer(near)
    await far.stream.send_all(HELLO)
    await trio.sleep(1)
    assert server.peer.record == []
    assert near.is_closed
    assert "it left before it was welcome (connection reset)" in caplog.text
    server.peers.clear()
    await check_alive(server)


async def test_reset_of_a_rejected_dialler_is_no_news(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_s2s")
    server = await start_server(nursery)
    near, far = fickle_pair()
    near.send_error = reset_error()
    server.listener.offer(near)
    await far.stream.send_all(hello_with(FIELDS, 2, 3))
    await trio.testing.wait_all_tasks_blocked()
    [record] = caplog.records
    assert "rejected with code -20" in record.getMessage()
    assert near.is_closed
    await check_alive(server)


@pytest.mark.parametrize("talks", [False, True])
async def test_time_for_a_handshake_is_absolute(
    talks: bool,
    nursery: trio.Nursery,
    autojump_clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = await start_server(nursery)
    stream = server.listener.dial()

    async def talk() -> None:
        for byte in HELLO[:5]:
            await stream.send_all(bytes([byte]))
            await trio.sleep(1)

    if talks:
        nursery.start_soon(talk)
    assert await stream.receive_some() == b""
    assert trio.current_time() == 5
    [record] = caplog.records
    assert "no handshake within 5 s (handshake_timeout)" in record.getMessage()
    what = f"only 1 of {len(HELLO) - 4} bytes of a frame" if talks else "only silence"
    assert what in record.getMessage()
    await check_alive(server)


# -- what the server's own code does --


def rejects(init_request: InitRequest) -> InboundPeer:
    raise ConnectionRejectedError(7, "the server is full")


def fails(init_request: InitRequest) -> InboundPeer:
    raise ValueError("secret")


def gives_nothing(init_request: InitRequest) -> Any:
    return None


def rejects_without_a_code(init_request: InitRequest) -> InboundPeer:
    raise ConnectionRejectedError("the server is full")  # type: ignore[arg-type]  # on purpose


def cannot_answer(init_request: InitRequest) -> InboundPeer:
    peer = Acceptor(init_request)
    peer.response_object = {"when": object()}
    return peer


NO_PEER = "the server could not make a peer; its log says why"


@pytest.mark.parametrize(
    ("create_peer", "code", "told", "logged"),
    [
        (rejects, 7, "the server is full", "the server is full"),
        (fails, -1, NO_PEER, "ValueError: secret"),
        (rejects_without_a_code, -1, NO_PEER, "TypeError: a rejection has"),
        (gives_nothing, -1, NO_PEER, "made None, which is"),
        (
            cannot_answer,
            -1,
            "the server's response object can't travel; its log says why",
            "response_object.when cannot travel",
        ),
    ],
)
async def test_create_peer_decides_before_welcome(
    create_peer: Callable[[InitRequest], Any],
    code: int,
    told: str,
    logged: str,
    nursery: trio.Nursery,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made: list[Any] = []

    def create(init_request: InitRequest) -> Any:
        if init_request.application_name == "good":
            return Acceptor(init_request)
        made.append(create_peer(init_request))
        return made[-1]

    server = await start_server(nursery, create)
    peer = Dialler()
    with pytest.raises(ConnectionRejectedError) as caught:
        async with open_peer(server.listener.dial(), lambda: peer):
            raise AssertionError("not reached")
    assert (caught.value.code, caught.value.debug_message) == (code, told)
    assert peer.record == ["failed REJECTED"]
    assert not made or made[0] is None or made[0].record == []
    [record] = caplog.records
    assert record.levelname == ("WARNING" if code > 0 else "ERROR")
    assert logged in caplog.text
    async with open_peer(server.listener.dial(), application_name="good"):
        pass


async def test_init_object_and_response_object_travel() -> None:
    seen: list[InitRequest] = []

    def create(init_request: InitRequest) -> Acceptor:
        seen.append(init_request)
        peer = Acceptor(init_request)
        peer.response_object = [init_request.init_object, {"room": 5}]
        return peer

    async with trio.open_nursery() as nursery:
        server = await start_server(nursery, create)
        async with open_peer(
            server.listener.dial(),
            application_name="rooms",
            init_object={"token": b"x", 1: None},
        ) as peer:
            assert peer.response_object == [{"token": b"x", 1: None}, {"room": 5}]
        nursery.cancel_scope.cancel()
    [request] = seen
    assert request.application_name == "rooms"
    assert len(request.instance_id) == 16
    assert (request.server_id, request.version) == ("", "")
    assert (request.local_address, request.local_port) == ("", None)
    assert not request.identity_verified


async def test_init_request_knows_the_addresses(nursery: trio.Nursery) -> None:
    peers: list[Acceptor] = []

    def create(init_request: InitRequest) -> Acceptor:
        peers.append(Acceptor(init_request))
        return peers[-1]

    [listener] = await nursery.start(serve_tcp, create, 0)
    port = listener.socket.getsockname()[1]
    async with open_tcp_peer("127.0.0.1", port) as peer:
        request = peers[0].init_request
        assert request.local_port == port
        assert request.local_address == peer.remote_address == f"127.0.0.1:{port}"
        assert request.remote_address == peer.local_address
        assert peers[0].remote_address == request.remote_address


async def test_bug_of_the_package_ends_one_connection(
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*args: object) -> bytes:
        raise RuntimeError("a bug")

    server = await start_server(nursery)
    with monkeypatch.context() as patch:
        patch.setattr("trio_s2s.acceptor.welcome", broken)
        with pytest.raises(ConnectionFailedError) as caught:
            async with open_peer(server.listener.dial()):
                raise AssertionError("not reached")
    assert caught.value.reason is FailureReason.CLOSED_DURING_HANDSHAKE
    assert "ended with an unexpected error" in caplog.text
    assert "RuntimeError: a bug" in caplog.text
    server.peers.clear()
    await check_alive(server)


async def test_stream_that_cannot_say_whose_it_is_ends_alone(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    class Nameless:
        def getsockname(self) -> None:
            raise ValueError("a bug")

    server = await start_server(nursery)
    stream, far = fickle_pair()
    vars(stream)["socket"] = Nameless()
    server.listener.offer(stream)
    assert await far.receive_rest() == []
    await check_alive(server)
    assert "a connection ended with an unexpected error" in caplog.text


# -- too many at once --


async def test_too_many_handshakes_are_refused_with_busy(
    nursery: trio.Nursery, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_server(nursery, config=PeerConfig(max_pending_handshakes=2))
    silent = [server.listener.dial() for _ in range(2)]
    await trio.testing.wait_all_tasks_blocked()
    peer = Dialler()
    with pytest.raises(ConnectionRejectedError, match="max_pending") as caught:
        async with open_peer(server.listener.dial(), lambda: peer):
            raise AssertionError("not reached")
    assert caught.value.code == CloseCode.BUSY
    assert peer.record == ["failed REJECTED_BUSY"]
    assert "too many handshakes are under way" in caplog.text
    for stream in silent:
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    await check_alive(server)


async def test_refusing_is_bounded_too(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    server = await start_server(nursery, config=PeerConfig(max_pending_handshakes=1))
    silent = [Far(server.listener.dial()) for _ in range(3)]
    await trio.testing.wait_all_tasks_blocked()
    answers = [len(await far.receive_rest()) for far in silent[1:]]
    assert sorted(answers) == [0, 1]
    assert await silent[0].receive_rest() == []
    await check_alive(server)


async def test_tls_listener_refuses_without_a_word(
    nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    context, _ = tls_contexts()
    config = PeerConfig(max_pending_handshakes=1)
    server = await start_server(nursery, config=config, ssl_context=context)
    silent = [Far(server.listener.dial()) for _ in range(2)]
    await trio.testing.wait_all_tasks_blocked()
    assert await silent[1].receive_rest() == []
    assert trio.current_time() == 0


async def test_one_address_may_not_take_all_handshakes(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    config = PeerConfig(max_pending_handshakes_per_address=1)
    [listener] = await nursery.start(
        lambda task_status: serve_tcp(
            Acceptor, 0, host="127.0.0.1", config=config, task_status=task_status
        )
    )
    port = listener.socket.getsockname()[1]
    async with await trio.open_tcp_stream("127.0.0.1", port):
        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(ConnectionRejectedError) as caught:
            async with open_tcp_peer("127.0.0.1", port):
                raise AssertionError("not reached")
        assert caught.value.reason is FailureReason.REJECTED_BUSY
        async with await trio.open_tcp_stream(
            "127.0.0.1", port, local_address="127.0.0.2"
        ) as stream:
            await stream.send_all(HELLO)
            assert len(await stream.receive_some()) > 4
    await trio.testing.wait_all_tasks_blocked(0.01)
    async with open_tcp_peer("127.0.0.1", port):
        pass


# -- the listener itself --


class Failing(trio.abc.Listener[trio.abc.Stream]):
    """Fails to accept as told, then waits for ever."""

    def __init__(self, *errors: OSError) -> None:
        self.errors = list(errors)
        self.is_closed = False

    async def accept(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        await trio.sleep_forever()
        raise AssertionError("not reached")

    async def aclose(self) -> None:
        self.is_closed = True
        await trio.lowlevel.checkpoint()


async def test_listener_waits_while_there_is_no_room(
    autojump_clock: Clock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Failing(OSError(errno.EMFILE, "full"), OSError(errno.ENOBUFS, "full"))
    await nursery.start(
        lambda task_status: serve_peers(Acceptor, [listener], task_status=task_status)
    )
    await trio.sleep(0.15)
    assert listener.errors == []
    assert caplog.text.count("no connection can be accepted") == 1


async def test_broken_listener_ends_the_server() -> None:
    listener = Failing(OSError(errno.EBADF, "gone"))
    with pytest.raises(ListenError, match="gone"):
        await serve_peers(Acceptor, [listener])
    assert listener.is_closed


async def test_peers_live_in_the_handler_nursery(autojump_clock: Clock) -> None:
    server = Server(Acceptor)
    serving = trio.CancelScope()
    async with trio.open_nursery() as handlers, trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[Any]) -> None:
            with serving:
                await serve_peers(
                    server.create_peer,
                    [server.listener],
                    handler_nursery=handlers,
                    task_status=task_status,
                )

        await nursery.start(serve)
        async with open_peer(server.listener.dial()):
            serving.cancel()
            await trio.sleep(1)
            assert not nursery.child_tasks
            assert [task.name for task in handlers.child_tasks] == ["inbound peer"]
            assert server.peer.record == ["connected"]
    assert server.peer.record == ["connected", "disconnected REMOTE_CLOSE"]


async def test_acceptor_is_anonymous_so_far() -> None:
    async with linked() as (peer, _):
        assert peer.server_id == peer.init_response.server_id == ""
