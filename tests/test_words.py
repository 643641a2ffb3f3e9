"""What people read when no connection comes about, each text from a real situation.

A text says who and where, why in plain words, and most often what to do. Whatever comes
to a listener is counted and told once, and the next dialler is served.
"""

import logging
import ssl
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio

from tests.peers import Acceptor, Echo
from tests.strangers import (
    CA,
    CONFIG,
    EXPIRED,
    FOREIGN,
    HOST,
    NOT_YET,
    V12,
    V13,
    Certificate,
    Home,
    NoNames,
    Place,
    Spot,
    alerting,
    at_full_home,
    at_home,
    check_line,
    check_words,
    ciphers,
    deaf,
    echo,
    for_clients_only,
    for_dialler,
    for_server,
    foreign,
    hang_up,
    in_its_own_time,
    lines,
    nobody,
    only,
    says,
    silent,
    until,
)
from trio_s2s import (
    Application,
    ConnectionFailedError,
    ContractError,
    FailureReason,
    Operation,
    OperationError,
    OperationRequest,
    OutboundPeer,
    PeerDisconnectedError,
    handles,
    open_application,
    open_tcp_peer,
    serve_tcp,
)
from trio_s2s.fields import Identity
from trio_s2s.handshake import welcome

R = FailureReason


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO, "trio_s2s")
    with in_its_own_time(60.0):
        yield


# -- dialling --


@attrs.frozen
class Dial:
    """One way not to come to a connection, as both sides are told."""

    place: Place
    reason: FailureReason
    said: str
    """Words of the error, parted by ` … `."""
    cause: FailureReason | None = None
    """What the accepting side counts."""
    logged: str = ""
    """Words of its log line."""
    level: int = logging.WARNING
    options: dict[str, Any] = attrs.field(factory=dict)
    host: str = HOST


def tls(context: ssl.SSLContext | None = None) -> dict[str, Any]:
    return {"ssl_context": context or for_dialler()}


NO_WORD = "it closed without a word: wrong port, or is it full? If it wants TLS, pass"
DURING = "the server closed during TLS: does it speak TLS? It may also … its log"
AFTER = "the server closed right after TLS: it may want a certificate … load_cert_chain"
NO_VERSION = "no common TLS version; see minimum_version and maximum_version of both"
NO_TRUST = "does not trust this side's certificate; show one that it does"
NO_COMMON = (
    "nothing in common with this side: it may want a certificate … other ciphers"
)
BAD_CA = "not signed by a CA that this side trusts … load_verify_locations"
LEFT = "ended: it left during TLS; it may not trust this server's certificate"
UNTRUSTED = "refused: its certificate is not trusted … load_verify_locations"
NO_CERTIFICATE = "refused: it showed no certificate (load_cert_chain)"
FULL = "too many handshakes are under way (max_pending_handshakes"
PORT = "(is this the right port?)"
GONE = R.CLOSED_DURING_HANDSHAKE


def distrusted(
    certificate: Certificate, reason: FailureReason, said: str, host: str = HOST
) -> Dial:
    """A certificate that the dialler does not take: it leaves without an alert."""
    place = at_home(for_server(certificate))
    return Dial(place, reason, said, GONE, LEFT, logging.INFO, tls(), host)


def mutual(
    version: ssl.TLSVersion,
    shown: Certificate | None,
    cause: FailureReason,
    logged: str,
) -> Dial:
    """A certificate of the dialler that our server does not take."""
    place = at_home(only(version, for_server(of_clients=CA)))
    said = AFTER if version is V13 else DURING
    options = tls(for_dialler(shown))
    return Dial(place, R.TLS_ERROR, said, cause, logged, options=options)


def alerted(
    version: ssl.TLSVersion, shown: Certificate | None, reason: FailureReason, said: str
) -> Dial:
    """The same at a server that says what it does not like."""
    place = alerting(only(version, for_server(of_clients=CA)))
    return Dial(place, reason, said, options=tls(for_dialler(shown)))


