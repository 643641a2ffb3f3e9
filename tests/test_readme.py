"""The two console lines of the README, which the gate runs in fresh clones."""

import contextlib
import re
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_s2s
from tests.peers import Note, start_server
from trio_s2s import OutboundPeer, handles, open_peer

ROOT = Path(__file__).parent.parent

LINES = [
    "python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/trio-s2s demo",
    "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]'"
    " && .venv/bin/python -m pytest -q",
]


def test_readme_has_the_two_lines_for_a_fresh_machine() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.findall(r"python3 -m venv \.venv.*", text)
    assert found == LINES


def test_gate_runs_the_lines_of_the_readme() -> None:
    gate = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert [line for line in gate if line in LINES] == LINES


def test_readme_shows_the_hello_examples_as_they_are() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for name, block in zip(["hello_inbound", "hello_outbound"], blocks, strict=False):
        assert block == (ROOT / "examples" / f"{name}.py").read_text("utf-8")


async def test_readme_shows_a_chat_that_works(autojump_clock: MockClock) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    [block] = re.findall(r"```python\n(class ChatPeer.*?)\nroom: ", text, re.DOTALL)
    names: dict[str, Any] = {"Said": Note, "contextlib": contextlib, "trio": trio}
    exec(block, vars(trio_s2s) | names, names)
    room: set[Any] = set()
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery, lambda init: names["ChatPeer"](init, room))
        async with (
            open_peer(server.listener.dial(), Listener) as one,
            open_peer(server.listener.dial(), Listener) as two,
        ):
            await wait_all_tasks_blocked()
            await one.send_event(Note(7))
            await wait_all_tasks_blocked()
            assert one.heard == two.heard == [7]
        await wait_all_tasks_blocked()
        assert room == set()
        nursery.cancel_scope.cancel()


class Listener(OutboundPeer):
    """Notes what is said."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    @handles(Note)
    def hear(self, event: Note) -> None:
        self.heard.append(event.number)
