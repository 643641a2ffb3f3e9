"""Wrong bytes and frames, in pieces and against a whole peer: A02 to A07, A13 on."""

import contextlib
import gzip
import itertools
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.hostile import (
    EVENT,
    MAX_FRAME,
    SECRET,
    SPLITS,
    Engine,
    Victim,
    bystander,
    check_log,
    engine_end,
    event,
    flips,
    frame,
    hit,
    served,
    settled,
    shaken,
)
from tests.peers import Dialler, Echo, Server, linked, start_server
from tests.streams import fickle_pair
from trio_s2s import DisconnectReason, PeerConfig, open_tcp_peer, serve_tcp
from trio_s2s.codec import pack
from trio_s2s.codes import REASON_OF_ERROR, Kind
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.forms import Message
from trio_s2s.framing import encode_frame

Clock = trio.testing.MockClock
LOST = DisconnectReason.CONNECTION_LOST
PROTOCOL = DisconnectReason.PROTOCOL_ERROR
DECODE = DisconnectReason.DECODE_ERROR
TOO_LARGE = DisconnectReason.FRAME_TOO_LARGE
CODES = {reason: code for code, reason in REASON_OF_ERROR.items()}


@pytest.fixture(autouse=True)
def _log_is_clean(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level("INFO", "trio_s2s")
    yield
    check_log(caplog)


# -- bytes that end a connection --

FILLED = event(b"\xa7" + SECRET.encode())


@attrs.frozen
class Row:
    """Bytes, and what the connection that receives them ends with."""

    name: str
    data: bytes
    reason: DisconnectReason
    words: str
    ends: bool = False
    """Whether the stream ends behind them; the end is what is wrong then."""


def nested(depth: int) -> bytes:
    """Pack lists inside each other, around nothing."""
    return b"\x91" * (depth - 1) + b"\x90"


def decode_row(name: str, body: bytes, words: str = "holds no messages") -> Row:
    return Row(name, encode_frame([body]), DECODE, words)


def protocol_row(name: str, body: bytes, words: str) -> Row:
    return Row(name, encode_frame([body]), PROTOCOL, words)


ENDS = [
    Row("A02 end inside the length", b"\0\0", LOST, "after 2 of 4 bytes", ends=True),
    Row(
        "A03 end inside a body",
        (400).to_bytes(4) + EVENT + bytes(97),
        LOST,
        "after 100 of 400 bytes of a frame",
        ends=True,
    ),
    Row("A03 end between frames", b"", LOST, "without a goodbye", ends=True),
]
FRAMES = [
    Row("A04 length 0", bytes(4), PROTOCOL, "a frame of length 0"),
    Row("A04 behind a frame", FILLED + bytes(4), PROTOCOL, "a frame of length 0"),
    Row(
        "A06 one above the limit",
        (MAX_FRAME + 1).to_bytes(4),
        TOO_LARGE,
        "a frame of 524,289 bytes, more than the 524,288 that",
    ),
    Row("A07 length of 4 GiB", b"\xff" * 4, TOO_LARGE, "4,294,967,295 bytes, more"),
]
BODIES = [
    decode_row("A13 the byte that is never used", b"\xc1"),
    decode_row("A13 in a parameter", EVENT + b"\x81\0\xc1"),
    decode_row("A14 a begun message behind one", FILLED[4:] + b"\xd9", "lacks its end"),
    decode_row("A14 an unused byte behind one", FILLED[4:] + b"\xc1"),
    decode_row("A15 str of 5 with 2", EVENT + b"\x81\0\xd9\5ab"),
    decode_row("A15 array of 3 with 1", b"\x93\7"),
    decode_row("A16 str of 4 GiB", b"\xdb\xff\xff\xff\xff"),
    decode_row("A16 bin of 4 GiB", b"\xc6\xff\xff\xff\xff"),
    decode_row("A16 str of 4 GiB as a parameter", EVENT + b"\x81\0\xdb" + b"\xff" * 4),
    decode_row("A17 ext of 4 GiB", b"\xc9\xff\xff\xff\xff\5"),
    decode_row("A17 ext of 4 GiB as a parameter", EVENT + b"\x81\0\xc9" + b"\xff" * 5),
    decode_row("A18 array of 2**32 - 1", b"\xdd\xff\xff\xff\xff"),
    decode_row("A18 in a parameter", EVENT + b"\x81\0\xdd\xff\xff\xff\xff"),
    decode_row("A19 map of 2**32 - 1", b"\xdf\xff\xff\xff\xff"),
    decode_row("A19 in a parameter", EVENT + b"\x81\0\xdf\xff\xff\xff\xff"),
    decode_row("A20 8 nested arrays of 100 Mi", b"\xdd\6\x40\0\0" * 8),
    decode_row("A21 depth 33", EVENT + b"\x81\0" + nested(33), "more than 32 deep"),
    decode_row("A21 maps 33 deep", EVENT + b"\x81\0" * 33 + b"\x80", "than 32 deep"),
    decode_row("A22 depth 1,024", EVENT + b"\x81\0" + nested(1024)),
    decode_row("A22 depth 1,025", EVENT + b"\x81\0" + nested(1025)),
    decode_row("A22 depth 100,000", EVENT + b"\x81\0" + nested(100_000)),
    decode_row("A23 array of 4,097", EVENT + b"\x81\0\xdc\x10\1" + bytes(4097)),
    decode_row("A23 map of 4,097", EVENT + b"\x81\0\xde\x10\1" + bytes(2 * 4097)),
    decode_row("A24 empty arrays", EVENT + b"\x81\0\xdd\0\7\0\0" + b"\x90" * 0x70000),
    protocol_row("A24 empty arrays as messages", b"\x90" * MAX_FRAME, "list of 0"),
    decode_row(
        "A25 ext values",
        EVENT + b"\x81\0\xdc\x10\0" + b"\xd6\5\0\0\0\0" * 4096,
        "extension type 5",
    ),
    decode_row("A25 ext values as messages", b"\xd4\5\0" * (MAX_FRAME // 3)),
    protocol_row("A26 int", b"\5", "begins with its kind, not int 5"),
    protocol_row("A26 str", b"\xa1x", "begins with its kind, not str 'x'"),
    protocol_row("A26 map", b"\x81\7\1", "begins with its kind, not dict of 1"),
    protocol_row("A26 nil", b"\xc0", "begins with its kind, not NoneType None"),
    protocol_row("A26 bin", b"\xc4\1x", "begins with its kind, not bytes b'x'"),
    protocol_row("A26 float", b"\xca\0\0\0\0", "begins with its kind, not float 0.0"),
    protocol_row("A26 time", b"\xd6\xff\0\0\0\0", "begins with its kind, not datetime"),
    protocol_row("A26 empty array", b"\x90", "begins with its kind, not list of 0"),
    protocol_row("A26 nil behind one", FILLED[4:] + b"\xc0", "not NoneType None"),
    protocol_row("A29 True", b"\x93\xc3\1\x80", "begins with its kind, not list of 3"),
    protocol_row("A29 7.0", b"\x93\xcb\x40\x1c" + bytes(6) + b"\1\x80", "list of 3"),
    protocol_row("A29 '7'", b"\x93\xa17\1\x80", "begins with its kind, not list of 3"),
    protocol_row("A29 b'7'", b"\x93\xc4\0017\1\x80", "its kind, not list of 3"),
    protocol_row("A29 nil", b"\x93\xc0\1\x80", "begins with its kind, not list of 3"),
    protocol_row("A29 -7", b"\x93\xf9\1\x80", "begins with its kind, not list of 3"),
    protocol_row("A35 zlib", zlib.compress(FILLED[4:]), "its kind, not int 120"),
    protocol_row("A35 gzip", gzip.compress(FILLED[4:]), "its kind, not int 31"),
    protocol_row("A35 zstd", b"\x28\xb5\x2f\xfd\0\0", "its kind, not int 40"),
    protocol_row("A35 lz4", b"\x04\x22\x4d\x18\0\0", "its kind, not int 4"),
]
SAMPLES: dict[Kind, Message] = {
    Kind.HELLO: [Kind.HELLO, "trio-s2s", [1, 1], {}],
    Kind.CHALLENGE: [Kind.CHALLENGE, {}],
    Kind.PROOF: [Kind.PROOF, {}],
    Kind.WELCOME: [Kind.WELCOME, 1, {}],
    Kind.REJECT: [Kind.REJECT, 1, "no", None],
    Kind.REQUEST: [Kind.REQUEST, 1, 1, {0: "hi", 1: [1.5]}, {1: 3}],
    Kind.RESPONSE: [Kind.RESPONSE, 1, 0, {0: b"hi"}, None],
    Kind.EVENT: [Kind.EVENT, 1, {0: 5, "x": [None, True]}, 3],
    Kind.CANCEL: [Kind.CANCEL, 1, 1],
    Kind.CREDIT: [Kind.CREDIT, 3, 70],
    Kind.PING: [Kind.PING, 300],
    Kind.PONG: [Kind.PONG, 300],
    Kind.GOODBYE: [Kind.GOODBYE, 0, "bye", 1, False],
    Kind.CONTRACTS: [Kind.CONTRACTS, [[0, 1, 0, "Echo"]]],
}
REQUIRED = {Kind.REQUEST: 4, Kind.EVENT: 3}
"""How many elements a kind must have, where that is fewer than in its sample."""
UP = [kind for kind in SAMPLES if kind not in range(5)]
SHORT = [
    protocol_row(
        f"A27 {kind.name} with {size} of its elements",
        pack(SAMPLES[kind][: size + 1]),
        f"{kind.name} has {size} elements, not",
    )
    for kind in UP
    for size in range(REQUIRED.get(kind, len(SAMPLES[kind])) - 1)
]
WRONG = FRAMES + BODIES + SHORT


def rows(table: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table, ids=[row.name for row in table])


def split_ways(table: list[Row]) -> list[Any]:
    # A large frame arrives in large pieces: it is the same code for any size.
    return [
        pytest.param(row, split, id=f"{row.name}-{split}")
        for row in table
        for split in (SPLITS if len(row.data) < 2000 else [10_000])
    ]


@pytest.mark.parametrize(("row", "split"), split_ways(WRONG))
def test_wrong_bytes_end_the_engine_however_they_are_cut(
    row: Row, split: int | str
) -> None:
    reason, words = engine_end(FILLED + row.data, split)
    assert reason is row.reason
    assert row.words in words
    assert len(words) < 300


@rows(ENDS + WRONG)
async def test_wrong_bytes_end_one_peer_and_all_who_wait_for_it(
    row: Row, autojump_clock: Clock
) -> None:
    damage = await hit(row.data, ends=row.ends)
    hooks = [one for one in damage.victim.record if one != "event 9"]
    assert hooks == ["connected", f"disconnected {row.reason.name}"]
    assert row.words in damage.victim.detail
    assert [error.reason for error in damage.waiting] == [row.reason] * 2
    assert all(row.words in str(error) for error in damage.waiting)
    told = LOST if row.ends else DisconnectReason.REPORTED_BY_PEER
    assert damage.sender.record == ["connected", f"disconnected {told.name}"]
    assert [error.reason for error in damage.asking] == [told] * 2
    assert damage.sender.goodbye_code == CODES.get(row.reason)
    assert trio.current_time() <= 2


@pytest.mark.parametrize("split", SPLITS)
@rows(ENDS[:2])
def test_unfinished_frame_is_named_by_its_progress(row: Row, split: int | str) -> None:
    engine = Engine()
    engine.feed(FILLED + row.data, split)
    assert len(engine.taken) == 1
    assert row.words.removeprefix("after ") in engine.decoder.progress()


LARGE_CLAIMS = {"A06", "A07", "A16", "A17", "A18", "A19", "A20"}


@rows([row for row in WRONG if row.name[:3] in LARGE_CLAIMS])
def test_declared_sizes_take_no_memory(row: Row) -> None:
    engine_end(row.data, 2)
    tracemalloc.start()
    try:
        engine_end(row.data, 2)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a06_frame_above_the_limit_is_refused_by_its_length() -> None:
    engine = Engine()
    engine.feed((MAX_FRAME + 1).to_bytes(4)[:3], 1)
    with pytest.raises(RemoteProtocolError):
        engine.feed((MAX_FRAME + 1).to_bytes(4)[3:], 1)
    assert engine.decoder.progress().startswith("0 of 524,289 bytes")


# -- bytes that are taken --


def event_of(size: int) -> bytes:
    """Make an event whose frame's body has exactly so many bytes."""
    head = EVENT + b"\x81\0\xc6"
    inside = size - len(head) - 4
    return encode_frame([head, inside.to_bytes(4), bytes(inside)])


def full(leaf: bytes, size: int) -> bytes:
    """Pack arrays of 4,000 values, as many as fit."""
    part = b"\xdc" + (4000).to_bytes(2) + leaf * 4000
    count = size // len(part)
    return b"\xdc" + count.to_bytes(2) + part * count


TAKEN = {
    "A05 exactly the limit": event_of(MAX_FRAME),
    "A21 depth 32": event(nested(32)),
    "A21 maps 32 deep": encode_frame([EVENT, b"\x81\0" * 32, b"\x80"]),
    "A23 array of 4,096": event(b"\xdc\x10\0" + bytes(4096)),
    "A23 map of 4,096": event(
        b"\xde\x10\0" + b"".join(b"\xcd" + i.to_bytes(2) + b"\0" for i in range(4096))
    ),
    "A24 empty arrays within the limits": event(full(b"\x90", MAX_FRAME - 100)),
    "A24 nesting within the limits": event(full(nested(28), MAX_FRAME - 100)),
    "A25 times": event(full(b"\xd6\xff\0\0\0\1", MAX_FRAME - 100)),
    "A27 trailing elements": frame([Kind.EVENT, 9, {}, 0, "new", {1: 2}]),
}


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN)
async def test_what_is_within_the_limits_is_taken(
    data: bytes, nursery: trio.Nursery
) -> None:
    for split in SPLITS if len(data) < 2000 else [10_000]:
        engine = Engine()
        engine.feed(data, split)
        [message] = engine.taken
        assert message[0] == Kind.EVENT
    server = await start_server(nursery, Victim)
    async with shaken(server) as far:
        await far.stream.send_all(data)
        assert await served(far)
        assert server.peer.record == ["connected", "event 9"]


@pytest.mark.parametrize("split", SPLITS)
def test_a05_limit_is_exact_however_it_is_cut(split: int | str) -> None:
    engine = Engine(max_frame=1024)
    engine.feed(event_of(1024), split)
    assert len(engine.taken) == 1
    with pytest.raises(RemoteProtocolError, match="1,025 bytes, more than the 1,024"):
        engine.feed(event_of(1025), split)


@pytest.mark.parametrize("kind", UP, ids=lambda kind: kind.name)
@pytest.mark.parametrize("split", SPLITS)
def test_a27_trailing_elements_of_any_kind_are_ignored(
    kind: Kind, split: int | str
) -> None:
    # The full sample comes first, since elements may be left out at the end.
    engine = Engine()
    engine.protocol.request_queued(10)
    engine.protocol.event_queued(3, 500)
    engine.feed(frame([*SAMPLES[kind], "new", [1], None]), split)
    assert engine.taken == [[*SAMPLES[kind], "new", [1], None]] or kind is Kind.CANCEL


@pytest.mark.parametrize("kind", [14, 15, 16, 31, 99, 0x80 | 7, 2**63, 2**64 - 1])
async def test_a28_unknown_kinds_are_ignored_and_counted(
    kind: int, nursery: trio.Nursery
) -> None:
    data = frame([kind], [kind, "x", {0: [SECRET]}])
    for split in SPLITS:
        engine = Engine()
        engine.feed(data, split)
        assert (engine.taken, engine.protocol.glitches) == ([], 2)
    server = await start_server(nursery, Victim)
    async with shaken(server) as far:
        await far.stream.send_all(data)
        assert await served(far)
        assert server.peer.statistics().glitches == 2


@pytest.mark.parametrize("split", SPLITS)
def test_a30_thousand_frames_arrive_in_order_in_any_pieces(split: int | str) -> None:
    engine = Engine()
    for number in range(1000):
        engine.feed(frame([Kind.PONG, number]), split)
        # What was handed on is not kept, or each byte would cost more than the last.
        assert engine.decoder.progress() == ""
    assert [message[1] for message in engine.taken] == list(range(1000))


async def test_a30_peer_takes_a_thousand_frames_byte_by_byte(
    nursery: trio.Nursery,
) -> None:
    server = await start_server(nursery, Victim)
    stream, far = fickle_pair()
    stream.piece = 1
    server.listener.offer(stream)
    async with shaken(server, far.stream) as far:
        await far.stream.send_all(b"".join(map(note, range(1000))))
        await settled()
        assert server.peer.events == list(range(1000))


def note(number: int) -> bytes:
    return frame([Kind.EVENT, 1, {0: number}])


def test_a31_frames_of_one_piece_are_all_taken() -> None:
    engine = Engine()
    data = b"".join(frame([Kind.PONG, number]) for number in range(10_000))
    engine.feed(data, len(data))
    assert [message[1] for message in engine.taken] == list(range(10_000))


async def test_a31_peer_takes_10_000_frames_of_one_segment_and_lets_others_work(
    nursery: trio.Nursery,
) -> None:
    server = await start_server(nursery, Victim, PeerConfig(max_event_weight=2**20))
    turns: list[int] = []
    async with shaken(server) as far:
        await far.stream.send_all(b"".join(map(note, range(10_000))))
        while len(server.peer.events) < 10_000:
            turns.append(len(server.peer.events))
            await trio.lowlevel.checkpoint()
        assert server.peer.events == list(range(10_000))
    steps = [after - before for before, after in itertools.pairwise(turns)]
    assert max(steps) <= 2 * 1000  # Either of two tasks may be the first of a round.


def test_a32_prefix_may_be_split_anywhere() -> None:
    data = note(1) + note(2)
    for cut in range(len(data) + 1):
        engine = Engine()
        for part in (data[:cut], data[cut:]):
            engine.feed(part, max(len(part), 1))
        assert [message[2] for message in engine.taken] == [{0: 1}, {0: 2}]


async def test_a32_peer_takes_a_prefix_in_two_pieces(nursery: trio.Nursery) -> None:
    server = await start_server(nursery, Victim)
    data = note(1) + note(2)
    cut = len(note(1)) + 2
    async with shaken(server) as far:
        for part in (data[:cut], data[cut:]):
            await far.stream.send_all(part)
            await settled()
        assert server.peer.events == [1, 2]


LAST = frame([Kind.GOODBYE, 0, "bye", 0, True])


@pytest.mark.parametrize(
    "rest",
    [note(1), frame([Kind.PING, 1]), LAST, b"\0\0", bytes(4), b"\xff" * 99],
    ids=["event", "ping", "goodbye", "half a length", "length 0", "rubbish"],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a33_bytes_behind_the_last_goodbye_are_ignored(
    rest: bytes, at_once: bool, autojump_clock: Clock
) -> None:
    engine = Engine()
    engine.feed(LAST, 1)
    engine.feed(note(1) + LAST, 1)
    assert [message[0] for message in engine.taken] == [Kind.GOODBYE]
    async with linked(Victim) as (_, server), bystander(server):
        victim = server.peers[0]
        async with shaken(server) as far:
            last = server.peer
            await far.stream.send_all(LAST + rest if at_once else LAST)
            if not at_once:
                await settled()
                with contextlib.suppress(trio.BrokenResourceError):  # It has closed.
                    await far.stream.send_all(rest)
            await last.ended.wait()
            assert last.record == ["connected", "disconnected REMOTE_CLOSE"]
            assert (last.detail, last.events) == ("bye", [])
        assert victim.reason is None


# -- A34: every bit of every byte --

FLIPPED = {kind: frame(sample) for kind, sample in SAMPLES.items()}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_a34_flipped_bit_is_a_message_or_an_error_of_the_engine(kind: Kind) -> None:
    refused = 0
    for data in flips(FLIPPED[kind]):
        engine = Engine()
        engine.protocol.request_queued(10)
        engine.protocol.event_queued(3, 500)
        try:
            engine.feed(data + note(1), len(data) + 99)
        except RemoteProtocolError:
            refused += 1
    assert 8 < refused < len(FLIPPED[kind]) * 8


@pytest.mark.parametrize("kind", UP, ids=lambda kind: kind.name)
async def test_a34_flipped_bit_harms_no_more_than_its_own_peer(
    kind: Kind, autojump_clock: Clock
) -> None:
    async with linked(Victim) as (_, server), bystander(server):
        for data in flips(FLIPPED[kind]):
            async with shaken(server) as far:
                await far.stream.send_all(data)
                await settled()
            await server.peer.ended.wait()
            assert server.peer.record[0] == "connected"
            assert server.peer.record[-1].startswith("disconnected ")
            assert server.peer.reason is not DisconnectReason.INTERNAL_ERROR


# -- through a real socket --


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param((400).to_bytes(4) + bytes(100), LOST, id="A03"),
        pytest.param((MAX_FRAME + 1).to_bytes(4), TOO_LARGE, id="A06"),
        pytest.param(encode_frame([b"\xc1"]), DECODE, id="A13"),
        pytest.param(encode_frame([b"\xdd\6\x40\0\0" * 8]), DECODE, id="A20"),
        pytest.param(encode_frame([b"\xc0"]), PROTOCOL, id="A26"),
        pytest.param(b"".join(map(note, range(1000))), LOST, id="A31"),
    ],
)
async def test_socket_carries_the_same(
    data: bytes, reason: DisconnectReason, nursery: trio.Nursery
) -> None:
    server = Server(Victim)
    serve = partial(serve_tcp, server.create_peer, 0)
    [listener] = await nursery.start(serve)
    port = listener.socket.getsockname()[1]
    async with open_tcp_peer("127.0.0.1", port, Dialler) as other:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with shaken(server, stream) as far:
            await far.stream.send_all(data)
            await far.stream.send_eof()
            await server.peer.ended.wait()
        assert server.peer.reason is reason
        assert await other.request(Echo("alive")) == "alive"
