"""Listening on real sockets: addresses, plain text, TLS, and what cannot be had."""

import errno
import socket
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.peers import Acceptor, Dialler, MemoryListener, Note, tls_contexts
from trio_s2s import (
    ConnectionFailedError,
    FailureReason,
    InboundPeer,
    InitRequest,
    ListenError,
    LocalProtocolError,
    SendParameters,
    open_peer,
    open_tcp_peer,
    serve_peers,
    serve_tcp,
)
from trio_s2s.runtime import Runtime
from trio_s2s.tasktree import task_tree

ENCRYPTED = SendParameters(encrypted=True)


async def listen(nursery: trio.Nursery, *args: Any, **options: Any) -> int:
    """Start a server, and give its port."""
    listeners = await nursery.start(partial(serve_tcp, *args, **options))
    port: int = listeners[0].socket.getsockname()[1]
    return port


async def test_port_0_is_a_free_one(nursery: trio.Nursery) -> None:
    port = await listen(nursery, Acceptor, 0)
    other = await listen(nursery, Acceptor, 0)
    assert port > 0
    assert port != other
    async with open_tcp_peer("127.0.0.1", port, Dialler) as peer:
        assert peer.record == ["connected"]


async def test_listener_is_a_task_with_its_address(nursery: trio.Nursery) -> None:
    port = await listen(nursery, Acceptor, 0)
    await trio.testing.wait_all_tasks_blocked()
    assert f"listener 127.0.0.1:{port} " in task_tree()


async def test_listener_of_another_kind_is_a_task_with_its_type(
    nursery: trio.Nursery,
) -> None:
    listener = MemoryListener()
    started = await nursery.start(partial(serve_peers, Acceptor, [listener]))
    assert started == [listener]
    assert "listener MemoryListener " in task_tree()
    async with open_peer(listener.dial(), Dialler) as peer:
        assert peer.record == ["connected"]


async def test_server_may_have_several_listeners(nursery: trio.Nursery) -> None:
    peers: list[InboundPeer] = []

    def create(init_request: InitRequest) -> InboundPeer:
        peers.append(Acceptor(init_request))
        return peers[-1]

    one, two = MemoryListener(), MemoryListener()
    await nursery.start(partial(serve_peers, create, [one, two]))
    async with open_peer(one.dial()) as first, open_peer(two.dial()) as second:
        ids = {first.init_response.instance_id, second.init_response.instance_id}
        assert len(ids) == 1
    assert len(peers) == 2


async def test_no_listener_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one listener"):
        await serve_peers(Acceptor, [])


async def test_class_that_cannot_accept_is_told_before_it_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(Runtime, "open_tcp_listeners", opened.append)
    with pytest.raises(TypeError, match="Dialler is no InboundPeer: it can't accept"):
        await serve_tcp(Dialler, 0)  # type: ignore[arg-type]  # on purpose
    assert opened == []


async def test_cancelled_server_says_goodbye_to_its_peers() -> None:
    serving = trio.CancelScope()

    async def serve(task_status: trio.TaskStatus[Any]) -> None:
        with serving:
            await serve_tcp(Acceptor, 0, task_status=task_status)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        async with open_tcp_peer("127.0.0.1", port, Dialler) as peer:
            serving.cancel()
            await peer.ended.wait()
    assert peer.record == ["connected", "disconnected REMOTE_CLOSE"]
    with pytest.raises(OSError, match="all attempts"):
        await trio.open_tcp_stream("127.0.0.1", port)


# -- what is refused --


@pytest.mark.parametrize("port", [-1, 65536, True, "80", 80.0, None])
async def test_port_must_be_one(port: Any) -> None:
    with pytest.raises(ValueError, match="port is a whole number, 0 to 65535"):
        await serve_tcp(Acceptor, port)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "gs-1.example"])
async def test_plain_text_stays_at_home(host: str) -> None:
    with pytest.raises(ValueError, match="pass ssl_context=, or insecure=True"):
        await serve_tcp(Acceptor, 0, host=host)


async def test_plain_text_may_leave_where_that_was_said(nursery: trio.Nursery) -> None:
    port = await listen(nursery, Acceptor, 0, host="0.0.0.0", insecure=True)
    async with open_tcp_peer("127.0.0.1", port, Dialler) as peer:
        assert peer.record == ["connected"]


