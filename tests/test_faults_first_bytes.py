"""What comes instead of a handshake, to a server and to a dialler: A01, A08 to A12."""

import contextlib
import random
import re
import ssl
from collections.abc import Iterator
from functools import partial

import pytest
import trio
import trio.testing

from tests.hostile import (
    HELLO,
    Victim,
    bystander,
    check_log,
    flips,
    frame,
    pieces,
    settled,
)
from tests.peers import Dialler, Echo, Server, linked, start_server
from tests.streams import Far
from trio_s2s import (
    ConnectionFailedError,
    PeerConfig,
    PeerDisconnectedError,
    open_peer,
    serve_tcp,
)
from trio_s2s.codes import Kind
from trio_s2s.fields import Identity
from trio_s2s.forms import Message
from trio_s2s.handshake import reject, welcome

Clock = trio.testing.MockClock


@pytest.fixture(autouse=True)
def _log_is_clean(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level("INFO", "trio_s2s")
    yield
    check_log(caplog)


async def dial_into(answer: bytes) -> Dialler:
    """Dial a side that answers HELLO with these bytes and closes; give the peer."""
    near, far = trio.testing.memory_stream_pair()
    await far.send_all(answer)
    await far.send_eof()
    peer = Dialler()
    error: ConnectionFailedError | None = None
    try:
        async with open_peer(near, lambda: peer):
            await peer.ended.wait()
    except ConnectionFailedError as failed:
        error = failed
        peer.detail = str(failed)
    except PeerDisconnectedError:
        await peer.ended.wait()
    if error is None:
        assert re.fullmatch("connected, disconnected [A-Z_]+", ", ".join(peer.record))
    else:
        assert peer.record == [f"failed {error.reason.name}"]
    return peer


async def half_close(far: Far) -> None:
    """Say that nothing more comes, and go on listening."""
    assert isinstance(far.stream, trio.StapledStream)
    await far.stream.send_stream.aclose()


async def turned_away(
    server: Server, caplog: pytest.LogCaptureFixture, sent: bytes, split: int
) -> tuple[list[Message], str]:
    """Send bytes to a server; give its answer, and the one line in its log."""
    caplog.clear()
    far = Far(server.listener.dial())
    async with far.stream:
        with contextlib.suppress(trio.BrokenResourceError):
            # It need not read all of this before it closes.
            for piece in pieces(sent, split):
                await far.stream.send_all(piece)
        await half_close(far)
        answer = await far.receive_rest()
    await settled()
    [line] = [record.getMessage() for record in caplog.records]
    return answer, line


def client_hello() -> bytes:
    """Make what a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, False, "a.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


FOREIGN = {
    "A09 random bytes": (random.Random(9).randbytes(64), "bytes that begin with"),
    "A10 HTTP": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "an HTTP request: a web client"),
    "A10 HTTP POST": (b"POST /x HTTP/1.1\r\n\r\n", "an HTTP request: a web client"),
    "A11 TLS": (client_hello(), "a TLS ClientHello; this listener has no TLS"),
    "A12 SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH greeting"),
    "A12 PROXY 1": (b"PROXY TCP4 1.2.3.4 5.6.7.8 9 9\r\n", "a PROXY protocol header"),
    "A12 PROXY 2": (b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c", "a PROXY protocol header"),
    "A12 Redis": (b"*1\r\n$4\r\nPING\r\n", "a Redis command"),
}


@pytest.mark.parametrize("split", [1, 2, 99])
@pytest.mark.parametrize(("sent", "words"), FOREIGN.values(), ids=FOREIGN)
async def test_what_is_no_s2s_gets_no_answer(
    sent: bytes,
    words: str,
    split: int,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: Clock,
) -> None:
    async with linked(Victim) as (_, server), bystander(server):
        answer, line = await turned_away(server, caplog, sent, split)
        assert answer == []
        assert f"it does not speak S2S: it sent {words}" in line
        assert len(server.peers) == 2
    peer = await dial_into(sent)
    assert peer.record == ["failed NOT_S2S"]
    assert f"it does not speak S2S: it sent {words}" in peer.detail


async def test_a09_few_of_the_random_bytes_are_shown() -> None:
    peer = await dial_into(FOREIGN["A09 random bytes"][0])
    [shown] = re.findall(r"begin with ((?:[0-9a-f]{2} ?)+)", peer.detail)
    assert len(bytes.fromhex(shown)) <= 16


async def test_a01_silence_is_told_as_such(
    caplog: pytest.LogCaptureFixture, autojump_clock: Clock
) -> None:
    async with linked(Victim) as (_, server), bystander(server):
        answer, line = await turned_away(server, caplog, b"", 1)
        assert answer == []
        assert "before it said hello" in line or "without a word" in line
        assert len(server.peers) == 2
    peer = await dial_into(b"")
    assert peer.record == ["failed CLOSED_DURING_HANDSHAKE"]
    assert "it closed without a word: wrong port, or is it full?" in peer.detail


@pytest.mark.parametrize("split", [1, 2, 4096])
async def test_a08_handshake_frame_above_4_kib_is_refused_by_its_length(
    split: int, caplog: pytest.LogCaptureFixture, autojump_clock: Clock
) -> None:
    sent = (4097).to_bytes(4)
    async with linked(Victim) as (_, server), bystander(server):
        answer, line = await turned_away(server, caplog, sent, split)
        assert answer == []
        assert "a frame of 4,097 bytes, more than the 4,096" in line
        assert len(server.peers) == 2
    peer = await dial_into(sent)
    assert peer.record == ["failed PROTOCOL_ERROR"]
    assert "a frame of 4,097 bytes, more than the 4,096" in peer.detail


async def test_a08_handshake_frame_of_4_kib_is_read(nursery: trio.Nursery) -> None:
    server = await start_server(nursery, Victim)
    padding = "x" * (4096 + 4 - len(HELLO) - 2)
    async with open_peer(server.listener.dial(), Dialler, init_object=padding) as peer:
        assert len(server.peer.init_request.init_object) == len(padding)
        assert await peer.request(Echo("hi")) == "hi"


async def test_a10_socket_gives_http_no_answer(nursery: trio.Nursery) -> None:
    server = Server(Victim)
    [listener] = await nursery.start(partial(serve_tcp, server.create_peer, 0))
    port = listener.socket.getsockname()[1]
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(trio.BrokenResourceError):  # It may be reset.
            assert await stream.receive_some() == b""
    assert server.peers == []


# -- A34: every bit of every byte --


async def test_a34_flipped_bit_of_hello_is_welcomed_or_turned_away(
    autojump_clock: Clock,
) -> None:
    async with linked(Victim) as (_, server), bystander(server):
        for data in flips(HELLO):
            far = Far(server.listener.dial())
            await far.stream.send_all(data)
            await settled()
            await half_close(far)
            answers = await far.receive_rest()
            assert {answer[0] for answer in answers} <= {
                Kind.WELCOME,
                Kind.REJECT,
                Kind.PING,
                Kind.GOODBYE,
            }
            await far.stream.aclose()


ANSWERS = {
    "WELCOME": welcome(Identity(bytes(16)), None, PeerConfig()),
    "REJECT": reject(7, "no"),
    "CHALLENGE": frame([Kind.CHALLENGE, {}]),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a34_flipped_bit_of_an_answer_connects_or_fails(answer: bytes) -> None:
    found = set()
    for data in flips(answer):
        peer = await dial_into(data)
        found.add(peer.record[0])
    assert len(found) > 1
    assert "failed INTERNAL_ERROR" not in found
