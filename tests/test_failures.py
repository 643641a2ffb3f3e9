"""Twin of `failures.py`: one sentence, and one reason, for each way to fail."""

import errno
import os
import socket
import ssl

import pytest
import trio

from trio_s2s.codes import FailureReason
from trio_s2s.errors import ConnectionFailedError
from trio_s2s.failures import explain_failure, explain_left

CLOSED = FailureReason.CLOSED_DURING_HANDSHAKE


def system(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def wrapped(*causes: Exception) -> OSError:
    """Wrap as `trio.open_tcp_stream` does."""
    error = OSError("all attempts to connect failed")
    error.__cause__ = ExceptionGroup("attempts", causes)
    return error


def broken(cause: Exception) -> trio.BrokenResourceError:
    error = trio.BrokenResourceError()
    error.__cause__ = cause
    return error


def certificate(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("bad certificate")
    error.verify_code = code
    error.verify_message = "self-signed"
    return error


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError("tls")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    [
        (system(errno.ECONNREFUSED), FailureReason.REFUSED, "is the server running?"),
        (wrapped(system(errno.ECONNREFUSED)), FailureReason.REFUSED, "refused"),
        (
            wrapped(system(errno.ENETUNREACH), system(errno.ECONNREFUSED)),
            FailureReason.REFUSED,
            "refused",
        ),
        (system(errno.EHOSTUNREACH), FailureReason.UNREACHABLE, "host"),
        (system(errno.ENETUNREACH), FailureReason.UNREACHABLE, "network"),
        (system(errno.EINVAL), FailureReason.UNREACHABLE, "address"),
        (system(errno.ENOTDIR), FailureReason.REFUSED, "no such socket"),
        (system(errno.EACCES), FailureReason.DENIED, "permission"),
        (system(errno.ETIMEDOUT), FailureReason.CONNECT_TIMEOUT, "nobody answered"),
        (system(errno.EMFILE), FailureReason.LOCAL_RESOURCES, "too many files"),
        (system(errno.EADDRNOTAVAIL), FailureReason.LOCAL_RESOURCES, "port"),
        (system(errno.EXDEV), FailureReason.UNREACHABLE, "ross-device"),
        (trio.TooSlowError(), FailureReason.CONNECT_TIMEOUT, "in time"),
        (
            socket.gaierror(-2, "Name or service not known"),
            FailureReason.DNS_ERROR,
            "Name or service not known",
        ),
        (UnicodeError("x"), FailureReason.INVALID_ADDRESS, "host name"),
        (EOFError(""), FailureReason.CLOSED_DURING_HANDSHAKE, "without a word"),
        (EOFError("2 of 4"), FailureReason.CLOSED_DURING_HANDSHAKE, "after 2 of 4"),
        (
            broken(system(errno.ECONNRESET)),
            FailureReason.CLOSED_DURING_HANDSHAKE,
            "without a word",
        ),
        (broken(system(errno.EPIPE)), CLOSED, "without a word"),
        (trio.BrokenResourceError(), CLOSED, "without a word"),
        (
            trio.BrokenResourceError("gone"),
            FailureReason.CLOSED_DURING_HANDSHAKE,
            "gone",
        ),
        (broken(certificate(62)), FailureReason.TLS_HOSTNAME, "another name"),
        (broken(certificate(64)), FailureReason.TLS_HOSTNAME, "another address"),
        (broken(certificate(10)), FailureReason.TLS_EXPIRED, "expired"),
        (broken(certificate(9)), FailureReason.TLS_EXPIRED, "not valid yet"),
        (broken(certificate(18)), FailureReason.TLS_UNTRUSTED, "self-signed"),
        (broken(certificate(26)), FailureReason.TLS_UNTRUSTED, "not one for servers"),
        (broken(certificate(85)), FailureReason.TLS_UNTRUSTED, "does not accept"),
        (broken(tls("WRONG_VERSION_NUMBER")), FailureReason.NOT_TLS, "not speak TLS"),
        (broken(tls("UNSUPPORTED_PROTOCOL")), FailureReason.TLS_VERSION, "version"),
        (broken(tls("VERY_ODD")), FailureReason.TLS_ERROR, "TLS failed: very odd"),
        (broken(tls("")), FailureReason.TLS_ERROR, "TLS failed: ('tls',)"),
        (
            ConnectionFailedError("wrong", FailureReason.NOT_S2S),
            FailureReason.NOT_S2S,
            "wrong",
        ),
    ],
)
def test_failure_is_told_in_words(
    error: Exception, reason: FailureReason, text: str
) -> None:
    told = explain_failure(error, "10.0.0.5:4520")
    assert told.reason is reason
    assert str(told).startswith("cannot connect to 10.0.0.5:4520: ")
    assert text in str(told)


@pytest.mark.parametrize(
    "error", [EOFError(""), broken(ssl.SSLEOFError(8, "eof")), broken(system(104))]
)
@pytest.mark.parametrize(
    ("has_tls", "reason", "text"),
    [
        (None, CLOSED, "it closed without a word"),
        (False, FailureReason.TLS_ERROR, "closed during TLS: does it speak TLS?"),
        (True, FailureReason.TLS_ERROR, "closed right after TLS: it may want a cert"),
    ],
)
def test_hang_up_is_told_by_how_far_it_came(
    error: Exception, has_tls: bool | None, reason: FailureReason, text: str
) -> None:
    told = explain_failure(error, "10.0.0.5:4520", has_tls=has_tls)
    assert told.reason is reason
    assert text in str(told)


@pytest.mark.parametrize(
    ("error", "cause", "text"),
    [
        (EOFError(""), CLOSED, "ended: it left before it said hello"),
        (EOFError("2 of 4"), CLOSED, "ended: it left before it said hello, after 2"),
        (broken(ssl.SSLEOFError(8, "eof")), CLOSED, "ended: it left during TLS"),
        (broken(system(104)), CLOSED, "ended: it left before it was welcome (conn"),
        (broken(system(5)), CLOSED, "ended: it left before it was welcome ([Errno"),
        (trio.BrokenResourceError(), CLOSED, "ended: it left … (the stream broke)"),
        (
            broken(certificate(18)),
            FailureReason.TLS_UNTRUSTED,
            "refused: its certificate is not trusted (self-signed)",
        ),
        (
            broken(certificate(10)),
            FailureReason.TLS_EXPIRED,
            "refused: its certificate has expired",
        ),
        (
            broken(tls("NO_SHARED_CIPHER")),
            FailureReason.TLS_CONFIG,
            "refused: no common cipher, or the ssl_context of this listener has no",
        ),
        (
            broken(tls("VERY_ODD")),
            FailureReason.TLS_ERROR,
            "refused: TLS failed: very odd",
        ),
    ],
)
def test_guest_that_came_no_further_is_told(
    error: Exception, cause: FailureReason, text: str
) -> None:
    found, told = explain_left(error)
    start, _, end = text.partition(" … ")
    assert found is cause
    assert told.startswith(start)
    assert told.endswith(end)
