"""Runs applications as a process of their own, until a signal stops them."""

import logging
import signal
from collections.abc import Sequence

import attrs
import trio

from trio_s2s.application import Application
from trio_s2s.errors import ListenError
from trio_s2s.hosting import open_application
from trio_s2s.listening import listener_name
from trio_s2s.output import Status, complain, say, show
from trio_s2s.settings import SettingsError, read_settings
from trio_s2s.statistics import StopReport
from trio_s2s.target import find_application, make_application

__all__ = ["serve"]


def serve(file: str, target: str, *, as_json: bool) -> Status:
    """Run the applications of a settings file, or one without a file, until a signal.

    Args:
        file: Its path; empty: there is none.
        target: `module:Name`, for the applications that have no class in the file.
        as_json: Print one object a line.

    SIGTERM and SIGINT let running requests finish, for `drain_timeout`; a second one
    ends them at once, with a goodbye. What an application raises comes out of it.
    """
    try:
        applications = _applications(file, target)
    except SettingsError as error:
        for line in error.errors:
            say(line)
        return Status.WRONG_USAGE
    # What nobody awaits is logged; an application that has set it up has its own way.
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO
    )
    status = Status.TOO_SLOW
    try:
        status = trio.run(Process(as_json).run, applications)
    except* KeyboardInterrupt:
        # Before there was anything to stop, or a third time.
        say("interrupted")
    return status


def _applications(file: str, target: str) -> list[Application]:
    if file:
        return read_settings(file, target)
    try:
        return [make_application(find_application(target))]
    except ValueError as error:
        raise SettingsError([f"{target}: {error}"]) from error


class Process:
    """Some applications that begin and end together."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._status = Status.OK
        self._is_asked = trio.Event()
        """Set by the first signal."""
        self._everything = trio.CancelScope()
        self._setup: trio.CancelScope | None = None
        """Around the application that is about to run, until it does."""

    async def run(self, applications: Sequence[Application]) -> Status:
        """Run them until they stop, each by itself or all by a signal."""
        with self._everything:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._obey)
                async with trio.open_nursery() as running:
                    # One after the other, so that what is told has an order.
                    for application in applications:
                        if not self._is_asked.is_set():
                            await running.start(self._host, application)
                nursery.cancel_scope.cancel(reason="all applications have stopped")
        return self._status

    async def _obey(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            name = signal.Signals(await anext(signals)).name
            say(f"{name}: running requests may finish; a second signal ends it at once")
            self._is_asked.set()
            if self._setup is not None:  # It has nothing to finish yet.
                self._setup.cancel(reason="the process was told to stop")
            await anext(signals)
        self._give_up(Status.TOO_SLOW)

    def _give_up(self, status: Status) -> None:
        self._status = status
        self._everything.cancel(reason="the process ends")

    async def _host(
        self, application: Application, task_status: trio.TaskStatus[None]
    ) -> None:
        with trio.CancelScope() as self._setup:
            try:
                async with open_application(application):
                    running = application._running
                    self._tell_listeners(application)
                    self._setup = None
                    task_status.started()
                    await _first_of(self._is_asked, running.stopped)
                    report = await application.stop()
            except ListenError as error:
                text = f"{application.name}: {error}"
                self._give_up(complain(text, Status.WRONG_USAGE))
                await trio.lowlevel.checkpoint()
            else:
                self._tell_report(application, report)
                return
        task_status.started()

    # -- telling --

    def _tell(
        self, event: str, application: Application, text: str, **f: object
    ) -> None:
        name = application.name
        show(
            as_json=self._as_json,
            text=f"{name} {text}",
            event=event,
            application=name,
            **f,
        )

    def _tell_listeners(self, application: Application) -> None:
        names = [listener_name(one) for one in application._running.listeners]
        for name in names:
            self._tell("listens", application, f"listens on {name}", address=name)
        if not names:
            self._tell("listens", application, "listens nowhere", address=None)

    def _tell_report(self, application: Application, report: StopReport) -> None:
        for peer in report.peers:
            counts = attrs.asdict(peer)
            who = counts.pop("peer")
            shown = ", ".join(
                f"{counts[key]} {key.replace('_', ' ')}" for key in counts
            )
            text = f"stopped {who}: {shown}"
            self._tell("peer", application, text, peer=who, **counts)
        self._tell("stopped", application, "has stopped")


async def _first_of(*events: trio.Event) -> None:
    async def wait_for(event: trio.Event) -> None:
        await event.wait()
        nursery.cancel_scope.cancel(reason="another one came first")

    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(wait_for, event)
