"""Twin of `handshake.py`; ids are rows of the catalogue of faults."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_s2s.codec import pack
from trio_s2s.codes import FailureReason
from trio_s2s.config import PeerConfig
from trio_s2s.errors import (
    ConnectionFailedError,
    ConnectionRejectedError,
    EncodeError,
    LocalProtocolError,
)
from trio_s2s.fields import Identity, valid_server_id
from trio_s2s.handshake import hello, read_answer, read_hello, reject, welcome
from trio_s2s.windows import Limits

CONFIG = PeerConfig()
US, THEM = Identity(bytes(16)), Identity(b"i" * 16, "gs-1", "1.2")
FIELDS = {
    0: "gs-1",
    1: b"i" * 16,
    2: "Master",
    4: {0: 1024, 1: 2, 2: 3, 3: 4},
    5: 2500,
}


def body_of(frame: bytes) -> bytes:
    assert int.from_bytes(frame[:4]) == len(frame) - 4
    return frame[4:]


def hello_body(**changes: Any) -> bytes:
    """Make a HELLO by hand; `f4=None` leaves field 4 out."""
    fields: dict[int, Any] = dict(FIELDS)
    for name, value in changes.items():
        if name.startswith("f"):
            fields[int(name[1:])] = value
    fields = {key: value for key, value in fields.items() if value is not None}
    magic = changes.get("magic", "trio-s2s")
    return pack([0, magic, changes.get("versions", [1, 1]), fields])


def welcome_body(version: int = 1, **changes: Any) -> bytes:
    fields: dict[int, Any] = {key: FIELDS[key] for key in (0, 1, 4)}
    fields |= {int(name[1:]): value for name, value in changes.items()}
    kept = {key: value for key, value in fields.items() if value is not None}
    return pack([3, version, kept])


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def read_theirs(body: bytes, config: PeerConfig) -> object:
    """Read an answer as a dialler with an id of its own."""
    return read_answer(body, [US.instance_id], config)


# -- there and back --


def test_hello_arrives() -> None:
    config = PeerConfig(max_frame=2048, heartbeat_interval=1.5)
    said = read_hello(body_of(hello(THEM, "Master", {"a": 1}, config)), CONFIG)
    assert (said.identity, said.application_name) == (THEM, "Master")
    assert said.init_object == {"a": 1}
    assert said.terms.limits == Limits(2048, 1024, 4 * 1024**2, 256 * 1024)
    assert said.terms.heartbeat == 1.5


def test_welcome_arrives() -> None:
    frame = welcome(THEM, ["object"], CONFIG)
    said = read_answer(body_of(frame), [US.instance_id], CONFIG)
    assert said.identity == THEM
    assert said.response_object == ["object"]
    assert not said.resumed


def test_reject_arrives_as_an_error() -> None:
    with pytest.raises(ConnectionRejectedError, match="full") as caught:
        read_answer(body_of(reject(7, "full")), [US.instance_id], CONFIG)
    assert (caught.value.code, caught.value.debug_message) == (7, "full")


def test_t32_reject_is_small_whatever_its_text() -> None:
    assert len(reject(2**60, "ä" * 10_000)) <= 512


def test_reject_of_a_code_that_cannot_travel_is_internal() -> None:
    with pytest.raises(ConnectionRejectedError) as caught:
        read_answer(body_of(reject(2**64, "full")), [US.instance_id], CONFIG)
    assert caught.value.code == -1


@pytest.mark.parametrize("make", [hello, welcome])
def test_objects_that_cannot_travel_are_named(make: Any) -> None:
    args = (US, "", object(), CONFIG) if make is hello else (US, object(), CONFIG)
    name = "init_object" if make is hello else "response_object"
    with pytest.raises(EncodeError, match=f"^{name} cannot travel"):
        make(*args)
    args = (*args[:-2], "x" * 5000, CONFIG)
    with pytest.raises(LocalProtocolError, match=f"this {name} has 5,"):
        make(*args)


def test_handshake_frame_has_4_kib_at_most() -> None:
    empty = len(body_of(welcome(US, b"", CONFIG))) + 1  # bin 16 has one byte more
    assert len(welcome(US, bytes(4096 - empty), CONFIG)) == 4 + 4096
    with pytest.raises(LocalProtocolError, match="4,097 bytes, more than 4,096"):
        welcome(US, bytes(4097 - empty), CONFIG)


def test_smallest_limit_of_elements_has_room_for_a_handshake() -> None:
    small = PeerConfig(max_elements=16)
    read_hello(body_of(hello(THEM, "Master", None, small)), small)
    read_answer(body_of(welcome(THEM, None, small)), [US.instance_id], small)


def test_endless_heartbeat_is_ten_minutes_on_the_wire() -> None:
    config = PeerConfig(heartbeat_interval=float("inf"))
    said = read_hello(body_of(hello(THEM, "", None, config)), CONFIG)
    assert said.terms.heartbeat == 600


# -- what an acceptor refuses --


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(hello_body(magic="trio-s3s"), id="magic"),
        pytest.param(b"\xc1", id="A13"),
        pytest.param(pack("hello"), id="A26"),
        pytest.param(pack({}), id="A26-map"),
    ],
)
def test_a09_what_is_no_s2s_gets_no_answer(body: bytes) -> None:
    with pytest.raises(ConnectionFailedError) as caught:
        read_hello(body, CONFIG)
    assert caught.value.reason is FailureReason.NOT_S2S


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        pytest.param(pack([5, 1, 1, {}]), -2, "expected HELLO, got REQUEST", id="C01"),
        pytest.param(pack([7, 1, {}]), -2, "got EVENT", id="C02"),
        pytest.param(pack([3, 1, {}]), -2, "got WELCOME", id="C04"),
        pytest.param(pack([2, {}]), -2, "got PROOF", id="C04-proof"),
        pytest.param(pack([99]), -2, "got kind 99", id="A28"),
        pytest.param(hello_body() * 2, -2, "2 messages", id="two"),
        pytest.param(hello_body(versions=[2, 3]), -20, "1 to 1, the", id="C27"),
        pytest.param(hello_body(versions=[0, 0]), -20, "dialler 0 to 0", id="C27-low"),
        pytest.param(hello_body(versions=[3, 1]), -20, "3 to 1", id="C27-odd"),
        pytest.param(hello_body(f0="a b"), -2, "server id", id="D19-space"),
        pytest.param(hello_body(f6=nested(33)), -3, "32 deep", id="A21"),
        pytest.param(hello_body(f6={None: 1}), -3, "key of type", id="B05"),
        pytest.param(hello_body()[:-1], -3, "no messages", id="A15"),
        pytest.param(pack([0, "trio-s2s", [1, 1]]), -2, "2 elements", id="A27"),
        pytest.param(pack([0, "trio-s2s", [1], {}]), -2, "wrong versions", id="form"),
        pytest.param(hello_body(f0="x" * 65), -2, "server id", id="D19-long"),
        pytest.param(hello_body(f0="gs\n\x1b[1m"), -2, r"\\n\\x1b", id="B04"),
        pytest.param(hello_body(f6=[[[[]]]] * 5000), -3, "no messages", id="A23"),
        pytest.param(hello_body(f0="gs-\u0661"), -2, "server id", id="D19-digit"),
        (hello_body(f0=None), -2, "without its server id"),
        (hello_body(f1=None), -2, "without its instance id"),
        (hello_body(f1=b"short"), -2, "5 bytes, not 16"),
        (hello_body(f2=None), -2, "without its application name"),
        (hello_body(f2=5), -2, "wrong application name"),
        (hello_body(f3=5), -2, "wrong version"),
        (hello_body(f4=None), -2, "without its limits"),
        (hello_body(f4={0: 1024}), -2, "limit 1"),
        (hello_body(f5="x"), -2, "wrong heartbeat"),
        (hello_body(f9={}), -2, "wrong feature names"),
        *(
            pytest.param(
                hello_body(f4={0: frame, 1: 2, 2: 3, 3: 4}), -2, "limit", id=f"C28-{i}"
            )
            for i, frame in enumerate([0, 1, 1023, -1, True])
        ),
        (hello_body(f4={0: 1024, 1: -2, 2: 3, 3: 4}), -2, "limits"),
    ],
)
def test_wrong_hello_is_rejected(body: bytes, code: int, text: str) -> None:
    with pytest.raises(ConnectionRejectedError, match=text) as caught:
        read_hello(body, CONFIG)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(hello_body(f77="?"), id="C26-field"),
        pytest.param(hello_body(versions=[1, 9]), id="C26-versions"),
        pytest.param(hello_body(f4={0: 2**63, 1: 0, 2: 0, 3: 0, 9: 9}), id="C28-huge"),
        pytest.param(hello_body(f5=2**63), id="C30"),
        pytest.param(hello_body(f5=0), id="C30-0"),
        pytest.param(hello_body(f0=""), id="anonymous"),
        pytest.param(hello_body(f9=["later"]), id="features"),
    ],
)
def test_hello_from_a_later_version_is_taken(body: bytes) -> None:
    read_hello(body, CONFIG)


# -- what a dialler refuses --


@pytest.mark.parametrize(
    ("body", "reason", "text"),
    [
        (pack([1, {}]), FailureReason.AUTH_FAILED, "shared secret"),
        (hello_body(), FailureReason.PROTOCOL_ERROR, "dials as well"),
        (hello_body(f1=bytes(16)), FailureReason.SELF_CONNECTION, "its own dialler"),
        (pack([10, 1]), FailureReason.PROTOCOL_ERROR, "got PING"),
        (pack([99]), FailureReason.PROTOCOL_ERROR, "got kind 99"),
        (welcome_body() * 2, FailureReason.PROTOCOL_ERROR, "2 messages"),
        (welcome_body(2), FailureReason.PROTOCOL_ERROR, "version 2, not offered"),
        (welcome_body(f0="a b"), FailureReason.PROTOCOL_ERROR, "server id"),
        (welcome_body(f4=None), FailureReason.PROTOCOL_ERROR, "limits"),
        (welcome_body(f1=b"short"), FailureReason.PROTOCOL_ERROR, "5 bytes, not 16"),
        (welcome_body(f10=1), FailureReason.PROTOCOL_ERROR, "resumed"),
        (b"HTTP/1.1", FailureReason.NOT_S2S, "no S2S"),
        (hello_body()[:-1], FailureReason.PROTOCOL_ERROR, "no messages"),
        (pack([4, -20, "no", None]), FailureReason.VERSION_MISMATCH, "no"),
    ],
)
def test_wrong_answer_is_a_failure(
    body: bytes, reason: FailureReason, text: str
) -> None:
    with pytest.raises(ConnectionFailedError, match=text) as caught:
        read_answer(body, [US.instance_id], CONFIG)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("read", "body"),
    [
        pytest.param(read_hello, hello_body(f6={"a": [1]}, f9=["x"]), id="HELLO"),
        pytest.param(read_theirs, welcome_body(f6=[1.5], f10=True), id="WELCOME"),
        pytest.param(read_theirs, pack([4, -26, "full", 1000]), id="REJECT"),
        pytest.param(read_theirs, pack([1, {7: bytes(32)}]), id="CHALLENGE"),
        pytest.param(read_hello, pack([2, {13: "k", 14: bytes(32)}]), id="PROOF"),
    ],
)
def test_a34_every_flipped_bit_is_an_answer_or_a_failure(
    read: Any, body: bytes
) -> None:
    for place in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[place // 8] ^= 1 << place % 8
        try:
            read(bytes(flipped), CONFIG)
        except ConnectionFailedError:
            continue


@pytest.mark.parametrize("read", [read_hello, read_theirs])
@given(body=st.binary(max_size=100))
def test_random_bytes_are_only_ever_a_failure(read: Any, body: bytes) -> None:
    try:
        read(body, CONFIG)
    except ConnectionFailedError:
        return
    raise AssertionError(f"{body!r} was taken")


@pytest.mark.parametrize("name", ["", "a", "gs-1.eu_2", "A" * 64])
def test_names_of_servers(name: str) -> None:
    assert valid_server_id(name)
