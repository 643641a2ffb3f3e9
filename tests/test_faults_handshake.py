"""What is said at the wrong time, or wrongly, before there is a connection."""

import attrs
import pytest
import trio
import trio.testing

from tests.hostile import HELLO, check_log, frame, settled, shaken
from tests.peers import Acceptor, Dialler, MemoryListener, linked, start_server
from tests.streams import Far
from trio_s2s import (
    ConnectionFailedError,
    EventData,
    FailureReason,
    InboundPeer,
    InitRequest,
    MessageTooLargeError,
    OperationRequest,
    PeerConfig,
    open_peer,
)
from trio_s2s.codes import CloseCode, Kind
from trio_s2s.forms import Message

FIELDS = {
    0: "",
    1: bytes(16),
    2: "",
    4: {0: 2048, 1: 5, 2: 10_000, 3: 10_000},
    5: 2500,
}

SAMPLES: dict[int, Message] = {
    Kind.HELLO: [Kind.HELLO, "trio-s2s", [1, 1], FIELDS],
    Kind.CHALLENGE: [Kind.CHALLENGE, {7: bytes(32)}],
    Kind.PROOF: [Kind.PROOF, {13: "key", 14: bytes(32)}],
    Kind.WELCOME: [Kind.WELCOME, 1, FIELDS],
    Kind.REJECT: [Kind.REJECT, 5, "no", None],
    Kind.REQUEST: [Kind.REQUEST, 1, 1, {0: "x"}],
    Kind.RESPONSE: [Kind.RESPONSE, 1, 0, {}, None],
    Kind.EVENT: [Kind.EVENT, 1, {0: 5}],
    Kind.CANCEL: [Kind.CANCEL, 1, 1],
    Kind.CREDIT: [Kind.CREDIT, 0, 70],
    Kind.PING: [Kind.PING, 1],
    Kind.PONG: [Kind.PONG, 1],
    Kind.GOODBYE: [Kind.GOODBYE, 0, "bye", 0, True],
    Kind.CONTRACTS: [Kind.CONTRACTS, []],
    99: [99, "from a later version"],
}
"""One message of every kind, and one of a kind that does not exist."""


KINDS = {int(kind) for kind in Kind}


class Untouched:
    """A server's application code, which must not run before the handshake is done."""

    def __init__(self) -> None:
        self.called = 0

    def __call__(self, init_request: InitRequest) -> InboundPeer:
        self.called += 1
        return Acceptor(init_request)


def named(kind: int) -> str:
    return Kind(kind).name if kind in KINDS else "unknown"


# -- the first word, at the acceptor --

FIRST = [
    pytest.param(kind, id=f"{'C01' if kind == Kind.REQUEST else 'C02'} {named(kind)}")
    for kind in SAMPLES
    if kind not in (Kind.HELLO, Kind.PROOF, Kind.WELCOME)
] + [
    pytest.param(Kind.PROOF, id="C01 PROOF without a challenge"),
    pytest.param(Kind.WELCOME, id="C04 the acceptor's own word"),
]


@pytest.mark.parametrize("kind", FIRST)
async def test_any_first_word_but_hello_is_rejected_before_code_of_ours_runs(
    kind: int, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    application = Untouched()
    server = await start_server(nursery, application)
    far = Far(server.listener.dial())
    await far.send(SAMPLES[kind])
    [answer] = await far.receive_rest()
    name = named(kind) if kind in KINDS else "kind 99"
    assert answer[:3] == [
        Kind.REJECT,
        CloseCode.PROTOCOL,
        f"expected HELLO, got {name}",
    ]
    assert application.called == 0
    await far.stream.aclose()
    async with open_peer(server.listener.dial()):
        assert application.called == 1
    check_log(caplog)


@pytest.mark.parametrize(
    "kind", [pytest.param(k, id=f"C01 {named(k)}") for k in SAMPLES]
)
async def test_nothing_may_follow_hello_before_welcome(
    kind: int, nursery: trio.Nursery
) -> None:
    application = Untouched()
    server = await start_server(nursery, application)
    far = Far(server.listener.dial())
    await far.stream.send_all(HELLO + frame(SAMPLES[kind]))
    [answer] = await far.receive_rest()
    assert answer[:2] == [Kind.REJECT, CloseCode.PROTOCOL]
    assert "followed by more" in answer[2]
    assert application.called == 0
    await far.stream.aclose()


# -- the first word, at the dialler --

ANSWERS: dict[int, tuple[FailureReason, str]] = {
    Kind.HELLO: (FailureReason.PROTOCOL_ERROR, "the other side dials as well"),
    Kind.CHALLENGE: (FailureReason.AUTH_FAILED, "proof of a shared secret"),
    Kind.REJECT: (FailureReason.REJECTED, "code 5: no"),
}
"""The answers to HELLO that have words of their own."""


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(k, id=f"{'C04' if k in (0, 2) else 'C02'} {named(k)}")
        for k in SAMPLES
        if k != Kind.WELCOME
    ],
)
async def test_any_answer_but_welcome_fails_the_dialler(kind: int) -> None:
    near, far = trio.testing.memory_stream_pair()
    peer = Dialler()
    await Far(far).send(SAMPLES[kind])
    reason, text = ANSWERS.get(
        kind,
        (FailureReason.PROTOCOL_ERROR, "expected WELCOME or REJECT, got"),
    )
    with pytest.raises(ConnectionFailedError, match=text) as caught:
        async with open_peer(near, lambda: peer):
            raise AssertionError("not reached")
    assert caught.value.reason is reason
    assert peer.record == [f"failed {reason.name}"]


