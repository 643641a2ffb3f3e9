"""Twin of `codec.py`; ids are rows of the catalogue of faults."""

import datetime
import enum
import gc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import strategies
from trio_s2s.codec import (
    pack,
    pack_event,
    pack_parameters,
    pack_request,
    pack_response,
    unpack_messages,
)
from trio_s2s.codes import CloseCode, Kind
from trio_s2s.errors import EncodeError, RemoteProtocolError

LIMIT = 4096


def unpack(body: bytes) -> list[Any]:
    return [message for message, _ in unpack_messages(body, LIMIT)]


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


# -- there and back --


@given(strategies.messages)
def test_message_survives_the_way(message: list[Any]) -> None:
    body = pack(message)
    assert list(unpack_messages(body, LIMIT)) == [(message, len(body))]


@given(st.lists(strategies.messages, min_size=2, max_size=6))
def test_batch_survives_the_way_with_sizes(messages: list[list[Any]]) -> None:
    packed = [pack(message) for message in messages]
    found = list(unpack_messages(b"".join(packed), LIMIT))
    assert [message for message, _ in found] == messages
    assert [size for _, size in found] == list(map(len, packed))


@given(strategies.ids, strategies.codes, strategies.parameters, strategies.channels)
def test_messages_around_packed_parameters_are_as_if_packed_whole(
    number: int, code: int, table: dict[int | str, Any], channel: int
) -> None:
    inner = pack_parameters(table, LIMIT)
    assert unpack(pack_request(number, code, inner, {})) == [
        [Kind.REQUEST, number, code, table]
    ]
    assert unpack(pack_request(number, code, inner, {1: 3})) == [
        [Kind.REQUEST, number, code, table, {1: 3}]
    ]
    assert unpack(pack_response(number, -3, inner, "why")) == [
        [Kind.RESPONSE, number, -3, table, "why"]
    ]
    event = [Kind.EVENT, code, table] + ([channel] if channel else [])
    assert unpack(pack_event(code, inner, channel)) == [event]


class Color(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ((1, 2), [1, 2]),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (Color.RED, 1),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        ("\x00\u202e", "\x00\u202e"),
    ],
)
def test_b29_values_arrive_as_documented(value: Any, arrives: Any) -> None:
    [message] = unpack(pack_event(1, pack_parameters({0: value}, LIMIT), 0))
    assert message[2] == {0: arrives}


@pytest.mark.parametrize("size", [255, 256, 65_535, 65_536])
@pytest.mark.parametrize("kind", [str, bytes])
def test_b20_sizes_at_the_switch_points(size: int, kind: type) -> None:
    value = "a" * size if kind is str else b"a" * size
    [message] = unpack(pack_event(1, pack_parameters({0: value}, LIMIT), 0))
    assert message[2] == {0: value}


def test_aware_datetime_travels() -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    [message] = unpack(pack_event(1, pack_parameters({0: moment}, LIMIT), 0))
    assert message[2] == {0: moment}


def test_enums_are_keys_by_their_value() -> None:
    [message] = unpack(pack_event(1, pack_parameters({Color.RED: 2}, LIMIT), 0))
    assert message[2] == {1: 2}


class Table(dict[Any, Any]):
    """A mapping that is not exactly a dict."""


def test_any_mapping_is_a_table() -> None:
    assert pack_parameters(Table({1: 2}), LIMIT) == pack({1: 2})


# -- what cannot leave --

ITSELF: dict[Any, Any] = {}
ITSELF[0] = ITSELF


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        pytest.param({0: 2**64}, r"parameters\[0\] cannot travel: int", id="B23"),
        pytest.param({3: {"when": {1}}}, r"parameters\[3\]\.when .*set", id="B24"),
        pytest.param(
            {0: datetime.datetime(2026, 1, 1)},
            r"parameters\[0\]",
            id="B24-naive",
        ),
        pytest.param({"a": ["\ud800"]}, r"parameters\.a\[0\]", id="B25"),
        pytest.param(ITSELF, "nested more than 32", id="B26-itself"),
        pytest.param({0: nested(33)}, "nested more than 32", id="B26-33"),
        pytest.param({0: nested(1100)}, "nested more than 32", id="B26-1100"),
        ({None: 1}, "its key None is no int or str"),
        ({0: {b"x": 1}}, r"parameters\[0\] .* its key b'x'"),
        ({True: 1}, "its key True"),
        ({2**70: 1}, "a key of parameters"),
        ({0: [0] * 4097}, r"4,097 elements, more than 4,096 \(max_elements\)"),
        ({0: msgpack.ExtType(5, b"x")}, "extension type"),
        ({0: [1], 1: [2, {}, {3}]}, r"parameters\[1\]\[2\] cannot travel: set"),
        ({0: [[object()]]}, r"parameters\[0\]\[0\]\[0\] cannot travel: object"),
    ],
)
def test_what_cannot_travel_is_named_with_its_path(parameters: Any, text: str) -> None:
    with pytest.raises(EncodeError, match=text):
        pack_parameters(parameters, LIMIT)
    assert pack_parameters({0: 1}, LIMIT) == b"\x81\0\1"


def test_a21_depth_32_may_travel() -> None:
    table: dict[int | str, Any] = {0: nested(32)}
    [message] = unpack(pack_event(1, pack_parameters(table, LIMIT), 0))
    assert message[2] == table


