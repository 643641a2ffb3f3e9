"""A network in memory that runs applications, and may kill and restart them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from trio_s2s.application import Application
from trio_s2s.hosting import run_application
from trio_s2s.runtime import current_runtime
from trio_s2s.testing.faults import Faults
from trio_s2s.testing.machine import Machine

__all__ = ["MemoryNetwork"]


class MemoryNetwork(Faults):
    """A network for any number of applications in one process, without sockets.

    They need not be changed: a node listens and dials by name and port, or by loopback
    address and port, as if all ran on one machine. A node is named by the `server_id`
    of its application, or else by its name. With trio's `MockClock` it all takes no
    time, and the same seed does the same again, faults and all.
    """

    def __init__(self, *, seed: int = 0) -> None:
        """Make a network; the seed decides what chance does in it."""
        super().__init__(seed)
        self._scopes: dict[str, trio.CancelScope] = {}
        self._restarts: dict[str, trio.Event] = {}

    async def run(  # noqa: ASYNC128  run_application does it
        self,
        application: Application | Callable[[], Application],
        *,
        task_status: trio.TaskStatus[Application] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run an application on the node of its name, until it stops.

        `started` gives it when its `setup` is done. Pass a function that makes it, for
        instance its class, to have a new one after each restart.
        """

        def make() -> Application:
            if isinstance(application, Application):
                return application
            return application()

        running = make()
        node = self.node(running.server_id or running.name)
        while True:
            await self._run_once(node, running, task_status)
            if not node.is_dead:
                # Nothing runs there any more that a kill could end, or a restart begin.
                del self._scopes[node.name], self._restarts[node.name]
                return
            task_status = trio.TASK_STATUS_IGNORED
            restart = self._restarts[node.name]
            await restart.wait()
            self._start_again(node)
            running = make()

    async def _run_once(  # noqa: ASYNC128  run_application does it
        self, node: Machine, application: Application, task_status: Any
    ) -> None:
        with self.at(node.name), trio.CancelScope() as scope:
            self._scopes[node.name] = scope
            self._restarts[node.name] = trio.Event()
            await run_application(application, task_status=task_status)

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Let what is opened in a block, for instance `open_tcp_peer`, be on a node."""
        token = current_runtime.set(self.node(name))
        try:
            yield
        finally:
            current_runtime.reset(token)

    def kill(self, name: str, *, silently: bool = False) -> None:
        """Kill a node: its streams break, its tasks are cancelled, hooks still run.

        Silently, as by a loss of power: the others are not told, and who dials it
        waits in vain.
        """
        self._know(name)
        node = self.node(name)
        self._note("kill", name, *["silently"] * silently)
        for connection in self.connections:
            if name in (connection.near.socket.host, connection.far.socket.host):
                for pipe in connection.pipes:
                    pipe.die(name, silently=silently)
        node.die(silently=silently)
        if name in self._scopes:
            self._scopes[name].cancel(reason=f"{name} is killed")

    def restart(self, name: str) -> None:
        """Start a node again that was killed, as a new instance of the same server."""
        node = self.node(name)
        if not node.is_dead:
            raise ValueError(f"{name} is not dead: kill it first")
        if name in self._restarts:
            self._restarts[name].set()
        else:  # No application runs there, which would do it when it has ended.
            self._start_again(node)

    def _start_again(self, node: Machine) -> None:
        node.start()
        self.moved()
        self.trace.note("fault", "restart", "", node.name)
