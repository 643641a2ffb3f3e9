"""Checks a settings file: imports, loads and listens on all that it names."""

from collections.abc import Iterator, Sequence
from typing import Any

import trio

from trio_s2s.application import Application
from trio_s2s.errors import ListenError
from trio_s2s.linking import LinkConfig
from trio_s2s.listener import ListenerConfig
from trio_s2s.listening import open_listeners
from trio_s2s.output import Status, show
from trio_s2s.runtime import current_runtime
from trio_s2s.settings import SettingsError, read_settings
from trio_s2s.table import as_written
from trio_s2s.target import name_of
from trio_s2s.transport import show_address

__all__ = ["check"]


def check(file: str, target: str, *, as_json: bool) -> Status:
    """Tell what a settings file would run, or everything that is wrong with it.

    Args:
        file: Its path.
        target: `module:Name`, for the applications that have no class there.
        as_json: Print one object of `ok`, `errors` and `applications`.
    """
    applications: list[Application] = []
    errors: list[str] = []
    try:
        applications = read_settings(file, target)
    except SettingsError as error:
        errors = error.errors
    errors += [f"{file}: {error}" for error in trio.run(_listen_on_all, applications)]
    lines = errors or [line for one in applications for line in _lines(one)]
    show(
        as_json=as_json,
        text="\n".join(lines),
        ok=not errors,
        errors=errors,
        applications=[_fields(one) for one in applications],
    )
    return Status.WRONG_USAGE if errors else Status.OK


async def _listen_on_all(applications: Sequence[Application]) -> list[str]:
    errors: list[str] = []
    opened: list[trio.abc.Listener[Any]] = []
    try:
        for application in applications:
            for number, listener in enumerate(_listeners(application)):
                try:
                    opened += await open_listeners(listener, current_runtime.get())
                except ListenError as error:
                    path = f"application.{as_written(application.name)}"
                    errors.append(f"{path}.listener[{number}]: {error}")
    finally:
        # Only now, or two of them on one port would not be noticed.
        for each in opened:
            await trio.aclose_forcefully(each)  # noqa: ASYNC102  it does not wait
    return errors


def _listeners(application: Application) -> list[ListenerConfig]:
    return [one for one in application._openings if isinstance(one, ListenerConfig)]


def _links(application: Application) -> list[LinkConfig]:
    return [one for one in application._openings if isinstance(one, LinkConfig)]


# -- telling --


def _lines(application: Application) -> Iterator[str]:
    who = f", server id {application.server_id}" if application.server_id else ""
    yield f"application {application.name}: {name_of(application)}{who}"
    for listener in _listeners(application):
        yield f"  listener on {_address(listener)}, {_how(listener)}"
    for link in _links(application):
        name = f"{link.application_name} at " if link.application_name else ""
        yield f"  link {link.name} to {name}{_address(link)}, {_how(link)}"


def _fields(application: Application) -> dict[str, Any]:
    return {
        "name": application.name,
        "class": name_of(application),
        "server_id": application.server_id,
        "version": application.version,
        "listeners": [
            {"address": _address(one), "tls": one.ssl_context is not None}
            for one in _listeners(application)
        ],
        "links": [
            {
                "name": one.name,
                "address": _address(one),
                "peer": name_of(one.peer),
                "tls": one.ssl_context is not None,
            }
            for one in _links(application)
        ],
    }


def _address(end: ListenerConfig | LinkConfig) -> str:
    return show_address((end.host, end.port))


def _how(end: ListenerConfig | LinkConfig) -> str:
    return "TLS" if end.ssl_context is not None else "plain TCP"
