"""What people read of those who come to a listener, and where nobody can listen.

Whatever comes is counted and told once, and the next dialler is served.
"""

import contextlib
import logging
import os
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from tests.peers import Acceptor, MemoryListener
from tests.strangers import (
    EXPIRED,
    FOREIGN,
    HOST,
    NOT_YET,
    Certificate,
    Home,
    NoNames,
    check_line,
    check_words,
    for_dialler,
    for_server,
    lines,
    until,
)
from trio_s2s import (
    ConnectionFailedError,
    FailureReason,
    ListenError,
    PeerConfig,
    open_application,
    open_tcp_peer,
    open_unix_peer,
    serve_applications,
    serve_peers,
    serve_tcp,
    serve_unix,
)
from trio_s2s.codec import pack
from trio_s2s.fields import Identity
from trio_s2s.framing import encode_frame
from trio_s2s.handshake import hello

R = FailureReason
GONE = R.CLOSED_DURING_HANDSHAKE


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_s2s")


# -- accepting those that are not of ours --

HELLO = hello(Identity(bytes(16)), "", None, PeerConfig())
FUTURE = encode_frame([pack([0, "trio-s2s", [2, 3], {}])])


@attrs.frozen
class Visit:
    """One way not to be let in."""

    sent: bytes
    cause: FailureReason
    logged: str
    level: int = logging.WARNING
    listener: str = ""
    """`TLS`, or `in TLS` where the visitor speaks it too, or nothing."""
    leaves: bool = False
    """Whether the visitor closes first."""


NO_S2S = "refused: it does not speak S2S: it sent"
NO_TLS = "refused: it does not speak TLS; this listener has an ssl_context"
LATE = "refused: no handshake within 0.25 s (handshake_timeout), only"
AWAY = "ended: it left before it said hello"
VISITS = {
    "HTTP": Visit(b"GET / HTTP/1.1\r\n\r\n", R.NOT_S2S, f"{NO_S2S} an HTTP request"),
    "SSH": Visit(b"SSH-2.0-x\r\n", R.NOT_S2S, f"{NO_S2S} an SSH greeting"),
    "text": Visit(b"hello\r\n", R.NOT_S2S, f"{NO_S2S} text that begins with 'hello'"),
    "bytes": Visit(
        b"\xde\xad\xbe\xef", R.NOT_S2S, f"{NO_S2S} bytes that … de ad be ef"
    ),
    "future": Visit(
        FUTURE,
        R.VERSION_MISMATCH,
        "rejected with code -20: this side speaks protocol 1 to 1, the dialler 2 to 3",
    ),
    "no hello": Visit(
        encode_frame([pack([10, 1])]),
        R.PROTOCOL_ERROR,
        "rejected with code -2: expected HELLO, got PING",
    ),
    "silence": Visit(b"", R.HANDSHAKE_TIMEOUT, f"{LATE} silence"),
    "3 bytes": Visit(b"\0\0\0", R.HANDSHAKE_TIMEOUT, f"{LATE} 3 of 4 bytes of"),
    "half": Visit(HELLO[:20], R.HANDSHAKE_TIMEOUT, f"{LATE} 16 of 72 bytes of a frame"),
    "leaves": Visit(b"", GONE, AWAY, logging.INFO, leaves=True),
    "leaves half-way": Visit(
        HELLO[:20], GONE, f"{AWAY}, after 16 of 72 bytes", logging.INFO, leaves=True
    ),
    "TLS, silence": Visit(
        b"", R.HANDSHAKE_TIMEOUT, f"{LATE} half of TLS, or less", listener="TLS"
    ),
    "TLS, half": Visit(
        b"\x16\x03\x01\x02\0\x01\0",
        R.HANDSHAKE_TIMEOUT,
        f"{LATE} half of TLS, or less",
        listener="TLS",
    ),
    "TLS, HTTP": Visit(b"GET / HTTP/1.1\r\n\r\n", R.NOT_TLS, NO_TLS, listener="TLS"),
    "TLS, SSH": Visit(b"SSH-2.0-x\r\n", R.NOT_TLS, NO_TLS, listener="TLS"),
    "TLS, hello": Visit(HELLO, R.NOT_TLS, NO_TLS, listener="TLS"),
    "TLS, leaves": Visit(
        b"", GONE, "ended: it left during TLS", logging.INFO, "TLS", leaves=True
    ),
    "in TLS, silence": Visit(
        b"", R.HANDSHAKE_TIMEOUT, f"{LATE} silence after TLS", listener="in TLS"
    ),
    "in TLS, half": Visit(
        HELLO[:20], R.HANDSHAKE_TIMEOUT, f"{LATE} 16 of 72 bytes", listener="in TLS"
    ),
    "in TLS, HTTP": Visit(
        b"GET / HTTP/1.1\r\n\r\n",
        R.NOT_S2S,
        f"{NO_S2S} an HTTP request",
        listener="in TLS",
    ),
}


