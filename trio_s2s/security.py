"""Plain text stays at home, and what TLS proves of the other side."""

import ipaddress
import ssl

import trio

__all__ = [
    "check_context",
    "check_port",
    "is_loopback",
    "proves_name",
    "refuse_plain_text",
]


def is_loopback(host: str) -> bool:
    """Whether an address never leaves this machine.

    A name other than `localhost` counts as one that may: what it means is not known
    before it was looked up, and may be another address the next time.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def refuse_plain_text(
    what: str, host: str, ssl_context: ssl.SSLContext | None, insecure: bool
) -> None:
    """Raise a ValueError where bytes would leave this machine in plain text."""
    if ssl_context is None and not insecure and not is_loopback(host):
        raise ValueError(
            f"{what} {host} would send everything in plain text over the network: pass"
            " ssl_context=, or insecure=True if something else protects this network"
        )


def check_context(ssl_context: ssl.SSLContext | None, *, listens: bool) -> None:
    """Raise a ValueError for a context that was made for the other side."""
    if ssl_context is None:
        return
    if listens and ssl_context.protocol is ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError(
            "this ssl_context is for diallers; a listener needs"
            " ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), and load_cert_chain"
        )
    if not listens and ssl_context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ValueError(
            "this ssl_context is for listeners; a dialler needs"
            " ssl.create_default_context()"
        )


def proves_name(stream: trio.abc.Stream, name: str) -> bool:
    """Whether the other side's certificate bears a name, as one of its DNS names.

    To the letter: no wildcard, and no common name. Only a certificate that was verified
    counts: of any other Python tells nothing. The handshake of TLS must be over.
    """
    if not isinstance(stream, trio.SSLStream):
        return False
    certificate = stream.getpeercert() or {}
    return ("DNS", name) in certificate.get("subjectAltName", ())


def check_port(port: int, *, lowest: int) -> None:
    """Raise a ValueError for what is no port: the system would take 65536 for 0."""
    if type(port) is not int or not lowest <= port <= 65535:
        raise ValueError(f"port is a whole number, {lowest} to 65535, not {port!r}")
