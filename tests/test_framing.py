"""Twin of `framing.py`; ids are rows of the catalogue of faults."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import chunks
from trio_s2s.codes import CloseCode
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.framing import FrameDecoder, encode_frame


def drain(decoder: FrameDecoder) -> list[bytes]:
    return list(iter(decoder.next_frame, None))


def test_frame_is_its_length_and_its_messages() -> None:
    assert encode_frame([b"ab", b"c"]) == b"\0\0\0\3abc"


@given(st.data(), st.lists(st.binary(min_size=1, max_size=50), max_size=10))
def test_a32_frames_survive_any_chunking(
    data: st.DataObject, bodies: list[bytes]
) -> None:
    stream = b"".join(encode_frame([body]) for body in bodies)
    decoder = FrameDecoder(50)
    found: list[bytes] = []
    for chunk in data.draw(chunks(stream)):
        decoder.receive_data(chunk)
        found += drain(decoder)
    assert found == bodies
    assert decoder.progress() == ""


def test_a30_a_thousand_frames_byte_by_byte() -> None:
    stream = b"".join(encode_frame([bytes([i % 256])]) for i in range(1000))
    decoder = FrameDecoder(10)
    found = []
    for index in range(len(stream)):
        decoder.receive_data(stream[index : index + 1])
        found += drain(decoder)
    assert found == [bytes([i % 256]) for i in range(1000)]


def test_a31_ten_thousand_frames_at_once() -> None:
    decoder = FrameDecoder(10)
    decoder.receive_data(encode_frame([b"x"]) * 10_000)
    assert len(drain(decoder)) == 10_000


def test_a04_length_0_is_refused() -> None:
    decoder = FrameDecoder(10)
    decoder.receive_data(bytes(4))
    with pytest.raises(RemoteProtocolError) as caught:
        decoder.next_frame()
    assert caught.value.code is CloseCode.PROTOCOL


def test_a05_the_largest_frame_is_taken() -> None:
    decoder = FrameDecoder(1024)
    decoder.receive_data(encode_frame([bytes(1024)]))
    assert decoder.next_frame() == bytes(1024)


@pytest.mark.parametrize(
    "size",
    [pytest.param(1025, id="A06"), pytest.param(2**32 - 1, id="A07")],
)
def test_frame_that_is_too_large_is_refused_by_its_length_alone(size: int) -> None:
    decoder = FrameDecoder(1024)
    decoder.receive_data(size.to_bytes(4))
    with pytest.raises(RemoteProtocolError, match="1,024") as caught:
        decoder.next_frame()
    assert caught.value.code is CloseCode.FRAME_TOO_LARGE


def test_limit_may_change_between_frames() -> None:
    decoder = FrameDecoder(4)
    decoder.receive_data(encode_frame([b"abcd"]) + encode_frame([bytes(100)]))
    assert decoder.next_frame() == b"abcd"
    decoder.max_frame = 100
    assert decoder.next_frame() == bytes(100)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(b"\0\0", "2 of 4 bytes of a frame's length", id="A02"),
        pytest.param(b"\0\0\1\x90" + bytes(100), "100 of 400 bytes", id="A03"),
        (b"", ""),
    ],
)
def test_progress_says_where_the_stream_stands(data: bytes, text: str) -> None:
    decoder = FrameDecoder(1024)
    decoder.receive_data(data)
    assert decoder.next_frame() is None
    assert decoder.progress().startswith(text)
    assert (decoder.progress() == "") == (text == "")


def test_first_bytes_are_kept_for_a_guess() -> None:
    decoder = FrameDecoder(10)
    decoder.receive_data(b"GET / HTTP/1.1\r\nHost: x")
    assert decoder.first_bytes() == b"GET / HTTP/1.1\r\n"