async def visit(row: Visit, port: int) -> None:
    """Come, say it, and wait until the listener has closed."""
    stream: trio.abc.Stream
    async with await trio.open_tcp_stream(HOST, port) as stream:
        if row.listener == "in TLS":
            stream = trio.SSLStream(stream, for_dialler(), server_hostname=HOST)
            await stream.do_handshake()
        await stream.send_all(row.sent)
        if row.leaves:
            return
        with contextlib.suppress(trio.BrokenResourceError), trio.fail_after(2):
            while await stream.receive_some():
                pass
        await trio.aclose_forcefully(stream)


@pytest.mark.parametrize("row", VISITS.values(), ids=VISITS)
async def test_visitor_is_told_once(
    row: Visit, caplog: pytest.LogCaptureFixture
) -> None:
    context = for_server() if row.listener else None
    async with open_application(Home(context)) as home:
        await visit(row, home.port)
        assert await home.turned_away() is row.cause
        check_line(row.logged, row.level, home, caplog)
        await home.check_alive()
        assert await home.turned_away() is row.cause


@pytest.mark.parametrize(
    ("certificate", "cause", "logged"),
    [
        (FOREIGN, R.TLS_ERROR, "it does not trust the CA of this server's certificate"),
        (EXPIRED, R.TLS_EXPIRED, "it says that this server's certificate has expired"),
        (NOT_YET, R.TLS_ERROR, "it does not accept this server's certificate … yet?"),
    ],
    ids=["other CA", "expired", "not yet"],
)
async def test_alert_of_a_visitor_is_told(
    certificate: Certificate,
    cause: FailureReason,
    logged: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def dial(port: int) -> None:
        with socket.create_connection((HOST, port), timeout=2) as stream:
            for_dialler().wrap_socket(stream, server_hostname=HOST)

    async with open_application(Home(for_server(certificate))) as home:
        with pytest.raises(ssl.SSLCertVerificationError):
            await trio.to_thread.run_sync(dial, home.port)
        assert await home.turned_away() is cause
        check_line(f"refused: {logged}", logging.WARNING, home, caplog)
        await home.check_alive()


async def test_rejected_visitor_that_stays_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        open_application(Home()) as home,
        await trio.open_tcp_stream(HOST, home.port) as stream,
    ):
        await stream.send_all(FUTURE)
        assert await home.turned_away() is R.VERSION_MISMATCH
        await until(lambda: home.statistics().inbound.handshaking == 0)
        assert await home.turned_away() is R.VERSION_MISMATCH
        check_line("rejected with code -20", logging.WARNING, home, caplog)


# -- told once in a while --


async def test_bad_visitors_share_a_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = 1000.0
    monkeypatch.setattr("trio_s2s.journal.now", lambda: time)

    async def come(name: str, times: int) -> list[str]:
        caplog.clear()
        before = sum(home.statistics().rejections.values())
        for _ in range(times):
            await visit(VISITS[name], home.port)
        await until(
            lambda: sum(home.statistics().rejections.values()) == before + times
        )
        return [each.getMessage() for each in lines(caplog, "connection from ")]

    async with open_application(Home()) as home:
        assert len(await come("HTTP", 3)) == 1
        assert len(await come("future", 2)) == 1
        time += 9.9
        assert await come("HTTP", 1) == []
        time += 0.2
        [line] = await come("HTTP", 1)
        assert line.endswith(" (and 3 more like it since the last such line)")
        counted = {R.NOT_S2S: 5, R.VERSION_MISMATCH: 2}
        assert home.statistics().rejections == counted


# -- paths --


@asynccontextmanager
async def at_path(path: Path) -> AsyncGenerator[Path]:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_unix, Acceptor, path)
        yield path
        nursery.cancel_scope.cancel()


