"""Every form in which a value may be packed, there and back: rows B20 to B22."""

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import msgpack.fallback
import pytest

from tests.hostile import EVENT
from tests.peers import Acceptor, linked
from tests.test_faults_values import WRONG
from trio_s2s import Operation, PeerConfig, handles
from trio_s2s.codec import unpack_messages
from trio_s2s.codes import CloseCode, Kind
from trio_s2s.errors import RemoteProtocolError


@attrs.frozen
class Give(Operation[Any], code=22):
    value: Any


class Giver(Acceptor):
    """Gives back what it is given."""

    @handles(Give)
    async def give(self, operation: Give) -> Any:
        return operation.value


# -- there and back --

WIDE = PeerConfig(max_elements=70_000)
MAKERS: dict[str, Callable[[int], Any]] = {
    "str": "a".__mul__,
    "bin": b"a".__mul__,
    "array": [1].__mul__,
    "map": lambda size: dict.fromkeys(range(size), 1),
}


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("kind", MAKERS)
async def test_b20_sizes_around_the_switch_points_come_back(
    kind: str, size: int
) -> None:
    value = MAKERS[kind](size)
    async with linked(Giver, config=WIDE) as (peer, _):
        assert await peer.request(Give(value)) == value


BITS = [5, 7, 8, 15, 16, 31, 32, 53, 62, 63]
SWITCHES = [
    sign * 2**bits + step for bits in BITS for sign in (1, -1) for step in (-1, 0, 1)
]
INTS = sorted(
    {0, 1, -1, 2**64 - 1, *SWITCHES} - {-(2**63) - 1},
)


async def test_b21_ints_around_the_switch_points_come_back() -> None:
    async with linked(Giver) as (peer, _):
        assert await peer.request(Give(INTS)) == INTS
        for number in INTS:
            assert await peer.request(Give({number: number})) == {number: number}


# -- vectors: every form that the msgpack specification has for a value --


def int_forms(value: int) -> Iterator[bytes]:
    if -32 <= value < 128:
        yield (value & 255).to_bytes(1)
    for power, (unsigned, signed) in enumerate(
        zip(b"\xcc\xcd\xce\xcf", b"\xd0\xd1\xd2\xd3", strict=True)
    ):
        size = 2**power
        if 0 <= value < 256**size:
            yield bytes([unsigned]) + value.to_bytes(size)
        if -(256**size) // 2 <= value < 256**size // 2:
            yield bytes([signed]) + value.to_bytes(size, signed=True)


def float_forms(value: float) -> Iterator[bytes]:
    yield b"\xcb" + struct.pack(">d", value)
    short = struct.pack(">f", value) if abs(value) < 2**127 else b""
    if short and struct.unpack(">f", short)[0] == value:
        yield b"\xca" + short


def sized_forms(
    count: int, content: bytes, short: tuple[int, int], heads: dict[int, int]
) -> Iterator[bytes]:
    first, most = short
    if count < most:
        yield bytes([first | count]) + content
    for head, size in heads.items():
        if count < 256**size:
            yield bytes([head]) + count.to_bytes(size) + content


def time_forms(value: datetime) -> Iterator[bytes]:
    since = value - datetime(1970, 1, 1, tzinfo=UTC)
    seconds, micro = divmod(since // timedelta(microseconds=1), 10**6)
    if 0 <= seconds < 2**32 and micro == 0:
        yield b"\xd6\xff" + seconds.to_bytes(4)
    if 0 <= seconds < 2**34:
        yield b"\xd7\xff" + (micro * 1000 << 34 | seconds).to_bytes(8)
    yield (
        b"\xc7\x0c\xff" + (micro * 1000).to_bytes(4) + seconds.to_bytes(8, signed=True)
    )


def forms(value: Any) -> Iterator[bytes]:
    """Give every way in which a value may be packed."""
    match value:
        case None | bool():
            yield {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
        case int():
            yield from int_forms(value)
        case float():
            yield from float_forms(value)
        case str():
            data = value.encode()
            heads = {0xD9: 1, 0xDA: 2, 0xDB: 4}
            yield from sized_forms(len(data), data, (0xA0, 32), heads)
        case bytes():
            yield from sized_forms(
                len(value), value, (0, 0), {0xC4: 1, 0xC5: 2, 0xC6: 4}
            )
        case list():
            data = b"".join(next(forms(item)) for item in value)
            yield from sized_forms(len(value), data, (0x90, 16), {0xDC: 2, 0xDD: 4})
        case dict():
            pairs = [item for pair in value.items() for item in pair]
            data = b"".join(next(forms(item)) for item in pairs)
            yield from sized_forms(len(value), data, (0x80, 16), {0xDE: 2, 0xDF: 4})
        case datetime():
            yield from time_forms(value)


TIMES = [0, 1, -1, 1514862245, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**34 - 1, 2**34]
VALUES: list[Any] = [
    *(None, False, True),
    *INTS,
    *(0.0, 1.0, -1.0, 0.5, -0.5, 127.0, -32.0, 2.0**31, 2.0**48, 1e300, 0.1),
    *("", "a", "a" * 31, "a" * 32, "a" * 255, "a" * 256, "a" * 65_536),
    *("Кириллица", "ひらがな", "한글", "汉字", "漢字", "❤", "🍺"),
    *(b"", b"\1", b"\0\xff", bytes(255), bytes(256), bytes(65_536)),
    *([], [1], [*range(15)], [*range(16)], ["a"], [[]], [{}], [None, 1.5]),
    *({}, {"a": 1}, {"a": {}}, {"a": []}, {1: "A"}, dict.fromkeys(range(16), 0)),
    *(datetime.fromtimestamp(0, UTC) + timedelta(seconds=time) for time in TIMES),
    *(datetime(1900, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
]


@pytest.fixture(params=["C", "Python"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpack with the one or the other half of msgpack."""
    if request.param == "Python":
        monkeypatch.setattr(msgpack, "unpackb", msgpack.fallback.unpackb)
        monkeypatch.setattr(msgpack, "Unpacker", msgpack.fallback.Unpacker)


@pytest.mark.usefixtures("codec")
@pytest.mark.parametrize("kind", [*dict.fromkeys(map(type, VALUES))])
def test_b22_every_form_of_a_value_is_read_as_this_value(kind: type) -> None:
    of_kind = [value for value in VALUES if type(value) is kind]
    for value, form in [(each, form) for each in of_kind for form in forms(each)]:
        for before in ([], [EVENT + b"\x80"]):
            body = b"".join([*before, EVENT, b"\x81\0", form])
            found = [message for message, _ in unpack_messages(body, 4096)]
            assert found[-1] == [Kind.EVENT, 9, {0: value}]
            assert type(found[-1][2][0]) is type(value)


def test_b22_vectors_are_many() -> None:
    vectors = [form for value in VALUES for form in forms(value)]
    assert len(vectors) == len(set(vectors)) >= 233
    heads = {vector[0] for vector in vectors}
    unused = {0xC1, 0xC8, 0xC9, 0xD4, 0xD5, 0xD8}  # And sizes that no time has.
    assert {*range(0xC0, 0xE0)} - heads == unused
    assert {0x00, 0x7F, 0x80, 0x81, 0x90, 0x9F, 0xA0, 0xBF, 0xE0, 0xFF} <= heads


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
@pytest.mark.usefixtures("codec")
def test_wrong_values_are_one_error_of_either_codec(body: bytes) -> None:
    for before in (b"", EVENT + b"\x80"):
        with pytest.raises(RemoteProtocolError) as caught:
            list(unpack_messages(before + body, 4096))
        assert caught.value.code is CloseCode.DECODE
