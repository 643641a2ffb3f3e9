"""What the code of an application may do, and what it costs: one call, or one peer."""

from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.peers import Acceptor, linked
from tests.steps import check_idle
from trio_s2s import (
    Event,
    Operation,
    OperationError,
    ReturnCode,
    handles,
)

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture
settled = trio.testing.wait_all_tasks_blocked


@attrs.frozen
class Do(Operation[Any], code=5):
    """Makes the other side do something."""

    what: str


@attrs.frozen
class Happened(Event, code=5):
    """Makes the other side do something."""

    what: str


class Clumsy(Acceptor):
    """Does what it is told, most of it wrong."""

    async def do(self, what: str) -> Any:
        match what:
            case "ValueError":
                raise ValueError("the secret reason")
            case "declared":
                raise OperationError(7, "no such room")
            case "group":
                raise ExceptionGroup("two", [ValueError("a"), TypeError("b")])
            case "nested":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.do, "ValueError")
            case "unencodable":
                return object()
            case "too large":
                return bytes(2**20)
        return what

    @handles(Do)
    async def handle(self, operation: Do) -> Any:
        return await self.do(operation.what)

    @handles(Happened)
    async def happened(self, event: Happened) -> None:
        self.record.append(event.what)
        await self.do(event.what)


@pytest.fixture(autouse=True)
def _log_everything(caplog: Log) -> None:
    caplog.set_level("INFO", "trio_s2s")


# -- handlers that raise, or return what is none --


@pytest.mark.parametrize(
    ("what", "code", "text", "logged"),
    [
        pytest.param("ValueError", -1, "", "the secret reason", id="K01"),
        pytest.param("declared", 7, "no such room", "", id="K02"),
        pytest.param("group", -1, "", "ExceptionGroup", id="K03"),
        pytest.param("nested", -1, "", "the secret reason", id="K03 of a nursery"),
        pytest.param("unencodable", -1, "", "can't travel", id="K04 unencodable"),
        pytest.param("too large", -9, "", "1,048,", id="K04 too large"),
    ],
)
async def test_handler_that_fails_is_an_answer(
    what: str, code: int, text: str, logged: str, caplog: Log
) -> None:
    async with linked(Clumsy) as (peer, server):
        with pytest.raises(OperationError) as caught:
            await peer.request(Do(what))
        assert caught.value.return_code == code
        assert text in caught.value.debug_message
        assert "secret" not in str(caught.value)
        assert await peer.request(Do("still here")) == "still here"
        await settled()
        check_idle(server.peer)
        assert server.peer.record == ["connected"]
    assert logged in caplog.text
    assert bool(logged) is bool(caplog.text)


@attrs.frozen
class Count(Operation[int], code=6):
    """Is answered with a number, it says."""


class Miscounter(Acceptor):
    @handles(Count)
    async def count(self, operation: Count) -> int:
        wrong: Any = "many"
        return wrong  # type: ignore[no-any-return]  # it is the fault


async def test_k04_result_of_a_wrong_type_is_an_answer(caplog: Log) -> None:
    async with linked(Miscounter) as (peer, server):
        with pytest.raises(OperationError) as caught:
            await peer.request(Count())
        assert caught.value.return_code == ReturnCode.INTERNAL_ERROR
        assert server.peer.record == ["connected"]
    assert "count" in caplog.text


async def test_k09_event_handler_that_raises_is_logged_and_the_next_one_runs(
    caplog: Log,
) -> None:
    async with linked(Clumsy) as (peer, server):
        for what in "ValueError", "group", "fine":
            await peer.send_event(Happened(what))
        assert await peer.request(Do("still here")) == "still here"
        await settled()
        check_idle(server.peer)
        assert server.peer.record == ["connected", "ValueError", "group", "fine"]
    assert caplog.text.count("happened raised") == 2
