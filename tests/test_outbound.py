"""Dialling real sockets: refused connections, names, TLS, and the block itself."""

import socket
import ssl
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from tests.peers import Acceptor, Dialler, Note, start_server, tls_contexts
from trio_s2s import (
    ConnectionFailedError,
    FailureReason,
    OutboundPeer,
    PeerConfig,
    PeerDisconnectedError,
    open_peer,
    open_tcp_peer,
    serve_tcp,
)

HOME = "127.0.0.1"


async def listen(nursery: trio.Nursery, **options: Any) -> int:
    """Start a server, and give its port."""
    listeners = await nursery.start(partial(serve_tcp, Acceptor, 0, **options))
    port: int = listeners[0].socket.getsockname()[1]
    return port


async def fail_to_open(
    host: str, port: int, **options: Any
) -> tuple[FailureReason, str]:
    """Fail to connect; give the reason and the text, which the hook saw too."""
    peer = Dialler()
    with pytest.raises(ConnectionFailedError, match="cannot connect to") as caught:
        async with open_tcp_peer(host, port, lambda: peer, **options):
            raise AssertionError("not reached")
    assert peer.record == [f"failed {caught.value.reason.name}"]
    assert caught.value.__cause__ is not None
    return caught.value.reason, str(caught.value)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOME, 0))
        port: int = probe.getsockname()[1]
        return port


# -- addresses --


async def test_peer_knows_both_addresses(nursery: trio.Nursery) -> None:
    port = await listen(nursery)
    async with open_tcp_peer(HOME, port) as peer:
        assert type(peer) is OutboundPeer
        assert peer.remote_address == f"{HOME}:{port}"
        assert peer.local_address.startswith(f"{HOME}:")
        assert peer.local_address != peer.remote_address


@pytest.mark.parametrize("port", [0, -1, 65536, True, "80"])
def test_port_must_be_one(port: Any) -> None:
    with pytest.raises(ValueError, match="port is a whole number, 1 to 65535"):
        open_tcp_peer(HOME, port)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "gs-1.example", "10.0.0.1"])
def test_plain_text_stays_at_home(host: str) -> None:
    with pytest.raises(ValueError, match="pass ssl_context=, or insecure=True"):
        open_tcp_peer(host, 4520)


async def test_refused_connection_says_where_and_why() -> None:
    port = free_port()
    reason, text = await fail_to_open(HOME, port)
    assert reason is FailureReason.REFUSED
    assert text == (
        f"cannot connect to {HOME}:{port}: connection refused (is the server running?)"
    )