DIALS = {
    # Nobody, or nobody of ours.
    "refused": Dial(nobody, R.REFUSED, "connection refused (is the server running?)"),
    "refused, named": Dial(
        nobody,
        R.REFUSED,
        "cannot connect to Master at 127.0.0.1: … connection refused",
        options={"application_name": "Master"},
    ),
    "deaf": Dial(
        deaf, R.CONNECT_TIMEOUT, "nobody answered in time (connect_timeout) … firewall"
    ),
    "no such name": Dial(
        nobody,
        R.DNS_ERROR,
        "the name look-up failed: Name or service not known",
        options={"insecure": True},
        host="gs-1.example",
    ),
    "no name at all": Dial(
        nobody,
        R.INVALID_ADDRESS,
        "this is no valid host name",
        options={"insecure": True},
        host="a..b",
    ),
    "hangs up": Dial(foreign(hang_up), GONE, NO_WORD),
    "hangs up half-way": Dial(
        foreign(says(b"\0\0\1\0abc")), GONE, "it closed after 3 of 256 bytes of a frame"
    ),
    "silent": Dial(
        foreign(silent),
        R.HANDSHAKE_TIMEOUT,
        "connected, but it said no S2S welcome within 0.25 s (handshake_timeout)",
    ),
    "HTTP": Dial(
        foreign(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        R.NOT_S2S,
        f"it does not speak S2S: it sent an HTTP answer: a web server? … {PORT}",
    ),
    "SSH": Dial(
        foreign(says(b"SSH-2.0-OpenSSH_9\r\n")),
        R.NOT_S2S,
        f"it does not speak S2S: it sent an SSH greeting … {PORT}",
    ),
    "text": Dial(
        foreign(says(b"220 ready\r\n")),
        R.NOT_S2S,
        f"it does not speak S2S: it sent text that begins with '220 ready' {PORT}",
    ),
    "echo": Dial(
        foreign(echo), R.SELF_CONNECTION, "its own dialler … or an echo server?"
    ),
    # Ours, which says no.
    "code and text": Dial(
        at_home(),
        R.REJECTED,
        "rejected the connection with code 7: not on the list",
        R.REJECTED,
        "rejected with code 7: not on the list",
        options={"init_object": [7, "not on the list"]},
    ),
    "code alone": Dial(
        at_home(),
        R.REJECTED,
        "rejected the connection with code 7: no reason given",
        R.REJECTED,
        "rejected with code 7: no reason given",
        options={"init_object": [7, ""]},
    ),
    "unknown application": Dial(
        at_home(),
        R.REJECTED,
        "Game at 127.0.0.1: … rejected the … there is no application 'Game' here",
        R.REJECTED,
        "rejected with code -25: there is no application 'Game' here",
        options={"application_name": "Game"},
    ),
    "broken application": Dial(
        at_home(),
        R.REJECTED,
        "rejected the connection … could not make a peer; its log says why",
        R.REJECTED,
        "rejected with code -1: the server could not make a peer",
        logging.ERROR,
        options={"init_object": "break"},
    ),
    "not the wanted one": Dial(
        at_home(),
        R.IDENTITY_MISMATCH,
        "gs-1 at 127.0.0.1: … it is anonymous, not 'gs-1' (server_id=)",
        options={"server_id": "gs-1"},
    ),
    "full": Dial(
        at_full_home(None, max_pending_handshakes=1),
        R.REJECTED_BUSY,
        f"rejected the connection with code -26: {FULL}); try again",
        R.REJECTED_BUSY,
        f"refused: {FULL}); try again",
    ),
    "full for one": Dial(
        at_full_home(None, max_pending_handshakes_per_address=1),
        R.REJECTED_BUSY,
        f"rejected the connection with code -26: {FULL}_per_address); try again",
        R.REJECTED_BUSY,
        f"refused: {FULL}_per_address); try again",
    ),
    "full, TLS": Dial(
        at_full_home(for_server(), max_pending_handshakes=1),
        R.TLS_ERROR,
        "the server closed during TLS … It may also be full",
        R.REJECTED_BUSY,
        f"refused: {FULL}); try again",
        options=tls(),
    ),
    # TLS on one side only.
    "plain to TLS": Dial(
        at_home(for_server()),
        GONE,
        NO_WORD,
        R.NOT_TLS,
        "refused: it does not speak TLS; this listener has an ssl_context",
    ),
    "plain to TLS, alerted": Dial(
        foreign(says(b"\x15\x03\x03\0\x02\x02\x46")),
        R.NOT_S2S,
        "a TLS alert; this side has no TLS (ssl_context=)",
    ),
    "TLS to plain": Dial(
        at_home(),
        R.TLS_ERROR,
        DURING,
        R.NOT_S2S,
        "refused: … a TLS ClientHello; this listener has no TLS (ssl_context=)",
        options=tls(),
    ),
    "TLS to HTTP": Dial(
        foreign(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        R.NOT_TLS,
        "the server does not speak TLS; leave out ssl_context=",
        options=tls(),
    ),
    "TLS to echo": Dial(
        foreign(echo), R.TLS_ERROR, "TLS failed: unexpected message", options=tls()
    ),
    "TLS to hang-up": Dial(foreign(hang_up), R.TLS_ERROR, DURING, options=tls()),
    "TLS to silence": Dial(
        foreign(silent),
        R.HANDSHAKE_TIMEOUT,
        "connected, but TLS was not done within 0.25 s (handshake_timeout)",
        options=tls(),
    ),
    "TLS, then silence": Dial(
        foreign(silent, for_server()),
        R.HANDSHAKE_TIMEOUT,
        "connected, but it said no S2S welcome within 0.25 s (handshake_timeout)",
        options=tls(),
    ),
    "TLS, then HTTP": Dial(
        foreign(says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), for_server()),
        R.NOT_S2S,
        f"it sent an HTTP answer: a web server? {PORT}",
        options=tls(),
    ),
    # The server's certificate.
    "other CA": distrusted(FOREIGN, R.TLS_UNTRUSTED, BAD_CA),
    "expired": distrusted(EXPIRED, R.TLS_EXPIRED, "certificate has expired … clock"),
    "not yet": distrusted(NOT_YET, R.TLS_EXPIRED, "is not valid yet … clock right?"),
    "other address": distrusted(
        CA.issue_cert("127.0.0.9"), R.TLS_HOSTNAME, "for another address; dial one"
    ),
    "other name": distrusted(
        CA.issue_cert("gs-9.example"),
        R.TLS_HOSTNAME,
        "cannot connect to localhost: … for another name; dial one that is in it, or",
        host="localhost",
    ),
    "no server's": distrusted(
        for_clients_only(),
        R.TLS_UNTRUSTED,
        "not one for servers (its extended key usage lacks serverAuth)",
    ),
    # Versions and ciphers.
    "1.2 to 1.3": Dial(
        at_home(only(V13, for_server())),
        R.TLS_ERROR,
        "the server closed during TLS … no TLS version in common",
        R.TLS_VERSION,
        f"refused: {NO_VERSION}",
        options=tls(only(V12, for_dialler())),
    ),
    "1.2 to 1.3, alerted": Dial(
        alerting(only(V13, for_server())),
        R.TLS_VERSION,
        NO_VERSION,
        options=tls(only(V12, for_dialler())),
    ),
    "ciphers": Dial(
        at_home(ciphers("ECDHE-ECDSA-AES128-GCM-SHA256", for_server())),
        R.TLS_ERROR,
        DURING,
        R.TLS_CONFIG,
        "refused: no common cipher, or the ssl_context of this listener has no cert",
        options=tls(ciphers("ECDHE-ECDSA-AES256-GCM-SHA384", for_dialler())),
    ),
    # The dialler's certificate.
    "none shown, 1.2": mutual(V12, None, R.TLS_UNTRUSTED, NO_CERTIFICATE),
    "none shown, 1.3": mutual(V13, None, R.TLS_UNTRUSTED, NO_CERTIFICATE),
    "other shown, 1.2": mutual(V12, FOREIGN, R.TLS_UNTRUSTED, UNTRUSTED),
    "other shown, 1.3": mutual(V13, FOREIGN, R.TLS_UNTRUSTED, UNTRUSTED),
    "expired shown": mutual(V13, EXPIRED, R.TLS_EXPIRED, "its certificate has expired"),
    "none shown, alerted, 1.2": alerted(V12, None, R.TLS_ERROR, NO_COMMON),
    "none shown, alerted, 1.3": alerted(
        V13, None, R.TLS_ERROR, "wants a certificate … has none (load_cert_chain)"
    ),
    "other shown, alerted": alerted(V13, FOREIGN, R.TLS_ERROR, NO_TRUST),
    "expired shown, alerted": alerted(
        V13, EXPIRED, R.TLS_EXPIRED, "says that this side's certificate has expired"
    ),
}


class Caller(Application):
    """Dials by a link, and keeps the first failure."""

    def __init__(self) -> None:
        super().__init__("Caller", config=CONFIG)
        self.error: ConnectionFailedError | None = None

    def make_peer(self) -> OutboundPeer:
        caller = self

        class Failing(OutboundPeer):
            async def on_failed(self, error: ConnectionFailedError) -> None:
                caller.error = error

        return Failing()


@pytest.mark.parametrize("row", DIALS.values(), ids=DIALS)
async def test_both_sides_are_told(row: Dial, caplog: pytest.LogCaptureFixture) -> None:
    trio.socket.set_custom_hostname_resolver(None)
    if row.reason is R.DNS_ERROR:
        trio.socket.set_custom_hostname_resolver(NoNames())
    async with row.place() as spot, open_application(Caller()) as caller:
        link = caller.connect_tcp(row.host, spot.port, caller.make_peer, **row.options)
        await until(lambda: caller.error is not None)
        check_dialler(row, spot, caller, caplog)
        with pytest.raises(PeerDisconnectedError, match="no connection to") as caught:
            await link.request(Echo("hi"))
        assert str(caller.error) in str(caught.value)
        if spot.home is not None:
            await check_acceptor(row, spot.home, caplog)
            await spot.leave()
            await spot.home.check_alive()


def check_dialler(
    row: Dial, spot: Spot, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    error = caller.error
    assert error is not None
    assert error.reason is row.reason
    assert error.__cause__ is not None
    assert f"{row.host}:{spot.port}" in str(error)
    check_words(row.said, str(error))
    assert caller.statistics().failures == {row.reason: 1}
    [line] = lines(caplog, str(error))
    assert "; next attempt in " in line.getMessage()
    assert line.levelno == logging.WARNING
    assert line.exc_info is None


async def check_acceptor(
    row: Dial, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    if row.cause is None:  # It has welcomed the dialler, who then went.
        assert home.statistics().rejections == {}
        return
    assert await home.turned_away() is row.cause
    check_line(row.logged, row.level, home, caplog)


async def test_server_that_dials_itself_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_application(Home()) as home:
        link = home.connect_tcp(HOST, home.port)
        assert await home.turned_away() is R.SELF_CONNECTION
        await until(lambda: bool(home.statistics().failures))
        assert home.statistics().failures == {R.SELF_CONNECTION: 1}
        text = "rejected with code -23: this server has dialled itself"
        check_line(text, logging.WARNING, home, caplog)
        with pytest.raises(PeerDisconnectedError, match="has dialled itself"):
            await link.request(Echo("hi"))
        await home.check_alive()


async def test_link_that_fails_again_and_again_tells_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with in_its_own_time(0.0):
        async with nobody() as spot, open_application(Caller()) as caller:
            caller.connect_tcp(HOST, spot.port)
            await until(lambda: caller.statistics().failures.get(R.REFUSED, 0) > 3)
            assert len(lines(caplog, "cannot connect to ")) == 1


# -- requests --


@attrs.frozen
class Count(Operation[int], code=1):
    text: str


class Counter(Acceptor):
    """Answers an Echo with a number, which is another contract."""

    @handles(Count)
    async def count(self, operation: Count) -> int:
        match operation.text:
            case "bug":
                raise KeyError("secret")
            case "no":
                raise OperationError(7, "not today")
        return len(operation.text)


REQUESTS: dict[str, tuple[str, type[Exception], str]] = {
    "no": ("no", OperationError, "Echo: … failed with return code 7: not today"),
    "bug": (
        "bug",
        OperationError,
        "Echo: … code -1 INTERNAL_ERROR: the handler raised",
    ),
    "wrong answer": ("x", ContractError, "Echo's result … expected str, got int 1"),
}


@pytest.mark.parametrize(("text", "kind", "said"), REQUESTS.values(), ids=REQUESTS)
async def test_failed_request_is_told(
    text: str, kind: type[Exception], said: str, nursery: trio.Nursery
) -> None:
    [listener] = await nursery.start(serve_tcp, Counter, 0)
    async with open_tcp_peer(*listener.socket.getsockname()) as peer:
        with pytest.raises(kind) as caught:
            await peer.request(Echo(text))
        wrong = await peer.request(OperationRequest(1, {0: 5}))
    check_words(said, str(caught.value))
    assert wrong.debug_message == "Count.text (parameter 0): expected str, got int 5"


async def leave_when_asked(stream: trio.abc.Stream) -> None:
    """Welcome a dialler, and go without a word at its request."""
    await stream.receive_some()
    await stream.send_all(welcome(Identity(bytes(16), "gs-1"), None, CONFIG))
    while b"please" not in await stream.receive_some():
        pass


async def test_lost_connection_is_told_with_its_name() -> None:
    async with foreign(leave_when_asked)() as spot:
        who = f"gs-1 at {HOST}:{spot.port} was disconnected"
        async with open_tcp_peer(HOST, spot.port) as peer:
            with pytest.raises(PeerDisconnectedError) as caught:
                await peer.request(Echo("please"))
            said = f"{who} while Echo (operation 1) was waiting: CONNECTION_"
            check_words(f"{said} … (outcome UNKNOWN)", str(caught.value))
            with pytest.raises(PeerDisconnectedError) as caught:
                await peer.request(Echo("again"))
            said = f"Echo (operation 1): {who}: CONNECTION_"
            check_words(f"{said} … (outcome NEVER_SENT)", str(caught.value))


async def test_request_without_a_connection_says_why_and_where() -> None:
    async with nobody() as spot, open_application(Caller()) as caller:
        link = caller.connect_tcp(HOST, spot.port, caller.make_peer)
        await until(lambda: caller.error is not None)
        with pytest.raises(PeerDisconnectedError) as caught:
            await link.request(Echo("hi"))
    where = f"{HOST}:{spot.port}"
    check_words(
        f"NOT_CONNECTED, there is no connection to {where}: … refused … NEVER_SENT",
        str(caught.value),
    )
