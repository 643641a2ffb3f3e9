"""Why a connection could not be made, in one sentence and one reason."""

import errno
import socket
import ssl
from typing import Final

import trio

from trio_s2s.codes import FailureReason
from trio_s2s.errors import ConnectionFailedError

__all__ = ["explain_failure"]

_BY_ERRNO: Final = {
    errno.ECONNREFUSED: (FailureReason.REFUSED, "connection refused"),
    errno.ENOENT: (FailureReason.REFUSED, "there is no such socket"),
    errno.ECONNRESET: (FailureReason.REFUSED, "connection reset"),
    errno.EHOSTUNREACH: (FailureReason.UNREACHABLE, "the host can't be reached"),
    errno.ENETUNREACH: (FailureReason.UNREACHABLE, "the network can't be reached"),
    errno.EINVAL: (FailureReason.UNREACHABLE, "the address can't be reached"),
    errno.EACCES: (FailureReason.DENIED, "permission denied"),
    errno.EPERM: (FailureReason.DENIED, "permission denied"),
    errno.ETIMEDOUT: (FailureReason.CONNECT_TIMEOUT, "nobody answered"),
    errno.EADDRNOTAVAIL: (FailureReason.LOCAL_RESOURCES, "no local port is free"),
    errno.EMFILE: (FailureReason.LOCAL_RESOURCES, "this process has too many files"),
    errno.ENFILE: (FailureReason.LOCAL_RESOURCES, "this machine has too many files"),
}
_HINTS: Final = {FailureReason.REFUSED: " (is the server running?)"}

_BY_VERIFY_CODE: Final = {
    9: (FailureReason.TLS_EXPIRED, "the server's certificate is not valid yet"),
    10: (FailureReason.TLS_EXPIRED, "the server's certificate has expired"),
    62: (FailureReason.TLS_HOSTNAME, "the certificate is for another name"),
    64: (FailureReason.TLS_HOSTNAME, "the certificate is for another address"),
}
_BY_TLS_REASON: Final = {
    "WRONG_VERSION_NUMBER": (FailureReason.NOT_TLS, "the server does not speak TLS"),
    "UNEXPECTED_EOF_WHILE_READING": (
        FailureReason.TLS_ERROR,
        "the server closed during TLS: does it speak TLS, or want a certificate?",
    ),
    "UNSUPPORTED_PROTOCOL": (FailureReason.TLS_VERSION, "no common TLS version"),
    "TLSV1_ALERT_PROTOCOL_VERSION": (
        FailureReason.TLS_VERSION,
        "no common TLS version",
    ),
}


def explain_failure(error: Exception, where: str) -> ConnectionFailedError:
    """Make the error that says why `where` could not be reached."""
    reason, text = _explain(_root(error))
    hint = _HINTS.get(reason, "")
    return ConnectionFailedError(f"cannot connect to {where}: {text}{hint}", reason)


def _root(error: BaseException) -> BaseException:
    """Dig out the system's own error: trio wraps those of several attempts."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return _root(cause.exceptions[-1])
    if cause is None or isinstance(error, ConnectionFailedError):
        return error
    return _root(cause)


def _explain(error: BaseException) -> tuple[FailureReason, str]:
    match error:
        case ConnectionFailedError():
            return error.reason, str(error)
        case trio.TooSlowError():
            return FailureReason.CONNECT_TIMEOUT, "nobody answered in time"
        case EOFError():
            progress = str(error)
            return FailureReason.CLOSED_DURING_HANDSHAKE, (
                f"it closed after {progress}"
                if progress
                else "it closed without a word: wrong port, or is it full?"
            )
        case socket.gaierror():
            return FailureReason.DNS_ERROR, f"the name look-up failed: {error.strerror}"
        case ssl.SSLCertVerificationError():
            return _BY_VERIFY_CODE.get(
                error.verify_code,
                (
                    FailureReason.TLS_UNTRUSTED,
                    f"TLS failed: {error.verify_message} (pass an ssl_context that"
                    " trusts the server's certificate)",
                ),
            )
        case ssl.SSLError():
            return _BY_TLS_REASON.get(
                error.reason, (FailureReason.TLS_ERROR, f"TLS failed: {error}")
            )
        case UnicodeError():
            return FailureReason.INVALID_ADDRESS, "this is no valid host name"
        case OSError(errno=number) if number in _BY_ERRNO:
            return _BY_ERRNO[number]
        case OSError():
            return FailureReason.UNREACHABLE, str(error)
    return (
        FailureReason.CLOSED_DURING_HANDSHAKE,
        f"the connection broke during the handshake: {error}",
    )
