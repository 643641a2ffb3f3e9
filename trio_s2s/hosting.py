"""Runs applications: one for a `with` block or as a task, several behind one port."""

import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import attrs
import trio

from trio_s2s.application import Application
from trio_s2s.bounded import run_last_hook
from trio_s2s.codes import CloseCode, DisconnectReason
from trio_s2s.errors import LocalProtocolError
from trio_s2s.inbound import serve_nodes
from trio_s2s.journal import log
from trio_s2s.link import Link
from trio_s2s.listener import ListenerConfig
from trio_s2s.listening import listening_on
from trio_s2s.node import Farewell, Node
from trio_s2s.running import Running
from trio_s2s.runtime import Listeners
from trio_s2s.security import check_context, check_port, refuse_plain_text
from trio_s2s.service import service_nursery
from trio_s2s.transport import show_address

__all__ = ["open_application", "run_application", "serve_applications"]

A = TypeVar("A", bound=Application)


@asynccontextmanager
async def open_application(application: A) -> AsyncGenerator[A]:
    """Run an application for a `with` block, which is entered when `setup` is done.

    Leaving the block stops it gracefully, see `Application.stop`. An exception, or a
    cancellation, ends it at once: every peer still says goodbye, and its
    `on_disconnected` runs. Last of all runs `tear_down`.

    The body's exceptions come out as they are, those of `setup` and `tear_down` too.
    """
    if application._run is not None and not application._run.stopped.is_set():
        raise LocalProtocolError(f"{application!r} runs already")
    errors: list[Exception] = []
    try:
        async with _run(application) as running:
            await application.setup()
            await _open(application)
            running.open()
            yield application
            # Its own run: somebody may have opened the application again already.
            await running.stop(application.config.drain_timeout)
    except BaseException:
        await _tear_down(application, errors)  # noqa: ASYNC102  shielded and bounded
        for error in errors:
            log.error("%r: tear_down raised", application, exc_info=error)
        raise
    await _tear_down(application, errors)
    for error in errors:
        raise error


async def run_application(
    application: Application,
    *,
    task_status: trio.TaskStatus[Application] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run an application until it is stopped or cancelled, as `open_application` does.

    `started` gives the application when `setup` is done.
    """
    async with open_application(application):
        running = application._running
        task_status.started(application)
        await running.stopped.wait()


async def serve_applications(  # noqa: ASYNC128  serve_nodes does it
    applications: Sequence[Application],
    port: int,
    *,
    host: str = "127.0.0.1",
    ssl_context: ssl.SSLContext | None = None,
    insecure: bool = False,
    backlog: int | None = None,
    task_status: trio.TaskStatus[Listeners] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run several applications behind one TCP port until cancelled.

    The dialler names the one that it wants (`application_name`); the first is for
    those that name none. Photon: the applications of one server, `DefaultApplication`.

    The arguments are those of `serve_tcp`; each application has its own config, and the
    first one's is in force during the handshake. Raises ListenError.
    """
    names = [application.name for application in applications]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"applications need different names, these have {names}")
    check_port(port, lowest=0)
    check_context(ssl_context, listens=True)
    refuse_plain_text("listening on", host, ssl_context, insecure)
    async with AsyncExitStack() as stack:
        nodes = []
        for application in applications:
            await stack.enter_async_context(open_application(application))
            nodes.append(application._running.node)
        listeners = await listening_on(
            show_address((host, port)),
            nodes[0].runtime.open_tcp_listeners(port, host, backlog),
        )
        await serve_nodes(nodes, listeners, ssl_context, None, task_status)
    raise AssertionError("unreachable")  # pragma: no cover  only type checkers get here


async def _open(application: Application) -> None:
    """Open what a settings file names, unless `setup` has stopped it already."""
    links: dict[str, Link[Any]] = {}
    for opening in application._openings:
        if application._running.stopped.is_set():
            return
        if isinstance(opening, ListenerConfig):
            with suppress(LocalProtocolError):  # It may be stopped meanwhile.
                await application.listen(opening)
        else:
            arguments = attrs.asdict(opening, recurse=False)
            name = arguments.pop("name")
            links[name] = application.connect_tcp(**arguments)
    if links:  # Else a class that has links of its own would lose them.
        application.links = MappingProxyType(links)


@asynccontextmanager
async def _run(application: Application) -> AsyncGenerator[Running]:
    node = Node(
        name=application.name,
        create_peer=application.create_peer,
        server_lost=application.server_lost,
        config=application.config,
        server_id=application.server_id,
        version=application.version,
        farewell=Farewell(
            DisconnectReason.SHUTDOWN,
            f"{application.server_id or application.name} stops",
            CloseCode.SHUTTING_DOWN,
        ),
    )
    async with service_nursery(lambda: running.cancel(), lambda _: False) as nursery:
        running = application._run = Running(node, nursery)
        yield running


async def _tear_down(application: Application, errors: list[Exception]) -> None:
    limit = application.config.hook_timeout
    await run_last_hook(
        application.tear_down, repr(application), "tear_down", limit, errors.append
    )
