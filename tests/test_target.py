"""Twin of `target.py`."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trio_s2s import Application, PeerConfig
from trio_s2s.target import find_application, load, make_application, name_of

GAME = """
from trio_s2s import Application

class Master(Application):
    pass

class Odd(Application):
    def __init__(self):
        super().__init__("Odd")

lobby = Application("Lobby")
number = 5
"""


@pytest.fixture(autouse=True)
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give modules that can be imported from a folder."""
    before = set(sys.modules)
    (tmp_path / "settings_game.py").write_text(GAME)
    (tmp_path / "settings_broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("settings_"):
            del sys.modules[name]


def imported() -> Any:
    return sys.modules["settings_game"]


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("", "must be 'module:Name', not ''"),
        (5, "must be 'module:Name', not 5"),
        ("settings_game", "must be 'module:Name', not 'settings_game'"),
        ("settings_game:", "must be 'module:Name', not 'settings_game:'"),
        (".settings_game:Master", "must be 'module:Name', not '.settings_game:Master'"),
        ("settings_gone:Master", "cannot import settings_gone: No module named"),
        ("settings_broken:Master", "importing settings_broken raised ZeroDivisionErr"),
        ("settings_game:Mastr", "settings_game has no 'Mastr'; did you mean 'Master'?"),
        ("settings_game:zzzzz", "settings_game has no 'zzzzz'"),
        ("settings_game:number", "must be an Application, not 5"),
        ("trio_s2s:InboundPeer", "must be an Application, not <class"),
    ],
)
def test_what_cannot_be_found_is_told(target: object, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}"):
        find_application(target)


def test_anything_can_be_loaded() -> None:
    assert load("settings_game:number") == 5
    assert isinstance(imported(), ModuleType)


def test_application_is_made_of_a_class() -> None:
    found = find_application("settings_game:Master")
    assert make_application(found).name == "Master"
    made = make_application(found, "M", {"server_id": "m-1", "config": PeerConfig()})
    assert (type(made), made.name, made.server_id) == (found, "M", "m-1")
    assert name_of(made) == name_of(found) == "settings_game:Master"


def test_application_that_is_made_already_is_given() -> None:
    found = find_application("settings_game:lobby")
    assert make_application(found) is found
    assert make_application(found, "Lobby") is found
    assert isinstance(found, Application)


@pytest.mark.parametrize(
    ("target", "name", "options", "error"),
    [
        ("lobby", "Master", {}, "is made already, with the name 'Lobby'"),
        ("lobby", "", {"version": "1", "server_id": "a"}, "is made already, without"
         " version, server_id from here"),
        ("Odd", "", {}, "cannot be made: TypeError"),
        ("Master", "", {"nonsense": 1}, "cannot be made: TypeError"),
        ("Master", "", {"server_id": "a b"}, "cannot be made: ValueError"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_told(
    target: str, name: str, options: dict[str, Any], error: str
) -> None:
    found = find_application(f"settings_game:{target}")
    with pytest.raises(ValueError, match=f"^{re.escape(error)}"):
        make_application(found, name, options)
