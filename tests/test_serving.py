"""The requests of the other side: each is answered exactly once."""

from contextvars import ContextVar
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.peers import Acceptor, Echo, Wait, Worker, linked
from trio_s2s import (
    Operation,
    OperationError,
    OperationRequest,
    PeerConfig,
    ReturnCode,
    handles,
)

Clock = trio.testing.MockClock
Log = pytest.LogCaptureFixture

place: ContextVar[str] = ContextVar("place", default="clean")


@attrs.frozen
class Twice(Operation[int], code=3):
    """Has no attributes."""


async def code_of(peer: Any, operation: Operation[Any]) -> int:
    """Give the return code of an answer that is an error."""
    with pytest.raises(OperationError) as caught:
        await peer.request(operation)
    return caught.value.return_code


# -- requests --


async def test_requests_run_side_by_side(autojump_clock: Clock) -> None:
    async with linked(Worker) as (peer, _):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(peer.request, Wait(1))
        assert trio.current_time() == 1


async def test_plain_def_handler_runs_in_a_clean_context() -> None:
    class Counter(Acceptor):
        @handles(Twice)
        def twice(self, operation: Twice) -> int:
            seen, _ = place.get(), place.set("used")
            self.record.append(seen)
            return 2

    async with linked(Counter) as (peer, server):
        assert [await peer.request(Twice()) for _ in range(2)] == [2, 2]
        assert server.peer.record[1:] == ["clean", "clean"]


@pytest.mark.parametrize(
    ("code", "path"), [(1, "text (parameter 0)"), (2, "seconds (parameter 0)")]
)
async def test_parameters_that_do_not_fit_are_answered(code: int, path: str) -> None:
    """Whether the handler is `async def` or not."""

    class Strict(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            raise NotImplementedError

        @handles(Wait)
        def wait(self, operation: Wait) -> None:
            raise NotImplementedError

    async with linked(Strict) as (peer, server):
        response = await peer.request(OperationRequest(code, {0: b"wrong"}))
        assert response.return_code == ReturnCode.OPERATION_INVALID
        [[wrong, *_]] = response.parameters[0]
        assert wrong == path
        assert server.peer.record == ["connected"]


@pytest.mark.parametrize("is_async", [True, False])
async def test_handler_that_raises_is_answered_and_logged(
    is_async: bool, caplog: Log
) -> None:
    class Fails(Acceptor):
        if is_async:

            @handles(Echo)
            async def echo(self, operation: Echo) -> str:
                raise self.error(operation)

        else:

            @handles(Echo)
            def echo_now(self, operation: Echo) -> str:
                raise self.error(operation)

        def error(self, operation: Echo) -> Exception:
            if operation.text == "denied":
                return OperationError(5, "no")
            return ValueError("secret")

    async with linked(Fails) as (peer, _):
        assert await code_of(peer, Echo("denied")) == 5
        assert caplog.text == ""
        assert await code_of(peer, Echo("x")) == ReturnCode.INTERNAL_ERROR
        assert "ValueError: secret" in caplog.text
        [record] = caplog.records
        assert f"{'echo' if is_async else 'echo_now'} raised" in record.getMessage()


async def test_answer_that_is_too_large_is_told(caplog: Log) -> None:
    class Large(Acceptor):
        @handles(Echo)
        async def echo(self, operation: Echo) -> str:
            return "x" * 2000

    async with linked(Large, config=PeerConfig(max_frame=1024)) as (peer, _):
        assert await code_of(peer, Echo("x")) == ReturnCode.RESPONSE_NOT_ENCODABLE
        [record] = caplog.records
        assert "the answer to request 1 has" in record.getMessage()


async def test_cancelled_caller_cancels_its_handler(autojump_clock: Clock) -> None:
    async with linked(Worker) as (peer, server):
        with trio.move_on_after(1):
            await peer.request(Wait())
        await trio.testing.wait_all_tasks_blocked()
        assert server.peer.record == ["connected", "wait ends"]
        assert peer.statistics().late_responses == 1


async def test_cancel_reaches_a_request_that_has_not_begun(
    autojump_clock: Clock,
) -> None:
    class Slow(Worker):
        async def on_connected(self) -> None:
            await trio.sleep(5)

    async with linked(Slow) as (peer, server):
        with trio.move_on_after(1):
            await peer.request(Wait(1))
        await trio.sleep(10)
        assert server.peer.record == []
        assert server.peer.statistics().requests_running == 0


async def test_request_that_never_ran_is_answered(autojump_clock: Clock) -> None:
    """Its server's `on_connected` was still at work when the drain was over."""

    class Stuck(Worker):
        async def on_connected(self) -> None:
            await trio.sleep_forever()

    config = PeerConfig(drain_timeout=1)
    patient = PeerConfig(drain_timeout=60)
    async with linked(Stuck, config=patient, server_config=config) as (peer, server):
        async with trio.open_nursery() as nursery:
            codes: list[int] = []

            async def ask() -> None:
                codes.append(await code_of(peer, Echo("x")))

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await server.peer.disconnect()
        assert codes == [ReturnCode.SHUTTING_DOWN]
        assert server.peer.record == ["disconnected LOCAL_CLOSE"]


async def test_requests_that_were_held_do_not_fill_the_buffer(
    autojump_clock: Clock,
) -> None:
    """Whether the handler is plain or not, it does not begin when it is full."""

    class Late(Acceptor):
        async def on_connected(self) -> None:
            await trio.sleep(1)

        @handles(Echo)
        def echo(self, operation: Echo) -> str:
            self.record.append("ran")
            return "x" * 10_000

    codes: list[int] = []
    async with linked(Late, config=PeerConfig(send_buffer=20_000)) as (peer, server):

        async def ask() -> None:
            answer = await peer.request(OperationRequest(1, {0: "a"}))
            codes.append(answer.return_code)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
        assert len(server.peer.record) == 2
        assert sorted(codes) == [ReturnCode.SERVER_BUSY] * 18 + [0, 0]
