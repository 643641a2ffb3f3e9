"""Why a connection could not be made, in one sentence and one reason."""

import errno
import socket
import ssl
from collections.abc import Sequence
from typing import Final

import trio

from trio_s2s.codes import FailureReason
from trio_s2s.errors import ConnectionFailedError

__all__ = ["explain_failure", "explain_left", "explain_slowness"]

_BY_ERRNO: Final = {
    errno.ECONNREFUSED: (FailureReason.REFUSED, "connection refused"),
    errno.ENOENT: (FailureReason.REFUSED, "there is no such socket"),
    errno.ENOTDIR: (FailureReason.REFUSED, "there is no such socket"),
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
_HINTS: Final = {
    FailureReason.REFUSED: " (is the server running?)",
    FailureReason.NOT_S2S: " (is this the right port?)",
    FailureReason.SELF_CONNECTION: " (is this the right port, or an echo server?)",
}

_RESET: Final = {errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE}
_HUNG_UP: Final = {
    None: (
        FailureReason.CLOSED_DURING_HANDSHAKE,
        "it closed without a word: wrong port, or is it full? If it wants TLS, pass"
        " ssl_context=; its log may say why",
    ),
    False: (
        FailureReason.TLS_ERROR,
        "the server closed during TLS: does it speak TLS? It may also be full, have no"
        " TLS version in common, or want a certificate of this side"
        " (load_cert_chain); its log may say why",
    ),
    True: (
        FailureReason.TLS_ERROR,
        "the server closed right after TLS: it may want a certificate of this side, or"
        " another one (load_cert_chain); its log may say why",
    ),
}
"""What it means that the server hung up, by whether TLS was done; None: there is none.

With TLS 1.3 our side is done before the server has looked at our certificate: what it
thinks of it comes as the end of the stream.
"""

_EXPIRED: Final = {9: "is not valid yet", 10: "has expired"}
_OTHER_NAME: Final = {62: "another name", 64: "another address"}
_OTHER_USE: Final = 26
_NO_ANSWER_TO_A_NAME: Final = (
    FailureReason.DNS_TIMEOUT,
    "the name look-up has not answered in time (connect_timeout): is the DNS server"
    " there?",
)
_NO_TRUSTED_CA: Final = {2, 18, 19, 20, 21, 27}
_NO_COMMON_VERSION: Final = (
    FailureReason.TLS_VERSION,
    "no common TLS version; see minimum_version and maximum_version of both"
    " ssl_contexts",
)
_NOT_TRUSTED: Final = (
    "the server does not trust this side's certificate; show one that it does"
    " (load_cert_chain)"
)
_BY_TLS_REASON: Final = {
    "WRONG_VERSION_NUMBER": (
        FailureReason.NOT_TLS,
        "the server does not speak TLS; leave out ssl_context=, or give it one there",
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
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        FailureReason.TLS_ERROR,
        "the server found nothing in common with this side: it may want a certificate"
        " (load_cert_chain), or other ciphers",
    ),
}
"""What a dialler is told, by OpenSSL's name for what went wrong."""

_PLAIN: Final = (
    FailureReason.NOT_TLS,
    "it does not speak TLS; this listener has an ssl_context, so its dialler needs one",
)
_NOT_ACCEPTED_THERE: Final = (
    FailureReason.TLS_ERROR,
    "it does not accept this server's certificate: for another name, or not valid yet?",
)
_BY_TLS_REASON_HERE: Final = {
    "WRONG_VERSION_NUMBER": _PLAIN,
    "HTTP_REQUEST": _PLAIN,
    "HTTPS_PROXY_REQUEST": _PLAIN,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        FailureReason.TLS_UNTRUSTED,
        "it showed no certificate (load_cert_chain), and the ssl_context demands one",
    ),
    "UNSUPPORTED_PROTOCOL": _NO_COMMON_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_COMMON_VERSION,
    "NO_SHARED_CIPHER": (
        FailureReason.TLS_CONFIG,
        "no common cipher, or the ssl_context of this listener has no certificate"
        " (load_cert_chain)",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (
        FailureReason.TLS_ERROR,
        "it does not trust the CA of this server's certificate",
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (
        FailureReason.TLS_EXPIRED,
        "it says that this server's certificate has expired",
    ),
    "SSLV3_ALERT_BAD_CERTIFICATE": _NOT_ACCEPTED_THERE,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _NOT_ACCEPTED_THERE,
}
"""What an acceptor logs, by OpenSSL's name for what went wrong."""


def explain_failure(
    error: Exception, where: str, *, has_tls: bool | None = None
) -> ConnectionFailedError:
    """Make the error that says why `where` could not be reached.

    `has_tls` says how far it came: None without TLS, True when TLS was done.
    """
    root = _root(error)
    reason, text = _HUNG_UP[has_tls] if _has_hung_up(root) else _explain(root)
    hint = _HINTS.get(reason, "")
    tried = _attempts(error)
    return ConnectionFailedError(
        f"cannot connect to {where}: {text}{hint}{tried}", reason
    )


def explain_slowness(
    where: str, *, is_looking_up: bool, tried: Sequence[str]
) -> ConnectionFailedError:
    """Make the error that says that `where` could not be reached in time."""
    reason, text = _explain(trio.TooSlowError())
    if is_looking_up:
        reason, text = _NO_ANSWER_TO_A_NAME
    elif len(tried) > 1:
        text = f"{text}; tried: {', '.join(tried)}"
    return ConnectionFailedError(f"cannot connect to {where}: {text}", reason)


def _has_hung_up(root: BaseException) -> bool:
    """Whether the other side has closed, or aborted, without a word."""
    match root:
        case ssl.SSLEOFError():
            return True
        case EOFError() | trio.BrokenResourceError():
            return not str(root)
    return isinstance(root, OSError) and root.errno in _RESET


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
            return FailureReason.CONNECT_TIMEOUT, (
                "nobody answered in time (connect_timeout): is the address right, or is"
                " a firewall between?"
            )
        case EOFError():
            return FailureReason.CLOSED_DURING_HANDSHAKE, f"it closed after {error}"
        case socket.gaierror():
            return FailureReason.DNS_ERROR, f"the name look-up failed: {error.strerror}"
        case ssl.SSLCertVerificationError():
            return _explain_certificate(error)
        case ssl.SSLError():
            return _BY_TLS_REASON.get(error.reason, _other_tls(error))
        case UnicodeError():
            return FailureReason.INVALID_ADDRESS, "this is no valid host name"
        case OSError(errno=number) if number in _BY_ERRNO:
            return _BY_ERRNO[number]
        case OSError():
            return FailureReason.UNREACHABLE, error.strerror or str(error)
    return (
        FailureReason.CLOSED_DURING_HANDSHAKE,
        f"the connection broke during the handshake: {error}",
    )


def _other_tls(error: ssl.SSLError) -> tuple[FailureReason, str]:
    told = (error.reason or str(error)).replace("_", " ").lower()
    return FailureReason.TLS_ERROR, f"TLS failed: {told}"


def _explain_certificate(
    error: ssl.SSLCertVerificationError,
) -> tuple[FailureReason, str]:
    code, told = error.verify_code, error.verify_message
    if code in _EXPIRED:
        text = f"TLS failed: the server's certificate {_EXPIRED[code]}"
        return FailureReason.TLS_EXPIRED, f"{text} (is this machine's clock right?)"
    if code in _OTHER_NAME:
        text = f"TLS failed: the server's certificate is for {_OTHER_NAME[code]}"
        return FailureReason.TLS_HOSTNAME, (
            f"{text}; dial one that is in it, or have it issued for this one ({told})"
        )
    if code == _OTHER_USE:
        return FailureReason.TLS_UNTRUSTED, (
            "TLS failed: the server's certificate is not one for servers (its extended"
            " key usage lacks serverAuth)"
        )
    if code in _NO_TRUSTED_CA:
        return FailureReason.TLS_UNTRUSTED, (
            "TLS failed: the server's certificate is not signed by a CA that this side"
            f" trusts ({told}); pass an ssl_context that does (load_verify_locations)"
        )
    text = f"TLS failed: this side does not accept the server's certificate ({told})"
    return FailureReason.TLS_UNTRUSTED, text


def explain_left(error: Exception) -> tuple[FailureReason, str]:
    """Say why somebody who was accepted came no further than TLS, or half of HELLO.

    CLOSED_DURING_HANDSHAKE is for those that left by themselves.
    """
    match _root(error):
        case EOFError() as end:
            text = "ended: it left before it said hello"
            text = f"{text}, after {end}" if str(end) else text
            return FailureReason.CLOSED_DURING_HANDSHAKE, text
        case ssl.SSLEOFError():
            return FailureReason.CLOSED_DURING_HANDSHAKE, (
                "ended: it left during TLS; it may not trust this server's certificate,"
                " then its log says so"
            )
        case ssl.SSLCertVerificationError() as wrong:
            return _explain_certificate_here(wrong)
        case ssl.SSLError() as wrong:
            cause, text = _BY_TLS_REASON_HERE.get(wrong.reason, _other_tls(wrong))
            return cause, f"refused: {text}"
        case OSError(errno=number) if number in _RESET:
            text = "ended: it left before it was welcome (connection reset)"
            return FailureReason.CLOSED_DURING_HANDSHAKE, text
        case other:
            told = str(other) or "the stream broke"
            text = f"ended: it left before it was welcome ({told})"
            return FailureReason.CLOSED_DURING_HANDSHAKE, text


def _explain_certificate_here(
    error: ssl.SSLCertVerificationError,
) -> tuple[FailureReason, str]:
    code, told = error.verify_code, error.verify_message
    if code in _EXPIRED:
        text = f"refused: its certificate {_EXPIRED[code]}"
        return FailureReason.TLS_EXPIRED, f"{text} (is this machine's clock right?)"
    return FailureReason.TLS_UNTRUSTED, (
        f"refused: its certificate is not trusted ({told}); see load_verify_locations"
        " of the ssl_context of this listener"
    )
