"""Twin of `security.py`."""

import ssl
from typing import Any

import pytest
import trio
import trio.testing

from tests.peers import tls_contexts
from trio_s2s.security import (
    check_context,
    check_port,
    is_loopback,
    proves_name,
    refuse_plain_text,
)


@pytest.mark.parametrize(
    ("host", "stays"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.5", False),
        ("fe80::1%eth0", False),
        ("billing.internal", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback_is_what_stays_on_this_machine(host: str, stays: bool) -> None:
    assert is_loopback(host) is stays


def test_plain_text_is_refused_and_both_ways_out_are_named() -> None:
    with pytest.raises(ValueError, match="plain text") as caught:
        refuse_plain_text("dialling", "10.0.0.5", None, False)
    assert "ssl_context=" in str(caught.value)
    assert "insecure=True" in str(caught.value)


def test_plain_text_is_allowed_where_it_is_safe_or_wanted() -> None:
    refuse_plain_text("dialling", "127.0.0.1", None, False)
    refuse_plain_text("dialling", "10.0.0.5", None, True)
    refuse_plain_text("dialling", "10.0.0.5", ssl.create_default_context(), False)


@pytest.mark.parametrize("port", [-1, 65536, "80", 80.0, True, None])
def test_port_that_is_none_is_refused(port: Any) -> None:
    with pytest.raises(ValueError, match="0 to 65535"):
        check_port(port, lowest=0)


def test_port_0_is_for_listening_only() -> None:
    check_port(0, lowest=0)
    check_port(65535, lowest=1)
    with pytest.raises(ValueError, match="1 to 65535"):
        check_port(0, lowest=1)


def test_context_must_be_for_its_side() -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    dialler = ssl.create_default_context()
    check_context(None, listens=True)
    check_context(server, listens=True)
    check_context(dialler, listens=False)
    with pytest.raises(ValueError, match="this ssl_context is for diallers; a listen"):
        check_context(dialler, listens=True)
    with pytest.raises(ValueError, match="this ssl_context is for listeners; a dial"):
        check_context(server, listens=False)


@pytest.mark.parametrize(
    ("names", "mode", "proven"),
    [
        (["gs-1"], ssl.CERT_REQUIRED, True),
        (["other", "gs-1"], ssl.CERT_OPTIONAL, True),
        (["gs-1"], ssl.CERT_NONE, False),  # It was shown, but nobody has verified it.
        (["gs-10"], ssl.CERT_REQUIRED, False),
        (["*.gs-1"], ssl.CERT_REQUIRED, False),
        ([], ssl.CERT_OPTIONAL, False),
    ],
)
async def test_name_is_proven_by_a_verified_certificate(
    names: list[str], mode: ssl.VerifyMode, proven: bool
) -> None:
    server, dialler = tls_contexts("localhost", names, mode)
    one, other = trio.testing.memory_stream_pair()
    near = trio.SSLStream(one, dialler, server_hostname="localhost")
    far = trio.SSLStream(other, server, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.do_handshake)
        nursery.start_soon(far.do_handshake)
    assert proves_name(far, "gs-1") is proven
    assert not proves_name(far, "")
    assert not proves_name(other, "gs-1")
