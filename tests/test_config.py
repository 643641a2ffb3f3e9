"""Twin of `config.py`."""

import math
from typing import Any

import attrs
import pytest

from trio_s2s.config import PeerConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_frame", 1023),
        ("max_frame", 2**32),
        ("max_frame", 1e6),
        ("max_elements", 15),
        ("max_concurrent_requests", -1),
        ("max_concurrent_requests", True),
        ("heartbeat_interval", 0),
        ("heartbeat_interval", -1.0),
        ("handshake_timeout", math.nan),
        ("connect_timeout", "5"),
        ("hook_timeout", True),
        ("drain_timeout", None),
        ("expose_errors", "yes"),
    ],
)
def test_config_refuses_what_makes_no_sense(name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        PeerConfig(**{name: value})


def test_config_takes_infinity_to_switch_a_time_off() -> None:
    assert PeerConfig(send_timeout=math.inf).send_timeout == math.inf


def test_config_has_the_defaults_that_are_promised() -> None:
    assert attrs.asdict(PeerConfig()) == {
        "max_frame": 512 * 1024,
        "max_elements": 4096,
        "max_concurrent_requests": 1024,
        "max_request_weight": 4 * 1024 * 1024,
        "max_event_weight": 256 * 1024,
        "send_buffer": 1024 * 1024,
        "max_pending_handshakes": 64,
        "max_pending_handshakes_per_address": 16,
        "connect_timeout": 10.0,
        "handshake_timeout": 5.0,
        "heartbeat_interval": 2.5,
        "heartbeat_misses": 3,
        "send_timeout": 10.0,
        "hook_timeout": 5.0,
        "connected_timeout": 30.0,
        "handler_wait": 10.0,
        "drain_timeout": 5.0,
        "resume_ttl": 20.0,
        "expose_errors": False,
    }


def test_config_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        PeerConfig().max_frame = 5  # type: ignore[misc]  # what must not work
