"""Who is talking, if what came first is no S2S."""

from trio_s2s.codes import FailureReason
from trio_s2s.errors import ConnectionFailedError, RemoteProtocolError

__all__ = ["guess_protocol", "wrong_first_frame"]

_FOREIGN = (
    (b"\x16\x03", "a TLS ClientHello; this listener has no TLS (ssl_context=)"),
    (b"\x15\x03", "a TLS alert; this side has no TLS (ssl_context=)"),
    (b"HTTP/", "an HTTP answer: a web server?"),
    (b"GET ", "an HTTP request: a web client?"),
    (b"POST ", "an HTTP request: a web client?"),
    (b"HEAD ", "an HTTP request: a web client?"),
    (b"PRI *", "an HTTP/2 preface"),
    (b"SSH-", "an SSH greeting"),
    (b"PROXY ", "a PROXY protocol header"),
    (b"\r\n\r\n\x00\r\nQUIT", "a PROXY protocol header"),
    (b"*1\r\n", "a Redis command"),
)


def guess_protocol(first: bytes) -> str:
    """Say what the first bytes of a connection look like, if it is no S2S."""
    for start, text in _FOREIGN:
        # It may have come in pieces, of which only the first few bytes are here.
        if first and start.startswith(first[: len(start)]):
            return text
    if first and first.isascii() and first.decode().strip().isprintable():
        return f"text that begins with {first.decode().strip()!r}"
    return f"bytes that begin with {first.hex(' ')}"


def wrong_first_frame(
    error: RemoteProtocolError, first: bytes
) -> ConnectionFailedError:
    """Tell an S2S side that breaks the rules from one that speaks something else."""
    if first[:1] == b"\0":
        # Nothing else begins like a frame of less than 16 MiB.
        return ConnectionFailedError(str(error), FailureReason.PROTOCOL_ERROR)
    return ConnectionFailedError(
        f"it does not speak S2S: it sent {guess_protocol(first)}",
        FailureReason.NOT_S2S,
    )
