"""Twin of `foreign.py`."""

import pytest

from trio_s2s.codes import FailureReason
from trio_s2s.errors import RemoteProtocolError
from trio_s2s.foreign import guess_protocol, wrong_first_frame


@pytest.mark.parametrize(
    ("first", "text"),
    [
        pytest.param(b"GET / HTTP/1.1", "web client", id="A10"),
        pytest.param(b"HTTP/1.1 400", "web server", id="A10-answer"),
        pytest.param(b"\x16\x03\x01\x02", "listener has no TLS", id="A11"),
        pytest.param(b"SSH-2.0-x", "SSH", id="A12-ssh"),
        pytest.param(b"PROXY TCP4", "PROXY", id="A12-proxy"),
        pytest.param(b"*1\r\n$4", "Redis", id="A12-redis"),
        pytest.param(b"POST", "web client", id="A10-in-pieces"),
        pytest.param(b"220 ready\r\n", "text that begins with '220 ready'", id="text"),
        pytest.param(b"\xde\xad\xbe\xef", "de ad be ef", id="A09"),
        pytest.param(b"", "bytes that begin with", id="nothing"),
    ],
)
def test_guess_names_who_is_talking(first: bytes, text: str) -> None:
    assert text in guess_protocol(first)
    error = wrong_first_frame(RemoteProtocolError("too large"), first)
    assert error.reason is FailureReason.NOT_S2S
    assert text in str(error)


def test_a08_small_frame_that_is_wrong_is_s2s() -> None:
    error = wrong_first_frame(RemoteProtocolError("4,097 bytes"), b"\0\0\x10\x01")
    assert error.reason is FailureReason.PROTOCOL_ERROR
    assert "4,097" in str(error)
