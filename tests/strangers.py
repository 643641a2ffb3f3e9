"""Those at the other end of a connection that comes to nothing, on real sockets."""

import contextlib
import datetime
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.peers import Acceptor
from trio_s2s import (
    Application,
    ConnectionRejectedError,
    FailureReason,
    InboundPeer,
    InitRequest,
    PeerConfig,
    open_application,
    open_tcp_peer,
)
from trio_s2s.runtime import Runtime, current_runtime

HOST = "127.0.0.1"
CONFIG = PeerConfig(handshake_timeout=0.25, connect_timeout=0.3)

# -- certificates and contexts --

CA, OTHER_CA = trustme.CA(), trustme.CA()
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
Certificate = trustme.LeafCert


def days(number: int) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=number)


GOOD = CA.issue_cert(HOST, "localhost")
EXPIRED = CA.issue_cert(HOST, not_before=days(-9), not_after=days(-1))
NOT_YET = CA.issue_cert(HOST, not_before=days(1), not_after=days(9))
FOREIGN = OTHER_CA.issue_cert(HOST, "localhost")


def for_clients_only() -> Certificate:
    """Issue a certificate that says of itself that it is not one for servers."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key(CA.private_key_pem.bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(CA.cert_pem.bytes())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    address = x509.IPAddress(ipaddress.ip_address(HOST))
    own_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
        issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    )
    certificate = (
        x509.CertificateBuilder(issuer.subject, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(days(-1))
        .not_valid_after(days(1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(use, critical=False)
        # Without them a strict reader, as of Python 3.13, stops at something else.
        .add_extension(own_key, critical=False)
        .add_extension(signed_by, critical=False)
        .sign(signer, hashes.SHA256())
    )
    return Certificate(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
        [],
    )


def only(version: ssl.TLSVersion, context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = version
    return context


def ciphers(names: str, context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_ciphers(names)
    return only(V12, context)


def for_server(
    certificate: Certificate = GOOD, *, of_clients: trustme.CA | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if of_clients is not None:
        of_clients.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def for_dialler(certificate: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


def that_takes_any() -> ssl.SSLContext:
    """Give a context that every TLS server of this file welcomes."""
    context = for_dialler(GOOD)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# -- who is at the other end --


class Home(Application):
    """A server that listens; it says no to those who ask for it in `init_object`."""

    def __init__(
        self, ssl_context: ssl.SSLContext | None = None, config: PeerConfig = CONFIG
    ) -> None:
        super().__init__("Home", config=config)
        self.ssl_context = ssl_context
        self.port = 0

    async def setup(self) -> None:
        [listener] = await self.listen_tcp(0, ssl_context=self.ssl_context)
        self.port = listener.socket.getsockname()[1]

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        match init_request.init_object:
            case [code, text]:
                raise ConnectionRejectedError(code, text)
            case "break":
                raise KeyError("a bug of the application")
        return Acceptor(init_request)

    async def check_alive(self) -> None:
        """See that the next dialler is served."""
        context = that_takes_any() if self.ssl_context else None
        async with open_tcp_peer(HOST, self.port, ssl_context=context):
            pass

    async def turned_away(self) -> FailureReason:
        """Give the one cause that was counted once."""
        await until(lambda: bool(self.statistics().rejections))
        [(cause, count)] = self.statistics().rejections.items()
        assert count == 1
        return cause


@attrs.frozen
class Spot:
    """Where a row dials to."""

    port: int
    home: Home | None = None
    leave: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    """Makes room for the next dialler."""


Place = Callable[[], AbstractAsyncContextManager[Spot]]


def at_home(ssl_context: ssl.SSLContext | None = None) -> Place:
    @asynccontextmanager
    async def place() -> AsyncGenerator[Spot]:
        async with open_application(Home(ssl_context)) as home:
            yield Spot(home.port, home)

    return place


def at_full_home(ssl_context: ssl.SSLContext | None, **limits: Any) -> Place:
    @asynccontextmanager
    async def place() -> AsyncGenerator[Spot]:
        config = attrs.evolve(CONFIG, handshake_timeout=9, **limits)
        async with (
            open_application(Home(ssl_context, config)) as home,
            await trio.open_tcp_stream(HOST, home.port) as silent,
        ):
            await until(lambda: home.statistics().inbound.handshaking == 1)
            yield Spot(home.port, home, silent.aclose)

    return place


@asynccontextmanager
async def nobody() -> AsyncGenerator[Spot]:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        yield Spot(probe.getsockname()[1])  # It is bound, and does not listen.


@asynccontextmanager
async def deaf() -> AsyncGenerator[Spot]:
    """A listener that is so full that the system answers nobody any more."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind((HOST, 0))
        full.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield Spot(full.getsockname()[1])


