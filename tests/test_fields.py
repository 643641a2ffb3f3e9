"""Twin of `fields.py`; `test_handshake.py` reads whole frames."""

from typing import Any

import pytest

from trio_s2s import PeerConfig, RemoteProtocolError
from trio_s2s.fields import (
    Identity,
    field,
    fields_of,
    read_identity,
    read_terms,
    valid_server_id,
)
from trio_s2s.windows import Limits

ME = Identity(bytes(range(16)), "gs-1", "1.2")


def test_fields_are_read_as_they_were_written() -> None:
    config = PeerConfig(heartbeat_interval=0.25)
    fields = fields_of(ME, {"a": 1}, config)
    assert read_identity(fields) == ME
    terms = read_terms(fields)
    assert (terms.limits, terms.heartbeat) == (Limits.of(config), 0.25)
    assert fields[6] == {"a": 1}


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [
        ("", True),
        ("gs-1.eu_2", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("ü", False),
        ("a b", False),
        ("a\n", False),
    ],
)
def test_names_have_a_grammar(name: str, is_valid: bool) -> None:
    assert valid_server_id(name) is is_valid


@pytest.mark.parametrize("wrong", [{}, {0: 1, 1: b""}, {0: "a", 1: bytes(15)}])
def test_wrong_identity_is_an_error(wrong: dict[int, Any]) -> None:
    with pytest.raises(RemoteProtocolError):
        read_identity(wrong)


def test_missing_field_has_its_default() -> None:
    assert field({}, 3, str, "version", "0") == "0"
    with pytest.raises(RemoteProtocolError, match=r"without its version \(field 3\)"):
        field({}, 3, str, "version")
