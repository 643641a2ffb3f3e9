"""Twin of `unix.py`, with real sockets in a temporary folder; and peers over them."""

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.peers import Acceptor, Dialler
from trio_s2s import (
    ConnectionFailedError,
    FailureReason,
    InitRequest,
    ListenError,
    OperationRequest,
    OutboundPeer,
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


async def test_path_stays_the_same_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with await open_unix_listener("s2s.sock", None) as listener:
        monkeypatch.chdir("/")
        assert listener.path == str(tmp_path / "s2s.sock")
        assert is_socket(listener.path)
    assert os.listdir(tmp_path) == []


async def test_file_that_may_not_be_removed_any_more_is_left(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    listener = await open_unix_listener(path, None)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", denied)
        await listener.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    assert is_socket(path)
    async with await open_unix_listener(path, None):
        assert is_socket(path)


async def listen_many_times(path: str) -> int:
    """Start five servers one step after the other; count those that listen."""
    listeners: list[UnixListener] = []

    async def start() -> None:
        with suppress(OSError):
            listeners.append(await open_unix_listener(path, None))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(start)
            await trio.lowlevel.checkpoint()
    for listener in listeners:
        await listener.aclose()
    return len(listeners)


@pytest.mark.parametrize("leave", [lambda path: None, leave_a_dead_socket])
async def test_one_of_many_that_start_at_once_listens(
    leave: Callable[[str], None], tmp_path: Path
) -> None:
    for number in range(20):
        path = str(tmp_path / str(number))
        leave(path)
        assert await listen_many_times(path) == 1
        assert not exists(path)


async def test_dead_file_that_another_server_removes_first_is_no_error(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink

    def too_late(path: str) -> None:
        unlink(path)
        raise FileNotFoundError(path)

    leave_a_dead_socket(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", too_late)
        listener = await open_unix_listener(path, None)
    assert is_socket(path)
    await listener.aclose()


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


async def test_path_has_no_port(path: str, nursery: trio.Nursery) -> None:
    made: list[InitRequest] = []

    def create(init_request: InitRequest) -> Acceptor:
        made.append(init_request)
        return Acceptor()

    await nursery.start(serve_unix, create, f"{path}:4520")
    async with open_unix_peer(f"{path}:4520"):
        [request] = made
    assert request.local_address == f"{path}:4520"
    assert request.local_port is None


async def test_class_that_cannot_accept_is_told_before_it_listens(path: str) -> None:
    with pytest.raises(TypeError, match="OutboundPeer is no InboundPeer"):
        await serve_unix(OutboundPeer, path)  # type: ignore[arg-type]  # on purpose
    assert not exists(path)


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