Handler = Callable[[trio.abc.Stream], Awaitable[None]]


def foreign(handler: Handler, ssl_context: ssl.SSLContext | None = None) -> Place:
    """A server that is not of ours."""

    async def handle(stream: trio.abc.Stream) -> None:
        if ssl_context is not None:
            stream = trio.SSLStream(stream, ssl_context, server_side=True)
        with contextlib.suppress(trio.BrokenResourceError):
            await handler(stream)
        await trio.aclose_forcefully(stream)

    @asynccontextmanager
    async def place() -> AsyncGenerator[Spot]:
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, handle, 0, host=HOST)
            [listener] = await nursery.start(serve)
            yield Spot(listener.socket.getsockname()[1])
            nursery.cancel_scope.cancel()

    return place


def says(data: bytes) -> Handler:
    async def handler(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(data)

    return handler


async def echo(stream: trio.abc.Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def silent(stream: trio.abc.Stream) -> None:
    while await stream.receive_some():
        pass


async def hang_up(stream: trio.abc.Stream) -> None:
    await trio.lowlevel.checkpoint()


def alerting(ssl_context: ssl.SSLContext) -> Place:
    """A TLS server of another make: it says by a TLS alert why it says no."""

    def answer(listening: socket.socket) -> None:
        stream, _ = listening.accept()
        stream.settimeout(2)
        # What fails closes the stream; to close on unread data would lose the alert.
        with stream.dup() as rest, contextlib.suppress(OSError):
            try:
                ssl_context.wrap_socket(stream, server_side=True).close()
            finally:
                rest.shutdown(socket.SHUT_WR)
                while rest.recv(4096):
                    pass

    @asynccontextmanager
    async def place() -> AsyncGenerator[Spot]:
        with socket.create_server((HOST, 0)) as listening:
            listening.settimeout(2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, answer, listening)
                yield Spot(listening.getsockname()[1])

    return place


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task is about to do."""
    with trio.fail_after(2):
        while not condition():  # noqa: ASYNC110  what is counted tells nobody
            await trio.sleep(0.002)


class NoNames(trio.abc.HostnameResolver):
    """Knows no name at all."""

    async def getaddrinfo(self, *args: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError


@contextlib.contextmanager
def in_its_own_time(seconds: float) -> Iterator[None]:
    """Let every link wait as long as this before it dials again."""

    class Steady(Runtime):
        def uniform(self, most: float) -> float:
            return seconds

    token = current_runtime.set(Steady())
    yield
    current_runtime.reset(token)


# -- what they have been told --


def lines(caplog: pytest.LogCaptureFixture, start: str) -> list[logging.LogRecord]:
    return [each for each in caplog.records if each.getMessage().startswith(start)]


def check_words(expected: str, text: str) -> None:
    position = 0
    for words in expected.split(" … "):
        assert words in text[position:]
        position = text.index(words, position) + len(words)
    # What Python, OpenSSL and the system call it may stand beside it, never alone.
    assert "[Errno" not in text
    assert "[SSL" not in text
    assert "_ssl.c" not in text
    assert not text.endswith((": ", " "))


def check_line(
    logged: str, level: int, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """See that a listener has told once who came, where to, and what became of it."""
    [line] = lines(caplog, f"connection from {HOST}:")
    assert f" to {HOST}:{home.port} " in line.getMessage()
    check_words(logged, line.getMessage())
    assert line.levelno == level
    # Only a bug of the application has a traceback.
    assert bool(line.exc_info) is (level == logging.ERROR)