async def test_port_in_use_is_a_listen_error(nursery: trio.Nursery) -> None:
    port = await listen(nursery, Acceptor, 0)
    with pytest.raises(ListenError) as caught:
        await serve_tcp(Acceptor, port)
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: it is in use by another program, or by"
        " this one"
    )
    assert isinstance(caught.value.__cause__, OSError)


async def test_address_of_another_machine_is_a_listen_error() -> None:
    with pytest.raises(ListenError, match="this machine does not have the address"):
        await serve_tcp(Acceptor, 0, host="192.0.2.1", insecure=True)


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (OSError(errno.EACCES, "x"), "ports below 1024 need special rights"),
        (OSError(errno.EMFILE, "x"), "this process has too many open files"),
        (OSError("something else"), "something else"),
        (socket.gaierror(socket.EAI_NONAME, "Name not known"), "Name not known"),
    ],
)
async def test_listen_error_says_why(
    raised: OSError, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object) -> None:
        await trio.lowlevel.checkpoint()
        raise raised

    monkeypatch.setattr(Runtime, "open_tcp_listeners", fail)
    with pytest.raises(ListenError, match=text) as caught:
        await serve_tcp(Acceptor, 80, host="::1")
    assert str(caught.value).startswith("cannot listen on [::1]:80: ")
    assert caught.value.__cause__ is raised


# -- TLS --


async def test_tls_carries_both_ways(nursery: trio.Nursery) -> None:
    peers: list[Acceptor] = []

    def create(init_request: InitRequest) -> InboundPeer:
        peers.append(Acceptor(init_request))
        return peers[-1]

    server_context, context = tls_contexts()
    port = await listen(nursery, create, 0, ssl_context=server_context)
    async with open_tcp_peer("127.0.0.1", port, Dialler, ssl_context=context) as peer:
        assert peers[0].init_request.local_port == port
        assert peers[0].init_request.remote_address == peer.local_address
        await peer.send_event(Note(1), ENCRYPTED)
        peer.send_event_nowait(Note(2), ENCRYPTED)
        await peers[0].send_event(Note(3), ENCRYPTED)
        await trio.testing.wait_all_tasks_blocked(0.01)
    await peers[0].ended.wait()
    assert peers[0].record[:3] == ["connected", "event 1", "event 1"]
    assert peer.record == ["connected", "event 1", "disconnected LOCAL_CLOSE"]
    assert peers[0].record[3:] == ["disconnected REMOTE_CLOSE"]


async def test_encrypted_is_refused_without_tls(nursery: trio.Nursery) -> None:
    port = await listen(nursery, Acceptor, 0)
    async with open_tcp_peer("127.0.0.1", port) as peer:
        with pytest.raises(LocalProtocolError, match="this connection has no TLS"):
            await peer.send_event(Note(1), ENCRYPTED)
        with pytest.raises(LocalProtocolError, match="must travel encrypted"):
            peer.send_event_nowait(Note(1), ENCRYPTED)


async def test_tls_listener_outlives_who_speaks_plain_text(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "trio_s2s")
    server_context, context = tls_contexts()
    port = await listen(nursery, Acceptor, 0, ssl_context=server_context)
    with pytest.raises(ConnectionFailedError) as caught:
        async with open_tcp_peer("127.0.0.1", port):
            raise AssertionError("not reached")
    assert caught.value.reason in {
        FailureReason.NOT_S2S,
        FailureReason.CLOSED_DURING_HANDSHAKE,
        FailureReason.REFUSED,
    }
    await trio.testing.wait_all_tasks_blocked(0.01)
    [record] = caplog.records
    assert "refused: it does not speak TLS" in record.getMessage()
    async with open_tcp_peer("127.0.0.1", port, ssl_context=context):
        pass


@pytest.mark.parametrize(
    "sent", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\x05hello", bytes(100)]
)
async def test_tls_listener_outlives_a_broken_handshake(
    sent: bytes, nursery: trio.Nursery
) -> None:
    server_context, context = tls_contexts()
    port = await listen(nursery, Acceptor, 0, ssl_context=server_context)
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(sent)
        await trio.testing.wait_all_tasks_blocked(0.01)
    async with open_tcp_peer("127.0.0.1", port, Dialler, ssl_context=context) as peer:
        assert peer.record == ["connected"]