# -- what both sides say of themselves --


async def welcome_of(listener: MemoryListener, hello: Message) -> tuple[Message, Far]:
    far = Far(listener.dial())
    await far.send(hello)
    return await far.receive(), far


async def test_c26_later_minor_versions_are_understood(nursery: trio.Nursery) -> None:
    server = await start_server(nursery)
    fields = FIELDS | {9: ["more"], 77: "new", "x": [1]}
    hello = [Kind.HELLO, "trio-s2s", [1, 7], fields, "an element more"]
    answer, far = await welcome_of(server.listener, hello)
    assert answer[:2] == [Kind.WELCOME, 1]
    await settled()
    assert server.peer.record == ["connected"]
    await far.stream.aclose()


async def test_c27_later_major_version_is_rejected_with_both_ranges(
    nursery: trio.Nursery,
) -> None:
    server = await start_server(nursery)
    hello = [Kind.HELLO, "trio-s2s", [3, 4], FIELDS]
    answer, far = await welcome_of(server.listener, hello)
    assert answer[:2] == [Kind.REJECT, CloseCode.VERSION]
    assert answer[2] == "this side speaks protocol 1 to 1, the dialler 3 to 4"
    await far.stream.aclose()


async def test_c27_dialler_of_another_version_fails_with_the_words() -> None:
    near, far = trio.testing.memory_stream_pair()
    await Far(far).send([Kind.REJECT, -20, "this side speaks protocol 3 to 4", None])
    with pytest.raises(ConnectionFailedError, match="protocol 3 to 4") as caught:
        async with open_peer(near):
            raise AssertionError("not reached")
    assert caught.value.reason is FailureReason.VERSION_MISMATCH


@pytest.mark.parametrize(
    "frame_limit", [pytest.param(n, id=f"C28 {n}") for n in (0, 1, 1023, -1)]
)
async def test_senseless_frame_limit_is_rejected(
    frame_limit: int, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery)
    limits = {0: frame_limit, 1: 5, 2: 10_000, 3: 10_000}
    hello = [Kind.HELLO, "trio-s2s", [1, 1], FIELDS | {4: limits}]
    answer, far = await welcome_of(server.listener, hello)
    assert answer[:2] == [Kind.REJECT, CloseCode.PROTOCOL]
    assert "wrong limits" in answer[2]
    assert server.peers == []
    await far.stream.aclose()


@pytest.mark.parametrize("size", [pytest.param(2**63, id="C28 2**63")])
async def test_huge_limits_change_nothing_of_ours(
    size: int, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery)
    limits = dict.fromkeys(range(4), size)
    hello = [Kind.HELLO, "trio-s2s", [1, 1], FIELDS | {4: limits}]
    answer, far = await welcome_of(server.listener, hello)
    assert answer[0] == Kind.WELCOME
    assert answer[2][4][0] == PeerConfig().max_frame
    await settled()
    peer = server.peer
    with pytest.raises(MessageTooLargeError) as caught:
        await peer.send_event(EventData(1, {0: bytes(600_000)}))
    assert caught.value.max_size == PeerConfig().max_frame
    await far.stream.aclose()


async def test_c29_message_above_the_other_sides_limit_is_refused_here(
    autojump_clock: trio.testing.MockClock,
) -> None:
    small = PeerConfig(max_frame=1024)
    async with linked(server_config=small) as (peer, server):
        large = bytes(10 * 1024)
        with pytest.raises(MessageTooLargeError, match="1,024") as caught:
            await peer.send_event(EventData(1, {0: large}))
        assert caught.value.size > 10_000
        with pytest.raises(MessageTooLargeError, match="1,024"):
            await peer.request(OperationRequest(1, {0: large}))
        assert (await peer.request(OperationRequest(1))).return_code == -4
        assert server.peer.record == ["connected"]


@attrs.frozen
class Wish:
    """A heartbeat interval in ms, and what is in force with our own of 0.1 s."""

    asked: int
    in_force: float


@pytest.mark.parametrize(
    "wish",
    [
        pytest.param(wish, id=f"C30 {wish.asked} ms")
        for wish in (
            Wish(0, 0.1),
            Wish(1, 0.1),
            Wish(5000, 5),
            Wish(31_536_000_000, 600),
        )
    ],
)
async def test_heartbeat_wish_is_clamped(
    wish: Wish, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    config = PeerConfig(heartbeat_interval=0.1)
    server = await start_server(nursery, config=config)
    hello = [Kind.HELLO, "trio-s2s", [1, 1], FIELDS | {5: wish.asked}]
    _, far = await welcome_of(server.listener, hello)
    await far.send([Kind.PING, 1])
    await server_ended(server.peer)
    assert trio.current_time() == pytest.approx(3 * wish.in_force)
    await far.stream.aclose()


async def server_ended(peer: Acceptor) -> None:
    await peer.ended.wait()


async def test_shaken_hands_are_shaken_for_good(nursery: trio.Nursery) -> None:
    """The helpers above would hide a server that never says WELCOME."""
    server = await start_server(nursery)
    async with shaken(server):
        await settled()
        assert server.peer.record == ["connected"]
