"""What a command prints, as text or as JSON, and what its exit status says."""

import datetime
import json
import sys
from enum import IntEnum
from typing import Any

__all__ = ["Status", "complain", "for_json", "say", "show"]


class Status(IntEnum):
    """What the exit status of a command says."""

    OK = 0
    ANSWERED_WITH_AN_ERROR = 1
    WRONG_USAGE = 2
    NOT_CONNECTED = 3
    TOO_SLOW = 4
    LOST = 5


def say(text: str) -> None:
    """Say something where it is not taken for a result."""
    print(f"trio-s2s: {text}", file=sys.stderr, flush=True)


def complain(text: str, status: Status) -> Status:
    """Say what went wrong; gives the status, to be returned."""
    say(text)
    return status


def show(*, as_json: bool, text: str, **fields: Any) -> None:
    """Print a result: a text, or its fields as one line of JSON."""
    shown = json.dumps(fields, default=for_json) if as_json else text
    print(shown, flush=True)


def for_json(value: object) -> str:
    """Show what JSON does not know: bytes as hex, times as ISO 8601."""
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, datetime.datetime) else str(value)
