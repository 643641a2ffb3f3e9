"""Twin of `unix.py`, with real sockets in a temporary folder; and peers over them."""

import os
import socket
import stat
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.peers import Acceptor, Dialler
from trio_s2s import (
    ConnectionFailedError,
    FailureReason,
    ListenError,
    OperationRequest,
    open_unix_peer,
    serve_unix,
)
from trio_s2s.unix import UnixListener, open_unix_listener


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s2s.sock")


def is_socket(path: str) -> bool:
    return stat.S_ISSOCK(os.lstat(path).st_mode)


def exists(path: str) -> bool:
    return os.path.lexists(path)


def leave_a_file(path: str) -> None:
    Path(path).write_text("precious")


def text_of(path: str) -> str:
    return Path(path).read_text()


def leave_a_dead_socket(path: str) -> None:
    """Leave what a server leaves that was killed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)


# -- the file --


async def test_file_is_there_while_it_listens(path: str) -> None:
    async with await open_unix_listener(path, None) as listener:
        assert is_socket(path)
        assert listener.path == path
    assert not exists(path)
    await listener.aclose()


async def test_file_of_a_dead_server_is_taken_over(path: str) -> None:
    leave_a_dead_socket(path)
    async with (
        await open_unix_listener(path, 1) as listener,
        await trio.open_unix_socket(path),
    ):
        await (await listener.accept()).aclose()


async def test_living_server_is_left_alone(path: str) -> None:
    async with await open_unix_listener(path, None):
        with pytest.raises(OSError, match="in use"):
            await open_unix_listener(path, None)
        assert is_socket(path)


async def test_living_server_with_a_full_queue_is_left_alone(path: str) -> None:
    async with await open_unix_listener(path, 0):
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(path)
            with pytest.raises(OSError, match="in use"):
                await open_unix_listener(path, None)
        assert is_socket(path)


async def test_file_that_somebody_has_removed_is_no_error(path: str) -> None:
    async with await open_unix_listener(path, None):
        os.unlink(path)
    assert not exists(path)


async def test_other_file_is_left_alone(path: str) -> None:
    leave_a_file(path)
    with pytest.raises(FileExistsError, match="no socket"):
        await open_unix_listener(path, None)
    assert text_of(path) == "precious"


async def test_file_of_another_server_is_not_removed(path: str) -> None:
    listener = await open_unix_listener(path, None)
    os.unlink(path)
    async with await open_unix_listener(path, None) as other:
        await listener.aclose()
        assert is_socket(path)
        async with await trio.open_unix_socket(path):
            await (await other.accept()).aclose()


async def test_file_that_is_gone_already_is_no_error(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = await open_unix_listener(path, None)
    unlink = os.unlink

    def too_late(path: str) -> None:
        unlink(path)
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "unlink", too_late)
    await listener.aclose()


async def test_nothing_is_left_open_where_it_failed(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        await open_unix_listener(str(tmp_path / "nowhere" / "s2s.sock"), None)
    with pytest.raises(OSError, match="too long"):
        await open_unix_listener(str(tmp_path / ("x" * 200)), None)
    assert len(os.listdir("/proc/self/fd")) == len(before)


# -- peers --


async def test_peers_meet_on_a_path(path: str, nursery: trio.Nursery) -> None:
    made: list[Acceptor] = []

    def create(init_request: object) -> Acceptor:
        made.append(Acceptor())
        return made[-1]

    [listener] = await nursery.start(serve_unix, create, path)
    assert isinstance(listener, UnixListener)
    async with open_unix_peer(Path(path), Dialler, init_object="hello") as peer:
        assert (await peer.request(OperationRequest(9))).return_code == -4
        assert made[0].init_request.local_port is None
        assert made[0].init_request.init_object == "hello"
        assert made[0].local_address == peer.remote_address == path
    await made[0].ended.wait()
    assert made[0].record == ["connected", "disconnected REMOTE_CLOSE"]
    assert peer.record == ["connected", "disconnected LOCAL_CLOSE"]


async def test_server_removes_its_file_when_it_is_cancelled(path: str) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_unix, Acceptor, path, backlog=5))
        assert is_socket(path)
        nursery.cancel_scope.cancel()
    assert not exists(path)


async def test_path_that_cannot_be_listened_on_is_a_listen_error(path: str) -> None:
    leave_a_file(path)
    with pytest.raises(ListenError, match=r"cannot listen on .*s2s\.sock: there is a"):
        await serve_unix(Acceptor, path)


async def test_path_without_a_server_is_refused(path: str) -> None:
    with pytest.raises(
        ConnectionFailedError, match=r"s2s\.sock: there is no"
    ) as caught:
        async with open_unix_peer(path):
            raise AssertionError("not reached")
    assert caught.value.reason is FailureReason.REFUSED
    leave_a_dead_socket(path)
    with pytest.raises(ConnectionFailedError, match="refused"):
        async with open_unix_peer(path):
            raise AssertionError("not reached")
