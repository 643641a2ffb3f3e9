"""Why a connection could not be made, in one sentence and one reason."""

import errno
import socket
import ssl
from typing import Final

import trio

from trio_s2s.codes import FailureReason
from trio_s2s.errors import ConnectionFailedError

__all__ = ["explain_failure", "explain_left"]

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

_EXPIRED: Final = {9: "is not valid yet", 10: "has expired"}
_OTHER_NAME: Final = {62: "another name", 64: "another address"}
_NO_COMMON_VERSION: Final = (FailureReason.TLS_VERSION, "no common TLS version")
_CLOSED_AFTER_TLS: Final = (
    "the server closed right after TLS: it may want a certificate of this side, or"
    " another one (load_cert_chain)"
)
_NOT_TRUSTED: Final = "the server does not trust this side's certificate"
_BY_TLS_REASON: Final = {
    "WRONG_VERSION_NUMBER": (
        FailureReason.NOT_TLS,
        "the server does not speak TLS; leave out ssl_context=, or give it one there",
    ),
    "UNEXPECTED_EOF_WHILE_READING": (
        FailureReason.TLS_ERROR,
        "the server closed during TLS: does it speak TLS?",
    ),
    "UNSUPPORTED_PROTOCOL": _NO_COMMON_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_COMMON_VERSION,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (
        FailureReason.TLS_ERROR,
        "the server wants a certificate, and the ssl_context has none"
        " (load_cert_chain)",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (FailureReason.TLS_ERROR, _NOT_TRUSTED),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": (FailureReason.TLS_ERROR, _NOT_TRUSTED),
    "SSLV3_ALERT_BAD_CERTIFICATE": (FailureReason.TLS_ERROR, _NOT_TRUSTED),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (
        FailureReason.TLS_EXPIRED,
        "the server says that this side's certificate has expired",
    ),
}
"""What a dialler is told, by OpenSSL's name for what went wrong."""

_PLAIN: Final = (
    FailureReason.NOT_TLS,
    "it does not speak TLS; this listener has an ssl_context, so its dialler needs one",
)
_BY_TLS_REASON_HERE: Final = {
    "WRONG_VERSION_NUMBER": _PLAIN,
    "HTTP_REQUEST": _PLAIN,
    "HTTPS_PROXY_REQUEST": _PLAIN,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        FailureReason.TLS_UNTRUSTED,
        "it showed no certificate, and the ssl_context demands one",
    ),
    "UNSUPPORTED_PROTOCOL": _NO_COMMON_VERSION,
    "UNEXPECTED_EOF_WHILE_READING": (
        FailureReason.TLS_ERROR,
        "it left during TLS: it may not trust this server's certificate",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (
        FailureReason.TLS_ERROR,
        "it does not trust this server's certificate",
    ),
}
"""What an acceptor logs, by OpenSSL's name for what went wrong."""


def explain_failure(
    error: Exception, where: str, *, has_tls: bool = False
) -> ConnectionFailedError:
    """Make the error that says why `where` could not be reached.

    With TLS 1.3 our handshake is done before the server has looked at our certificate:
    what it thinks of it comes, if `has_tls`, only as the end of the stream.
    """
    root = _root(error)
    reason, text = _explain(root)
    if has_tls and isinstance(root, ssl.SSLEOFError):
        text = _CLOSED_AFTER_TLS
    hint = _HINTS.get(reason, "")
    tried = _attempts(error)
    return ConnectionFailedError(
        f"cannot connect to {where}: {text}{hint}{tried}", reason
    )


def _attempts(error: BaseException) -> str:
    """List what was tried, where a name has several addresses."""
    cause = error.__cause__
    if not isinstance(cause, BaseExceptionGroup) or len(cause.exceptions) < 2:
        return ""
    return "; tried: " + ", ".join(str(each) for each in cause.exceptions)


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
            return _explain_certificate(error)
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


def _explain_certificate(
    error: ssl.SSLCertVerificationError,
) -> tuple[FailureReason, str]:
    code, told = error.verify_code, error.verify_message
    if code in _EXPIRED:
        text = f"TLS failed: the server's certificate {_EXPIRED[code]}"
        return FailureReason.TLS_EXPIRED, f"{text} (is this machine's clock right?)"
    if code in _OTHER_NAME:
        text = f"TLS failed: the server's certificate is for {_OTHER_NAME[code]}"
        return FailureReason.TLS_HOSTNAME, f"{text}: {told}"
    return FailureReason.TLS_UNTRUSTED, (
        "TLS failed: the server's certificate is not signed by a CA that this side"
        f" trusts ({told}); pass an ssl_context that does (load_verify_locations)"
    )


def explain_left(error: Exception) -> tuple[FailureReason, str]:
    """Say why somebody who was accepted came no further than TLS, or half of HELLO."""
    match _root(error):
        case EOFError() as end:
            text = "left before it said hello"
            text = f"{text}, after {end}" if str(end) else text
            return FailureReason.CLOSED_DURING_HANDSHAKE, text
        case ssl.SSLCertVerificationError() as wrong:
            text = f"refused: its certificate is not trusted ({wrong.verify_message})"
            return FailureReason.TLS_UNTRUSTED, text
        case ssl.SSLError() as wrong:
            cause, text = _BY_TLS_REASON_HERE.get(
                wrong.reason, (FailureReason.TLS_ERROR, f"TLS failed: {wrong}")
            )
            return cause, f"refused: {text}"
        case other:
            return FailureReason.CLOSED_DURING_HANDSHAKE, f"left: {other}"