def test_failure_that_nothing_explains_keeps_the_packers_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(value: object) -> bytes:
        if isinstance(value, dict):
            raise ValueError("too odd")
        return b""

    monkeypatch.setattr("trio_s2s.codec.pack", fail)
    with pytest.raises(EncodeError, match="parameters cannot travel: too odd"):
        pack_parameters({0: 1}, LIMIT)


# -- what must not come in --

EVENT = b"\x93\x07\x01"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\xc1", id="A13"),
        pytest.param(EVENT + b"\x80" + b"\xd9", id="A14"),
        pytest.param(EVENT + b"\x81\x00\xd9\x05ab", id="A15"),
        pytest.param(b"\xdb\xff\xff\xff\xff", id="A16-str"),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="A16-bin"),
        pytest.param(b"\xc9\xff\xff\xff\xff\x05", id="A17"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="A18"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="A19"),
        pytest.param(b"\xdd\x06\x40\x00\x00" * 8, id="A20"),
        pytest.param(b"\x91" * 1023 + b"\x00", id="A22-1023"),
        pytest.param(b"\x91" * 100_000, id="A22-100000"),
        pytest.param(EVENT + b"\x81\0" + b"\xdc\x10\x01" + bytes(4097), id="A23-list"),
        pytest.param(EVENT + b"\x81\0\xa2\xff\xfe", id="B01"),
        pytest.param(EVENT + b"\x81\0\xa3\xed\xa0\x80", id="B02"),
        pytest.param(EVENT + b"\x81\xc0\0", id="B05-nil"),
        pytest.param(EVENT + b"\x81\xcb\x7f\xf8\0\0\0\0\0\0\0", id="B05-nan"),
        pytest.param(EVENT + b"\x81\xc3\0", id="B05-bool"),
        pytest.param(EVENT + b"\x81\x90\0", id="B05-list"),
        pytest.param(EVENT + b"\x81\x80\0", id="B05-map"),
        pytest.param(EVENT + b"\x81\xc4\1x\0", id="B05-bin"),
        pytest.param(EVENT + b"\x81\0\xd4\x05\0", id="B16"),
        pytest.param(EVENT + b"\x81\0\xc7\x03\xff\0\0\0", id="B17"),
        pytest.param(EVENT + b"\x81\0\xc7\x0c\xff\0\0\0\0\x7f" + b"\xff" * 7, id="B18"),
    ],
)
def test_bytes_that_are_no_messages_are_one_error(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        unpack(body)
    assert caught.value.code in (CloseCode.DECODE, CloseCode.PROTOCOL)


def test_a21_depth_33_is_refused() -> None:
    body = EVENT + b"\x81\0" + b"\x91" * 33 + b"\0"
    with pytest.raises(RemoteProtocolError, match="32 deep") as caught:
        unpack(body)
    assert caught.value.code is CloseCode.DECODE


def test_a21_depth_counts_empty_containers() -> None:
    with pytest.raises(RemoteProtocolError, match="32 deep"):
        unpack(EVENT + b"\x81\0" + b"\x91" * 32 + b"\x90")
    unpack(EVENT + b"\x81\0" + b"\x91" * 31 + b"\x90")


def test_b06_the_last_of_equal_keys_wins() -> None:
    [message] = unpack(EVENT + b"\x82\0\1\0\2")
    assert message[2] == {0: 2}


LISTS = b"\x81\0\xdc\0\x14" + (b"\xdc\x0f\xa0" + b"\x90" * 4000) * 20


@pytest.mark.parametrize("before", [b"", EVENT + b"\x80"])
def test_large_message_is_unpacked_without_collecting_garbage(before: bytes) -> None:
    collections: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        collections.append(phase)

    messages = unpack_messages(before + EVENT + LISTS, LIMIT)
    gc.callbacks.append(note)
    try:
        assert len(list(messages)) == 1 + bool(before)
    finally:
        gc.callbacks.remove(note)
    # 80,000 lists would be more than a hundred; a few may come when all are there.
    assert collections.count("start") < 5


@pytest.mark.parametrize("is_enabled", [True, False])
@pytest.mark.parametrize("behind", [b"", EVENT + b"\x80", b"\xc1", b"\x93"])
def test_garbage_collector_is_left_as_it_was(is_enabled: bool, behind: bytes) -> None:
    if not is_enabled:
        gc.disable()
    try:
        _unpack_or_refuse(EVENT + LISTS + behind)
        _unpack_or_refuse(EVENT + LISTS[:-1] + b"\xc1")
        assert gc.isenabled() is is_enabled
    finally:
        gc.enable()


@given(st.binary(max_size=200))
def test_random_bytes_are_messages_or_one_error(body: bytes) -> None:
    _unpack_or_refuse(body)


@given(strategies.messages, st.data())
def test_a34_flipped_bits_are_messages_or_one_error(
    message: list[Any], data: st.DataObject
) -> None:
    body = bytearray(pack(message))
    place = data.draw(st.integers(0, len(body) * 8 - 1))
    body[place // 8] ^= 1 << place % 8
    _unpack_or_refuse(bytes(body))


def _unpack_or_refuse(body: bytes) -> None:
    codes: set[CloseCode] = set()
    try:
        unpack(body)
    except RemoteProtocolError as error:
        codes.add(error.code)
    assert codes <= {CloseCode.DECODE, CloseCode.PROTOCOL}
