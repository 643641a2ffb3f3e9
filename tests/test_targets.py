"""Whom a link dials, and what it says of itself; the rest is in `test_link.py`."""

from typing import Any

import pytest
import trio
import trio.testing

from tests.network import Caller, Server, memory
from tests.peers import Wait
from trio_s2s import (
    Application,
    ConnectionFailedError,
    FailureReason,
    Fixed,
    PeerDisconnectedError,
    open_application,
)

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture
settled = trio.testing.wait_all_tasks_blocked


# -- whom it dials --


async def test_target_may_be_found_anew_for_each_attempt(
    autojump_clock: Clock,
) -> None:
    found = [("localhost", 4598), ("localhost", 4599), ("localhost", 4520)]

    async def find_server() -> tuple[str, int]:
        await trio.lowlevel.checkpoint()
        return found.pop(0)

    async with (
        memory(),
        open_application(Server()),
        open_application(Application("Client")) as client,
    ):
        link = client.connect_tcp(find_server, None, Caller, insecure=True)
        assert "find_server" in repr(link)
        await link.connected()
    assert found == []


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("localhost", 0), "gave ('localhost', 0): port is a whole number"),
        (("10.0.0.1", 4520), "gave ('10.0.0.1', 4520): dialling"),
        ("localhost", "gave 'localhost'"),
        (None, "gave None"),
    ],
)
async def test_target_that_makes_no_sense_is_a_failure(
    given: Any, text: str, autojump_clock: Clock
) -> None:
    async def find_server() -> Any:
        await trio.lowlevel.checkpoint()
        return given

    async with memory(), open_application(Application("Client")) as client:
        link = client.connect_tcp(find_server, None, Caller)
        await trio.sleep(1)
        with pytest.raises(PeerDisconnectedError) as caught:
            await link.request(Wait(0))
    assert text in str(caught.value)


async def test_target_that_raises_is_a_failure_and_tried_again(
    autojump_clock: Clock, caplog: Log
) -> None:
    errors: list[ConnectionFailedError] = []

    class Told(Caller):
        async def on_failed(self, error: ConnectionFailedError) -> None:
            errors.append(error)

    async def find_server() -> tuple[str, int]:
        await trio.lowlevel.checkpoint()
        raise KeyError("billing")

    async with memory(), open_application(Application("Client")) as client:
        client.connect_tcp(find_server, None, Told, retry=Fixed(3))
        await trio.sleep(10)
        assert client.statistics().failures == {FailureReason.DNS_ERROR: 4}
    assert "find_server: it raised KeyError: 'billing'; next attempt in" in caplog.text
    assert [error.reason for error in errors] == [FailureReason.DNS_ERROR] * 4
    assert isinstance(errors[0].__cause__, KeyError)


async def test_target_that_cannot_ask_is_a_failure_of_its_kind(
    autojump_clock: Clock,
) -> None:
    async def find_server() -> tuple[str, int]:
        await trio.lowlevel.checkpoint()
        raise ConnectionRefusedError(111, "Connection refused")

    async with memory(), open_application(Application("Client")) as client:
        client.connect_tcp(find_server, None, Caller)
        await settled()
        assert client.statistics().failures == {FailureReason.REFUSED: 1}


# -- what it is doing --


async def test_state_is_told(autojump_clock: Clock) -> None:
    async with memory(), open_application(Application("Client")) as client:
        link = client.connect_tcp("localhost", 4520, Caller, retry=Fixed(2))
        states = [link.state]
        await settled()
        states.append(link.state)
        async with open_application(Server()):
            await link.connected()
            states.append(link.state)
        await settled()
        states.append(link.state)
        await client.stop()
        assert [state.name for state in [*states, link.state]] == [
            "CONNECTING",
            "WAITING",
            "CONNECTED",
            "WAITING",
            "STOPPED",
        ]
