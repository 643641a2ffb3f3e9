"""Twin of `listening.py`."""

import errno
import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.peers import Acceptor, MemoryListener
from trio_s2s import ListenError, open_peer, serve_peers
from trio_s2s.journal import Journal
from trio_s2s.listening import accept_from, listener_name, listening_on

Clock = trio.testing.MockClock
settled = trio.testing.wait_all_tasks_blocked


class Scripted(trio.abc.Listener[trio.abc.Stream]):
    """Gives streams and raises errors as told, then waits for ever."""

    def __init__(self, *results: OSError | None) -> None:
        self.results = list(results)
        self.is_closed = trio.Event()

    async def accept(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if not self.results:
            await self.is_closed.wait()
            raise trio.ClosedResourceError
        result = self.results.pop(0)
        if result is not None:
            raise result
        return trio.testing.memory_stream_pair()[0]

    async def aclose(self) -> None:
        self.is_closed.set()
        await trio.lowlevel.checkpoint()


class Listening:
    """A listener at work, and what became of it."""

    def __init__(self, listener: Any) -> None:
        self.listener = listener
        self.served: list[str] = []
        self.broken: list[str] = []
        self.accepting = trio.CancelScope()

    async def run(self, **options: Any) -> None:
        await accept_from(
            self.listener,
            self._serve,
            Journal(),
            lambda error: self.broken.append(str(error)),
            accepting=self.accepting,
            **options,
        )

    async def _serve(self, stream: trio.abc.Stream) -> None:
        self.served.append("begun")
        try:
            await trio.sleep_forever()
        finally:
            self.served.append("ended")


async def test_cancelled_listener_closes_and_ends_those_it_accepted(
    nursery: trio.Nursery,
) -> None:
    at_work = Listening(Scripted(None, None))
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(at_work.run)
            await settled()
            scope.cancel()
    assert at_work.served == ["begun", "begun", "ended", "ended"]
    assert at_work.listener.is_closed.is_set()
    assert at_work.broken == []


async def test_end_of_accepting_lets_those_live_that_were_accepted(
    nursery: trio.Nursery,
) -> None:
    at_work = Listening(Scripted(None))
    nursery.start_soon(at_work.run)
    await settled()
    at_work.accepting.cancel()
    await settled()
    assert at_work.listener.is_closed.is_set()
    assert at_work.served == ["begun"]
    nursery.cancel_scope.cancel()


async def test_listener_that_somebody_closes_ends_with_its_peers(
    nursery: trio.Nursery,
) -> None:
    at_work = Listening(Scripted(None))
    nursery.start_soon(at_work.run)
    await settled()
    await at_work.listener.aclose()
    await settled()
    assert at_work.served == ["begun", "ended"]
    assert at_work.broken == ["the listener on Scripted was closed"]
    nursery.cancel_scope.cancel()


async def test_peers_in_the_handler_nursery_outlive_their_listener(
    nursery: trio.Nursery,
) -> None:
    at_work = Listening(Scripted(None, OSError(errno.EBADF, "gone")))
    await at_work.run(handler_nursery=nursery)
    assert at_work.broken == ["no connection can be accepted on Scripted: gone"]
    await settled()
    assert at_work.served == ["begun"]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS]
)
async def test_want_of_room_is_waited_for_and_told_now_and_then(
    number: int, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    no_room = [OSError(number, "no room") for _ in range(150)]
    at_work = Listening(Scripted(*no_room, None))
    with trio.move_on_after(15.5):
        await at_work.run()
    assert at_work.served[:1] == ["begun"]
    first, second = caplog.messages
    assert first.startswith("no connection can be accepted on Scripted: ")
    assert math.isclose(int(second.partition("(and ")[2].split()[0]), 100, abs_tol=2)
    assert all(record.levelno == logging.ERROR for record in caplog.records)


async def test_broken_listener_ends_serve_with_one_plain_error() -> None:
    healthy = MemoryListener()
    async with trio.open_nursery() as nursery:
        broken = Scripted()
        failed: list[BaseException] = []

        async def serve(task_status: trio.TaskStatus[Any]) -> None:
            try:
                await serve_peers(Acceptor, [healthy, broken], task_status=task_status)
            except ListenError as error:
                failed.append(error)

        await nursery.start(serve)
        async with open_peer(healthy.dial()):
            await broken.aclose()
            await settled()
    [error] = failed
    assert str(error) == "the listener on Scripted was closed"
    assert isinstance(error.__cause__, trio.ClosedResourceError)


async def test_any_error_of_a_listener_of_ones_own_is_told() -> None:
    class Odd(MemoryListener):
        async def accept(self) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            raise trio.EndOfChannel

    at_work = Listening(Odd())
    await at_work.run()
    [text] = at_work.broken
    assert text == "no connection can be accepted on Odd: EndOfChannel()"


async def test_name_is_that_of_the_socket_or_of_the_class() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        assert listener_name(listener) == f"127.0.0.1:{port}"
    assert listener_name(listener) == "a closed socket"
    assert listener_name(MemoryListener()) == "MemoryListener"


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (OSError(errno.EADDRINUSE, "x"), "in use"),
        (OSError(errno.EACCES, "x"), "permission denied"),
        (OSError(errno.ENOENT, "x"), "folder does not exist"),
        (OSError(errno.EIO, "odd"), "odd"),
        (OSError("odd"), "odd"),
        (UnicodeError("label too long"), "no valid host name"),
    ],
)
async def test_failure_to_listen_is_told_in_words(raised: Exception, text: str) -> None:
    async def fail() -> Any:
        await trio.lowlevel.checkpoint()
        raise raised

    with pytest.raises(ListenError, match=text) as caught:
        await listening_on("there", fail())
    assert str(caught.value).startswith("cannot listen on there: ")
    assert caught.value.__cause__ is raised


async def test_listeners_are_given_on() -> None:
    async def succeed() -> Callable[..., Any]:
        await trio.lowlevel.checkpoint()
        return print

    assert await listening_on("there", succeed()) is print
