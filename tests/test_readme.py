"""The two console lines of the README, which the gate runs in fresh clones."""

import re
import textwrap
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
import trio
from trio.testing import MockClock

import trio_s2s
from tests.network import memory
from trio_s2s import (
    Application,
    ConnectionRejectedError,
    Event,
    InboundPeer,
    InitRequest,
    Operation,
    OutboundPeer,
    handles,
    run_application,
)

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


@attrs.frozen
class HowBusy(Operation[int], code=1):
    pass


@attrs.frozen
class Charge(Operation[str], code=2):
    amount: int


@attrs.frozen
class RoomClosed(Event, code=1):
    room: str


class MasterPeer(OutboundPeer):
    """A game server's side."""

    closed: ClassVar[list[str]] = []

    @handles(HowBusy)
    def how_busy(self, operation: HowBusy) -> int:
        return 35

    @handles(RoomClosed)
    def room_closed(self, event: RoomClosed) -> None:
        self.closed.append(event.room)


class Till(InboundPeer):
    @handles(Charge)
    def charge(self, operation: Charge) -> str:
        return f"paid {operation.amount}"


class Billing(Application):
    async def setup(self) -> None:
        await self.listen_tcp(4530)

    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return Till(init_request)


async def test_readme_shows_an_application_that_works(
    autojump_clock: MockClock,
) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    names: dict[str, Any] = vars(trio_s2s) | {
        "BillingPeer": OutboundPeer,
        "GameServerPeer": InboundPeer,
        "LobbyPeer": InboundPeer,
        "HowBusy": HowBusy,
        "Charge": Charge,
        "RoomClosed": RoomClosed,
    }
    [block] = re.findall(r"```python\n(class Master\(App.*?)```", text, re.DOTALL)
    exec(block, names)
    [use] = re.findall(r"```python\n(async with open_app.*?)```", text, re.DOTALL)
    exec(
        "async def use():\n" + textwrap.indent(use + "return locals()\n", "    "), names
    )
    async with memory(), trio.open_nursery() as nursery:
        await nursery.start(run_application, Billing("Billing"))
        game_server = Application("GameServer", server_id="gs-1")
        await nursery.start(run_application, game_server)
        game_server.connect_tcp("127.0.0.1", 4520, MasterPeer)
        told = await names["use"]()
        nursery.cancel_scope.cancel()
    assert told["busy"] == 35
    assert told["missed"] == []
    assert told["receipt"] == "paid 35"
    assert told["report"].is_finished
    assert MasterPeer.closed == ["arena"]
    lobby = names["Master"]("Master")
    with pytest.raises(ConnectionRejectedError, match="only the lobby"):
        lobby.create_peer(InitRequest(local_port=4521))
    lobby.create_peer(InitRequest(local_port=4521, init_object="lobby"))
