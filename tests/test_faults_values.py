"""Values that are wrong, odd or large inside frames that are whole: rows B01 to B34."""

import enum
import math
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.hostile import (
    EVENT,
    SECRET,
    SPLITS,
    Engine,
    Victim,
    check_log,
    engine_end,
    hit,
    settled,
    shaken,
)
from tests.peers import Acceptor, Dialler, Echo, Wait, linked, start_server
from tests.streams import Far
from trio_s2s import (
    ConnectionFailedError,
    DisconnectReason,
    EncodeError,
    EventData,
    FailureReason,
    InboundPeer,
    MessageTooLargeError,
    Operation,
    OperationError,
    OperationRequest,
    OperationResponse,
    PeerConfig,
    ReturnCode,
    SendParameters,
    handles,
    open_peer,
)
from trio_s2s.codec import pack
from trio_s2s.codes import CloseCode, Kind
from trio_s2s.fields import Identity
from trio_s2s.framing import encode_frame
from trio_s2s.handshake import hello, welcome

Clock = trio.testing.MockClock
DECODE = DisconnectReason.DECODE_ERROR
INVALID = ReturnCode.OPERATION_INVALID


@pytest.fixture(autouse=True)
def _log_is_clean(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level("INFO", "trio_s2s")
    yield
    check_log(caplog)


# -- what ends the connection --

TEXTS = {
    "B01 0xff": b"\xa2a\xff",
    "B01 a character without its end": b"\xa2a\xe2",
    "B01 above U+10FFFF": b"\xa4\xf4\x90\x80\x80",
    "B02 lone surrogate": b"\xa3\xed\xa0\x80",
    "B02 overlong": b"\xa2\xc0\x80",
}
EXTENSIONS = {
    "B16 ext 5": b"\xd4\5\0",
    "B16 ext 5 of length 0": b"\xc7\0\5",
    "B16 ext -2": b"\xd4\xfe\0",
    "B16 ext -128": b"\xd4\x80\0",
    "B16 ext -1 of length 0": b"\xc7\0\xff",
    "B17 time of 3 bytes": b"\xc7\3\xff\0\0\0",
    "B17 time 64 with 10**9 ns": b"\xd7\xff" + ((10**9 << 34) | 1).to_bytes(8),
    "B17 time 96 with 2**32 - 1 ns": b"\xc7\x0c\xff" + b"\xff" * 4 + bytes(8),
    "B18 time 96 with 2**63 - 1 s": b"\xc7\x0c\xff\0\0\0\0\x7f" + b"\xff" * 7,
    "B18 time 96 with -2**63 s": b"\xc7\x0c\xff\0\0\0\0\x80" + bytes(7),
    "B18 time in the year 0": b"\xc7\x0c\xff\0\0\0\0"
    + (-62167219200).to_bytes(8, signed=True),
    "B18 time in the year 10,000": b"\xc7\x0c\xff\0\0\0\0" + (253402300800).to_bytes(8),
}
KEYS = {
    "B05 nil": b"\xc0",
    "B05 NaN": b"\xcb\x7f\xf8" + bytes(6),
    "B05 float": b"\xcb\x3f\xf8" + bytes(6),
    "B05 true": b"\xc3",
    "B05 false": b"\xc2",
    "B05 list": b"\x91\1",
    "B05 map": b"\x80",
    "B05 bin": b"\xc4\1a",
    "B05 time": b"\xd6\xff\0\0\0\1",
}
PLACES: dict[str, tuple[bytes, bytes]] = {
    "in an event": (EVENT, b""),
    "within a list": (EVENT + b"\x81\0\x91", b""),
    "in a request": (b"\x94\5\xcd\3\xe8\1", b""),
    "in a request's metadata": (b"\x95\5\xcd\3\xe8\1\x80\x81\2", b""),
    "in a response": (b"\x95\6\1\0", b"\xc0"),
}
WRONG = {
    **{name: EVENT + b"\x81\0" + value for name, value in TEXTS.items()},
    **{f"{name} as key": EVENT + b"\x81" + key + b"\0" for name, key in TEXTS.items()},
    "B01 text of a goodbye": b"\x95\x0c\0\xa1\xff\0\xc2",
    **{name: EVENT + b"\x81\0" + value for name, value in EXTENSIONS.items()},
    **{
        f"{name} {place}": before + b"\x81" + key + b"\0" + behind
        for name, key in KEYS.items()
        for place, (before, behind) in PLACES.items()
    },
    "B07 a and b'a'": EVENT + b"\x82\xa1a\1\xc4\1a\2",
    "B07 True before 1": EVENT + b"\x82\xc3\1\1\2",
    "B07 1.0 before 1": EVENT + b"\x82\xca\x3f\x80\0\0\1\1\2",
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
async def test_values_that_are_none_end_one_peer_and_all_who_wait_for_it(
    body: bytes, autojump_clock: Clock
) -> None:
    data = encode_frame([body])
    for split in SPLITS:
        assert engine_end(data, split)[0] is DECODE
    damage = await hit(data)
    assert damage.victim.record == ["connected", "disconnected DECODE_ERROR"]
    assert [error.reason for error in damage.waiting] == [DECODE] * 2
    assert damage.sender.goodbye_code == CloseCode.DECODE
    assert len(damage.asking) == 2


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
async def test_b05_key_in_a_hello_turns_its_dialler_away(
    key: bytes, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery, Victim)
    far = Far(server.listener.dial())
    async with far.stream:
        head = b"\x94\0" + pack("trio-s2s") + pack([1, 1])
        await far.stream.send_all(encode_frame([head, b"\x81", key, b"\0"]))
        [answer] = await far.receive_rest()
    assert answer[:2] == [Kind.REJECT, CloseCode.DECODE]
    assert server.peers == []


# -- what a caller is told --


def _look_up(name: str) -> int:
    return {"low": 1, "high": 2}[name]


def _refuse(_: object, __: object, value: Any) -> None:
    if value == "no":
        raise ValueError("not today")


@attrs.frozen
class Fill(Operation[None], code=20):
    number: int = 1
    ratio: float = 1.0
    name: str = attrs.field(default="", validator=_refuse)
    data: bytes = b""
    level: int = attrs.field(default=1, validator=attrs.validators.in_(range(100)))
    rank: str | int = attrs.field(default="low", converter=_look_up)


@attrs.frozen
class Need(Operation[str], code=21):
    name: str
    count: int


@attrs.frozen
class Give(Operation[Any], code=22):
    value: Any


class Strict(Victim):
    """Takes what fits, and gives back what it was given."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.filled: list[Fill] = []

    @handles(Fill)
    async def fill(self, operation: Fill) -> None:
        self.filled.append(operation)

    @handles(Need)
    async def need(self, operation: Need) -> str:
        return operation.name * operation.count

    @handles(Give)
    async def give(self, operation: Give) -> Any:
        return operation.value

    async def on_operation_request(
        self, request: OperationRequest, send_parameters: SendParameters
    ) -> OperationResponse | None:
        if request.operation_code != 30:
            return None
        return request.respond(request.parameters)


INVALIDS: dict[str, tuple[int, dict[Any, Any], str]] = {
    "B09 2**63": (20, {4: 2**63}, "a valid Fill, got 'level' must be in range(0, 100)"),
    "B09 2**64 - 1": (20, {4: 2**64 - 1}, "must be in range(0, 100)"),
    "B09 -2**63": (20, {4: -(2**63)}, "must be in range(0, 100)"),
    "B12 float for int": (
        20,
        {0: 1.0},
        "number (parameter 0): expected int, got float",
    ),
    "B12 inexact int": (20, {1: 2**53 + 1}, "an int that is exact as a float, got int"),
    "B12 2**64 - 1 for float": (20, {1: 2**64 - 1}, "an int that is exact as a float"),
    "B13 bool for int": (20, {0: True}, "number (parameter 0): expected int, got bool"),
    "B13 bool for float": (20, {1: True}, "expected float, got bool True"),
    "B14 nil": (21, {0: None, 1: 1}, "Need.name (parameter 0): expected str, got None"),
    "B14 nil where there is a default": (20, {0: None}, "expected int, got None"),
    "B15 missing": (21, {1: 1}, "Need.name (parameter 0): expected str, got nothing"),
    "B15 all missing": (
        21,
        {},
        "; Need.count (parameter 1): expected int, got nothing",
    ),
    "B19 bin for str": (20, {2: b"a"}, "name (parameter 2): expected str, got bytes"),
    "B19 str for bin": (
        20,
        {3: "a"},
        "data (parameter 3): expected bytes, got str 'a'",
    ),
    "B30 validator": (20, {2: "no"}, "expected a valid Fill, got not today"),
    "B30 converter": (20, {5: "odd"}, "expected a valid Fill, got odd"),
}


@pytest.mark.parametrize(("code", "table", "words"), INVALIDS.values(), ids=INVALIDS)
async def test_parameters_that_do_not_fit_are_told_to_their_caller_alone(
    code: int, table: dict[Any, Any], words: str
) -> None:
    async with linked(Strict) as (peer, server):
        answer = await peer.request(OperationRequest(code, table))
        assert answer.return_code == INVALID
        assert words in answer.debug_message
        assert "Traceback" not in answer.debug_message
        assert len(answer.parameters[0]) == answer.debug_message.count("expected")
        assert server.peer.filled == []
        assert await peer.request(Echo("alive")) == "alive"


FITTING: dict[str, tuple[dict[Any, Any], Fill]] = {
    "B08 key -1": ({-1: 5, 0: 7}, Fill(7)),
    "B08 key 256": ({256: 5}, Fill()),
    "B08 key 2**64 - 1": ({2**64 - 1: 5, "x": 6}, Fill()),
    "B09 bound": ({4: 99}, Fill(level=99)),
    "B09 2**64 - 1 without a bound": ({0: 2**64 - 1}, Fill(2**64 - 1)),
    "B12 exact int for float": ({1: 2**53}, Fill(ratio=2.0**53)),
    "B15 unknown field": ({99: 5, "new": [SECRET]}, Fill()),
}


@pytest.mark.parametrize(("table", "filled"), FITTING.values(), ids=FITTING)
async def test_parameters_that_fit_are_filled_in(
    table: dict[Any, Any], filled: Fill
) -> None:
    async with linked(Strict) as (peer, server):
        answer = await peer.request(OperationRequest(20, table))
        assert answer.return_code == 0
        assert server.peer.filled == [filled]
        assert type(server.peer.filled[0].ratio) is float


async def test_b08_keys_are_any_int() -> None:
    table: dict[int | str, int] = {-1: 1, 256: 2, -(2**63): 3, 2**64 - 1: 4, "": 5}
    async with linked(Strict) as (peer, _):
        assert (await peer.request(OperationRequest(30, table))).parameters == table


async def test_b31_class_is_filled_in_by_the_task_of_its_handler() -> None:
    tasks: list[str] = []

    @attrs.frozen
    class Heavy(Operation[None], code=23):
        def __attrs_post_init__(self) -> None:
            tasks.append(trio.lowlevel.current_task().name)

    class Slow(Victim):
        @handles(Heavy)
        async def heavy(self, operation: Heavy) -> None:
            await trio.lowlevel.checkpoint()

    async with linked(Slow) as (peer, _):
        assert (await peer.request(OperationRequest(23))).return_code == 0
    assert tasks == ["heavy (request 1)"]


def test_b32_two_handlers_of_one_class_are_a_type_error_with_both_names() -> None:
    with pytest.raises(TypeError, match="need handles Need and again handles Need"):

        class Twice(Strict):
            @handles(Need)
            async def again(self, operation: Need) -> str:
                return ""


def test_b32_two_handlers_of_one_code_are_a_type_error_with_both_names() -> None:
    @attrs.frozen
    class Clash(Operation[None], code=21):
        pass

    with pytest.raises(TypeError, match=r"Need and .*Clash, both with code 21"):

        class Twice(Strict):
            @handles(Clash)
            async def clash(self, operation: Clash) -> None: ...


async def test_b33_unknown_operation_is_told_with_its_code() -> None:
    @attrs.frozen
    class Unknown(Operation[None], code=77):
        pass

    async with linked(Strict) as (peer, server):
        with pytest.raises(OperationError, match="unknown operation 77") as caught:
            await peer.request(Unknown())
        assert caught.value.return_code == ReturnCode.UNKNOWN_OPERATION
        assert await peer.request(Echo("alive")) == "alive"
        assert server.peer.reason is None


async def test_b34_unknown_events_are_counted_told_once_and_cost_no_window(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = PeerConfig(max_event_weight=200)
    async with linked(InboundPeer, config=config) as (peer, server):
        await settled()
        before = server.peer.statistics().messages_received
        for number in range(20):
            await peer.send_event(EventData(77, {0: SECRET, 1: number}))
        await settled()
        assert server.peer.statistics().messages_received == before + 20
        assert peer.record == ["connected"]
    lines = [one.getMessage() for one in caplog.records]
    assert len([line for line in lines if "nobody handles event 77" in line]) == 1


async def test_b34_hook_of_unknown_events_has_them_all() -> None:
    async with linked(Victim) as (peer, server):
        for number in (77, 78, 77):
            await peer.send_event(EventData(number))
        await settled()
        assert server.peer.record == ["connected", "event 77", "event 78", "event 77"]


# -- odd, but to be taken --


class Keeper(Acceptor):
    """Keeps the events that it is sent."""

    async def on_event(self, event: EventData, send_parameters: SendParameters) -> None:
        self.record.append(repr(event.parameters))


ODD: dict[str, tuple[bytes, dict[Any, Any]]] = {
    "B06 the last of two equal keys": (EVENT + b"\x82\0\1\0\2", {0: 2}),
    "B06 the last of three": (EVENT + b"\x83\xa1a\1\xa1a\2\xd9\1a\3", {"a": 3}),
    "B07 1 before True": (EVENT + b"\x82\1\1\xc3\2", {1: 2}),
    "B07 1 before 1.0": (EVENT + b"\x82\1\1\xcb\x3f\xf0" + bytes(6) + b"\2", {1: 2}),
    "B07 1 and '1'": (EVENT + b"\x82\1\1\xa11\2", {1: 1, "1": 2}),
    "B10 int in 8 bytes": (b"\x93\7\xcf" + (9).to_bytes(8) + b"\x81\0\1", {0: 1}),
    "B10 kind in 2 bytes": (b"\x93\xcd\0\7\x09\x80", {}),
    "B10 array of 4 bytes' size": (b"\xdd\0\0\0\3\7\x09\x80", {}),
    "B10 map of 4 bytes' size": (EVENT + b"\xdf\0\0\0\1\0\1", {0: 1}),
    "B10 str of 4 bytes' size": (EVENT + b"\x81\0\xdb\0\0\0\1a", {0: "a"}),
    "B10 key in 8 bytes": (EVENT + b"\x81\xd3" + (5).to_bytes(8) + b"\1", {5: 1}),
    "B11 NaN": (EVENT + b"\x81\0\xcb\x7f\xf8" + bytes(6), {0: math.nan}),
    "B11 signalling NaN": (EVENT + b"\x81\0\xca\x7f\xa0\0\0", {0: math.nan}),
    "B11 inf": (EVENT + b"\x81\0\xca\x7f\x80\0\0", {0: math.inf}),
    "B11 -inf": (EVENT + b"\x81\0\xcb\xff\xf0" + bytes(6), {0: -math.inf}),
    "B11 -0.0": (EVENT + b"\x81\0\xca\x80\0\0\0", {0: -0.0}),
}


@pytest.mark.parametrize(("body", "table"), ODD.values(), ids=ODD)
async def test_odd_packing_is_taken_for_what_it_means(
    body: bytes, table: dict[Any, Any], nursery: trio.Nursery
) -> None:
    for split in SPLITS:
        engine = Engine()
        engine.feed(encode_frame([body]), split)
        assert repr(engine.taken) == repr([[int(Kind.EVENT), 9, table]])
    server = await start_server(nursery, Keeper)
    async with shaken(server) as far:
        await far.stream.send_all(encode_frame([body]))
        await settled()
        assert server.peer.record == ["connected", repr(table)]


MARKS = "\u0301" * 250_000  # 500 kB in UTF-8, the most that a frame takes.


@pytest.mark.parametrize(
    "text",
    ["\0", "a\0b", "\u202eevil", "\x1b[31m\n\r", MARKS],
    ids=["B03 NUL", "B03 NUL inside", "B03 RTL", "B03 escapes", "B03 marks"],
)
async def test_text_of_any_characters_is_data(text: str) -> None:
    async with linked(Strict) as (peer, _):
        assert await peer.request(Give(text)) == text


@pytest.mark.parametrize(
    "text", ["a\0b", "\u202eevil", "\x1b[31m\nX", "e" + MARKS[:900]]
)
async def test_b03_names_are_data_and_are_escaped_where_they_are_told(
    text: str, caplog: pytest.LogCaptureFixture, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery, Victim)
    near = server.listener.dial()
    async with open_peer(near, Dialler, application_name=text) as peer:
        assert server.peer.init_request.application_name == text
        await peer.send_event(EventData(1, {0: text}))
        await settled()
        await server.peer.disconnect(text)
        await peer.ended.wait()
        assert peer.detail.isprintable()
        assert peer.reason is DisconnectReason.REMOTE_CLOSE
    assert "Note.number (parameter 0): expected int, got str" in caplog.text


NAMES = ["a\nb", "a\x1b[31mb", "a\0", "a b", "a" * 65, "\u202ea", "e\u0301"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_b04_name_of_a_dialler_must_be_one(
    name: str, caplog: pytest.LogCaptureFixture, nursery: trio.Nursery
) -> None:
    server = await start_server(nursery, Victim)
    far = Far(server.listener.dial())
    async with far.stream:
        identity = Identity(bytes(16), name)
        await far.stream.send_all(hello(identity, "", None, PeerConfig()))
        [answer] = await far.receive_rest()
    assert answer[:2] == [Kind.REJECT, CloseCode.PROTOCOL]
    assert answer[2].isprintable()
    assert server.peers == []
    assert "rejected with code -2" in caplog.text


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_b04_name_of_an_acceptor_must_be_one(name: str) -> None:
    near, far = trio.testing.memory_stream_pair()
    await far.send_all(welcome(Identity(bytes(16), name), None, PeerConfig()))
    peer = Dialler()
    with pytest.raises(ConnectionFailedError) as caught:
        async with open_peer(near, lambda: peer):
            raise AssertionError("not reached")
    assert caught.value.reason is FailureReason.PROTOCOL_ERROR
    assert str(caught.value).isprintable()
    assert peer.record == ["failed PROTOCOL_ERROR"]


# -- what must not leave --

ITSELF: dict[Any, Any] = {}
ITSELF[0] = ITSELF


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


UNSENDABLE: dict[str, tuple[dict[Any, Any], str]] = {
    "B23 int of 65 bits": ({0: 2**64}, r"parameters[0] cannot travel: int"),
    "B23 below -2**63": ({0: [-(2**63) - 1]}, r"parameters[0][0] cannot travel: int"),
    "B24 set": ({3: {"when": {1}}}, r"parameters[3].when cannot travel: set"),
    "B24 object": ({3: [object()]}, r"parameters[3][0] cannot travel: object"),
    "B24 naive time": ({3: {"when": datetime(2026, 1, 1)}}, r"parameters[3].when"),
    "B24 Decimal": ({"a": Decimal(1)}, r"parameters.a cannot travel: Decimal"),
    "B24 complex": ({"a": [1, 1j]}, r"parameters.a[1] cannot travel: complex"),
    "B25 lone surrogate": ({0: {"x": "\ud800"}}, r"parameters[0].x cannot travel: str"),
    "B25 as a key": ({0: {"\ud800": 1}}, r"a key of parameters[0] cannot travel"),
    "B26 itself": (ITSELF, "nested more than 32 deep"),
    "B26 depth 33": ({0: nested(33)}, "nested more than 32 deep"),
    "B26 depth 600": ({0: nested(600)}, "nested more than 32 deep"),
    "B26 depth 1,100": ({0: nested(1100)}, "nested more than 32 deep"),
}


def calls(peer: Dialler, table: Any) -> list[Callable[[], Awaitable[object]]]:
    """Give every way to send a table that may wait."""
    request = OperationRequest(30, table)
    return [
        lambda: peer.request(request),
        lambda: peer.send_operation_request(request),
        lambda: peer.send_event(EventData(9, table)),
    ]


@pytest.mark.parametrize(("table", "words"), UNSENDABLE.values(), ids=UNSENDABLE)
async def test_what_cannot_travel_is_the_callers_own_error(
    table: dict[Any, Any], words: str
) -> None:
    async with linked(Strict) as (peer, server):
        before = peer.statistics().messages_sent
        for call in calls(peer, table):
            with pytest.raises(EncodeError, match=re.escape(words)):
                await call()
        with pytest.raises(EncodeError):
            peer.send_event_nowait(EventData(9, table))
        assert peer.statistics().messages_sent == before
        assert await peer.request(Echo("alive")) == "alive"
        assert server.peer.record == ["connected"]


async def test_b27_too_large_a_message_is_told_with_both_sizes() -> None:
    small = PeerConfig(max_frame=256 * 1024)
    async with linked(Strict, server_config=small) as (peer, server):
        for call in calls(peer, {0: bytes(300 * 1024)}):
            with pytest.raises(MessageTooLargeError) as caught:
                await call()
            assert 300 * 1024 < caught.value.size < 300 * 1024 + 50
            assert f"{caught.value.size:,} bytes, more than the 262,144" in str(caught)
        assert await peer.request(Echo("alive")) == "alive"
        assert server.peer.record == ["connected"]


async def test_b28_what_is_sent_is_what_it_was_at_the_call(
    autojump_clock: Clock,
) -> None:
    config = PeerConfig(max_concurrent_requests=1)
    answers: list[Any] = []
    slot = trio.CancelScope()

    async def ask(value: list[int]) -> None:
        answers.append(await peer.request(Give(value)))

    async with linked(Strict, server_config=config) as (peer, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_hold, peer, slot)
            await settled()
            values = [1, 2]
            nursery.start_soon(ask, values)
            await settled()
            values.append(3)
            slot.cancel()
        assert answers == [[1, 2]]


async def _hold(peer: Dialler, slot: trio.CancelScope) -> None:
    with slot:
        await peer.request(Wait())


async def test_b28_event_is_packed_before_it_waits() -> None:
    async with linked(Keeper) as (peer, server):
        items = [1]
        peer.send_event_nowait(EventData(9, {0: items}))
        items.append(2)
        await settled()
        assert server.peer.record == ["connected", "{0: [1]}"]


class Color(enum.IntEnum):
    RED = 1


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "comes_back"),
    [
        pytest.param(Color.RED, 1, id="B29 IntEnum"),
        pytest.param(Word("a"), "a", id="B29 str subclass"),
        pytest.param((1, (2,)), [1, [2]], id="B29 tuple"),
        pytest.param(bytearray(b"a"), b"a", id="B29 bytearray"),
        pytest.param(memoryview(b"a"), b"a", id="B29 memoryview"),
        pytest.param({Color.RED: Color.RED}, {1: 1}, id="B29 IntEnum as a key"),
    ],
)
async def test_values_of_kin_travel_as_their_plain_form(
    value: Any, comes_back: Any
) -> None:
    async with linked(Strict) as (peer, _):
        found = await peer.request(Give(value))
        assert (type(found), found) == (type(comes_back), comes_back)