PATHS = {
    "missing": (
        "none",
        R.REFUSED,
        "there is no such socket (is the server running?)",
    ),
    "plain file": ("file", R.REFUSED, "connection refused (is the server running?)"),
    "in a file": ("file/s", R.REFUSED, "there is no such socket"),
    "no server": ("dead", R.REFUSED, "connection refused (is the server running?)"),
    "too long": ("x" * 200, R.UNREACHABLE, "path too long"),
}


@pytest.mark.parametrize(("name", "reason", "said"), PATHS.values(), ids=PATHS)
async def test_path_that_leads_nowhere_is_told(
    name: str, reason: FailureReason, said: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    with pytest.raises(ConnectionFailedError) as caught:
        async with open_unix_peer(tmp_path / name):
            raise AssertionError("not reached")
    assert caught.value.reason is reason
    check_words(f"cannot connect to {tmp_path / name}: … {said}", str(caught.value))


# -- listening --

PORTS: dict[str, tuple[dict[str, Any], str]] = {
    "other machine's address": (
        {"host": "192.0.2.1", "insecure": True},
        "cannot listen on 192.0.2.1:0: this machine does not have the address; host=",
    ),
    "no such name": (
        {"host": "gs-1.example", "insecure": True},
        "cannot listen on gs-1.example:0: the name look-up failed: Name or service",
    ),
    "no name at all": (
        {"host": "a..b", "insecure": True},
        "cannot listen on a..b:0: this is no valid host name",
    ),
}


@pytest.mark.parametrize(("options", "said"), PORTS.values(), ids=PORTS)
async def test_port_that_cannot_be_had_is_told(
    options: dict[str, Any], said: str
) -> None:
    names = NoNames() if options["host"].endswith(".example") else None
    trio.socket.set_custom_hostname_resolver(names)
    with pytest.raises(ListenError) as caught:
        await serve_tcp(Acceptor, 0, **options)
    assert caught.value.__cause__ is not None
    check_words(said, str(caught.value))


async def test_port_in_use_is_told() -> None:
    async with open_application(Home()) as home:
        said = f"cannot listen on {HOST}:{home.port}: it is in use by another program"
        with pytest.raises(ListenError, match=said):
            await home.listen_tcp(home.port)
        with pytest.raises(ListenError, match=said):
            await serve_tcp(Acceptor, home.port)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "there is a file that is no socket; remove it, or take another path"),
        ("", "there is a file that is no socket"),
        ("none/s", "its folder does not exist"),
        ("file/s", "its folder does not exist"),
        ("used", "it is in use by another program, or by this one"),
        ("x" * 200, "path too long"),
    ],
)
async def test_path_that_cannot_be_had_is_told(
    name: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    async with at_path(tmp_path / "used"):
        with pytest.raises(ListenError) as caught:
            await serve_unix(Acceptor, tmp_path / name)
    check_words(f"cannot listen on {tmp_path / name}: … {said}", str(caught.value))


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="rights are another thing here")
async def test_missing_rights_are_told(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o500)
    me = os.geteuid()
    with pytest.raises(ListenError) as caught:
        try:
            if me == 0:
                os.seteuid(65534)
            await serve_unix(Acceptor, tmp_path / "s")
        finally:
            os.seteuid(me)
    check_words("permission denied; ports … its folder", str(caught.value))


async def test_plain_text_is_refused_with_what_to_do() -> None:
    text = (
        "192.0.2.1 would send … pass ssl_context=, or insecure=True if something else"
    )
    with pytest.raises(ValueError, match="dialling ") as dialling:
        open_tcp_peer("192.0.2.1", 4520)
    check_words(text, str(dialling.value))
    with pytest.raises(ValueError, match="listening on ") as listening:
        await serve_tcp(Acceptor, 4520, host="192.0.2.1")
    check_words(text, str(listening.value))


async def test_context_of_the_other_side_is_refused_with_what_to_do() -> None:
    async with open_application(Home()) as home:
        options: dict[str, Any] = {"ssl_context": for_server()}
        for dial in (open_tcp_peer, home.connect_tcp):
            with pytest.raises(ValueError, match="for listeners; a dialler needs"):
                dial(HOST, home.port, **options)
        options = {"ssl_context": for_dialler()}
        for serve in (
            partial(home.listen_tcp, 0),
            partial(serve_tcp, Acceptor, 0),
            partial(serve_peers, Acceptor, [MemoryListener()]),
            partial(serve_applications, [Home()], 0),
        ):
            with pytest.raises(ValueError, match="for diallers; a listener needs"):
                await serve(**options)
