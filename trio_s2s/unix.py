"""Listens on a path: a Unix socket that leaves no file behind."""

import contextlib
import errno
import os
import socket
import stat

import trio

__all__ = ["UnixListener", "open_unix_listener"]

BACKLOG = 0xFFFF
"""As many as the system allows, as for TCP."""


class UnixListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts connections on a path, and removes its file when it is closed."""

    def __init__(self, listener: trio.SocketListener, path: str) -> None:
        self.path = path
        self.socket: trio.socket.SocketType = listener.socket
        self._listener = listener
        self._file = _file_of(path)

    async def accept(self) -> trio.SocketStream:
        """Wait for the next connection."""
        return await self._listener.accept()

    async def aclose(self) -> None:
        """Close the socket, and remove its file unless another server has made one."""
        if self._file is not None and _file_of(self.path) == self._file:
            # Who may not remove it any more leaves it for the next server to take over.
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        self._file = None
        await self._listener.aclose()


async def open_unix_listener(path: str, backlog: int | None) -> UnixListener:
    """Listen on a path; the file of a server that has died is taken over."""
    path = os.path.abspath(path)  # noqa: ASYNC240  it asks for the folder, and no disk
    await trio.lowlevel.checkpoint()
    # Without a pause from here on, or another server would find nobody listening.
    _remove_if_dead(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)
        bound.listen(BACKLOG if backlog is None else backlog)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        return UnixListener(listener, path)
    except BaseException:
        bound.close()
        raise


def _remove_if_dead(path: str) -> None:
    """Remove a socket's file on which nobody listens; anything else is left alone."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:  # It listens; so many wait that there is no room.
            return
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _file_of(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