class NoNames(trio.abc.HostnameResolver):
    """Knows no name at all."""

    async def getaddrinfo(self, *args: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError


async def test_unknown_name_is_a_dns_error() -> None:
    trio.socket.set_custom_hostname_resolver(NoNames())
    reason, text = await fail_to_open("gs-1.example", 4520, insecure=True)
    assert reason is FailureReason.DNS_ERROR
    assert text.endswith("the name look-up failed: Name or service not known")


async def test_name_that_is_none_is_an_invalid_address() -> None:
    reason, text = await fail_to_open("a" * 100, 4520, insecure=True)
    assert reason is FailureReason.INVALID_ADDRESS
    assert "this is no valid host name" in text


async def test_server_that_says_nothing_ends_in_time() -> None:
    [listener] = await trio.open_tcp_listeners(0, host=HOME)
    async with listener:
        reason, text = await fail_to_open(
            HOME,
            listener.socket.getsockname()[1],
            config=PeerConfig(handshake_timeout=0.05),
        )
    assert reason is FailureReason.HANDSHAKE_TIMEOUT
    assert "no S2S welcome within 0.05 s (handshake_timeout)" in text


async def test_web_server_is_recognised(nursery: trio.Nursery) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    listeners = await nursery.start(
        partial(trio.serve_tcp, answer, 0, host=HOME),
    )
    reason, text = await fail_to_open(HOME, listeners[0].socket.getsockname()[1])
    assert reason is FailureReason.NOT_S2S
    assert "an HTTP answer: a web server?" in text


# -- TLS --


async def test_untrusted_certificate_is_told(nursery: trio.Nursery) -> None:
    server_context, _ = tls_contexts()
    port = await listen(nursery, ssl_context=server_context)
    reason, text = await fail_to_open(
        HOME, port, ssl_context=ssl.create_default_context()
    )
    assert reason is FailureReason.TLS_UNTRUSTED
    assert "pass an ssl_context that does (load_verify_locations)" in text


async def test_certificate_for_another_address_is_told(nursery: trio.Nursery) -> None:
    server_context, context = tls_contexts("127.0.0.9")
    port = await listen(nursery, ssl_context=server_context)
    reason, text = await fail_to_open(HOME, port, ssl_context=context)
    assert reason is FailureReason.TLS_HOSTNAME
    assert "the server's certificate is for another address; dial one" in text


async def test_certificate_for_another_name_is_told(nursery: trio.Nursery) -> None:
    server_context, context = tls_contexts("gs-1.example")
    port = await listen(nursery, ssl_context=server_context)
    reason, text = await fail_to_open("localhost", port, ssl_context=context)
    assert reason is FailureReason.TLS_HOSTNAME
    assert "the server's certificate is for another name; dial one" in text


async def test_tls_at_a_plain_port_is_told(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    _, context = tls_contexts()
    port = await listen(nursery)
    reason, text = await fail_to_open(HOME, port, ssl_context=context)
    assert reason is FailureReason.TLS_ERROR
    assert text.startswith(f"cannot connect to {HOME}:{port}: ")
    assert "a TLS ClientHello; this listener has no TLS" in caplog.text


async def test_plain_text_at_a_tls_port_is_told(nursery: trio.Nursery) -> None:
    server_context, _ = tls_contexts()
    port = await listen(nursery, ssl_context=server_context)
    reason, text = await fail_to_open(HOME, port)
    assert reason is FailureReason.CLOSED_DURING_HANDSHAKE
    assert text.startswith(f"cannot connect to {HOME}:{port}: ")


async def test_client_certificate_that_is_missing_is_no_connection(
    nursery: trio.Nursery,
) -> None:
    """The client's own TLS 1.3 handshake succeeds there: only WELCOME tells."""
    server_context, context = tls_contexts()
    server_context.verify_mode = ssl.CERT_REQUIRED
    trustme.CA().configure_trust(server_context)
    port = await listen(nursery, ssl_context=server_context)
    reason, _ = await fail_to_open(HOME, port, ssl_context=context)
    assert reason is FailureReason.TLS_ERROR


# -- the block --


async def test_error_of_the_block_is_its_own(nursery: trio.Nursery) -> None:
    port = await listen(nursery)
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with open_tcp_peer(HOME, port, Dialler) as peer:
            raise error
    assert caught.value is error
    assert peer.record == ["connected", "disconnected LOCAL_CLOSE"]


async def test_block_is_left_when_all_was_sent(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    server = await start_server(nursery)
    async with open_peer(server.listener.dial()) as peer:
        for number in range(100):
            await peer.send_event(Note(number))
    await server.peer.ended.wait()
    assert server.peer.record.count("event 1") == 100


async def test_call_after_a_loss_tells_it(nursery: trio.Nursery) -> None:
    server = await start_server(nursery)
    async with open_peer(server.listener.dial(), Dialler) as peer:
        await server.far.aclose()
        await peer.ended.wait()
        with pytest.raises(PeerDisconnectedError):
            await peer.send_event(Note(1))


async def test_on_failed_that_raises_hides_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Fails(OutboundPeer):
        async def on_failed(self, error: ConnectionFailedError) -> None:
            raise ValueError("in on_failed")

    with pytest.raises(ConnectionFailedError, match="connection refused"):
        async with open_tcp_peer(HOME, free_port(), Fails):
            raise AssertionError("not reached")
    assert "ValueError: in on_failed" in caplog.text


async def test_on_failed_is_bounded(
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stuck(OutboundPeer):
        async def on_failed(self, error: ConnectionFailedError) -> None:
            await trio.sleep_forever()

    near, far = trio.testing.memory_stream_pair()
    await far.aclose()
    with pytest.raises(ConnectionFailedError):
        async with open_peer(near, Stuck):
            raise AssertionError("not reached")
    assert trio.current_time() == 5
    assert "on_failed took more than 5 s (hook_timeout)" in caplog.text


async def test_peer_that_cannot_be_made_closes_the_stream() -> None:
    def fails() -> OutboundPeer:
        raise ValueError("no peer")

    near, far = trio.testing.memory_stream_pair()
    with pytest.raises(ValueError, match="no peer"):
        async with open_peer(near, fails):
            raise AssertionError("not reached")
    assert await far.receive_some() == b""
