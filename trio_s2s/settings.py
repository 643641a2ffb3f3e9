"""A settings file, in TOML, read into applications that are ready to run."""

import inspect
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from trio_s2s.application import Application
from trio_s2s.backoff import Backoff, Fixed
from trio_s2s.certificates import dialler_tls, listener_tls
from trio_s2s.checks import text
from trio_s2s.config import PeerConfig
from trio_s2s.fields import check_server_id
from trio_s2s.linking import LinkConfig
from trio_s2s.listener import ListenerConfig
from trio_s2s.peer import OutboundPeer
from trio_s2s.security import is_loopback
from trio_s2s.table import Reader, Table
from trio_s2s.target import Found, find_application, load, make_application

__all__ = ["SettingsError", "read_settings"]

E = TypeVar("E", ListenerConfig, LinkConfig)


class SettingsError(ValueError):
    """All that is wrong with a settings file, in `errors`, a line each."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors: list[str] = list(errors)


def read_settings(file: str, target: str = "") -> list[Application]:
    """Read a file, and make its applications; they listen when they run.

    Args:
        file: Its path. What is named in it is imported, and its certificates are read.
        target: `module:Name` of an application, for the tables that have no `class`.

    Raises a SettingsError with everything that is wrong, not only the first of it.
    """
    root = Table(_parsed(file), Path(file).parent)
    applications = _applications(root, _default(target))
    if root.errors:
        raise SettingsError([f"{file}: {error}" for error in root.errors])
    return applications


def _parsed(file: str) -> Mapping[str, Any]:
    source = ""
    try:
        source = Path(file).read_text("utf-8")
        return tomllib.loads(source)
    except OSError as error:
        raise SettingsError([f"{file}: cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        # The library's text ends in line and column, or leaves them to be counted.
        *_, last = lines = source.split("\n")
        end = f"at line {len(lines)}, column {len(last) + 1}"
        why = str(error).replace("at end of document", end)
        raise SettingsError([f"{file}: this is no TOML: {why}"]) from error


def _default(target: str) -> Found | None:
    try:
        return find_application(target) if target else None
    except ValueError as error:
        raise SettingsError([f"{target}: {error}"]) from error


# -- applications --


def _server_id(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    check_server_id(value, may_be_empty=True)


@attrs.frozen(kw_only=True)
class ApplicationTable:
    """What the table of an application may say."""

    found: Found | None = None
    server_id: str = attrs.field(default="", validator=_server_id)
    version: str = attrs.field(default="", validator=text)
    config: PeerConfig | None = None
    listeners: Sequence[ListenerConfig] = ()
    links: Sequence[LinkConfig] = ()

    def options(self) -> dict[str, Any]:
        """Give the arguments for the class, without those that say nothing."""
        names = ("server_id", "version", "config")
        return {name: value for name in names if (value := getattr(self, name))}


def _applications(root: Table, default: Found | None) -> list[Application]:
    root.refuse_others(["application"])
    try:
        tables = root.inner("application") if root.values.get("application") else None
    except ValueError as error:
        root.tell("application", str(error))
        return []
    if tables is None:
        root.tell("application", "missing: begin with [application.NAME]")
        return []
    made = []
    needs_default = False
    for name in tables.values:
        try:
            table = tables.inner(name)
            needs_default |= "class" not in table.values
            made.append(_application(table, name, default))
        except ValueError as error:
            tables.tell(name, str(error))
    if default is not None and not needs_default:
        root.tell("application", "each has its class here, that given beside is left")
    return [application for application in made if application is not None]


def _application(table: Table, name: str, default: Found | None) -> Application | None:
    fields = table.fields(ApplicationTable, _APPLICATION)
    if "class" not in table.values and default is None:
        table.tell("class", "missing: module:Name, here or on the command line")
        return None
    if fields is None:
        return None
    wanted = ApplicationTable(**fields)
    for number, link in enumerate(wanted.links):
        if link.server_id and link.server_id == wanted.server_id:
            text = "is that of this application, which can't be linked to itself"
            table.inners("link")[number].tell("server_id", text)
    found = wanted.found or default
    assert found is not None
    try:
        application = make_application(found, name, wanted.options())
    except ValueError as error:
        table.tell("class", str(error))
        return None
    application._openings = (*wanted.listeners, *wanted.links)
    return application


# -- what is inside of them --


def _class(table: Table, key: str) -> Found:
    return find_application(table.values[key])


def _limits(table: Table, key: str) -> PeerConfig | None:
    found = table.inner(key).fields(PeerConfig, {})
    return None if found is None else PeerConfig(**found)


def _peer(table: Table, key: str) -> type[OutboundPeer]:
    found = load(table.values[key])
    if not (isinstance(found, type) and issubclass(found, OutboundPeer)):
        raise ValueError(f"must be a class of OutboundPeers, not {found!r}")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ValueError(
            f"{found.__name__} can't be made from a file: {error}; a link of"
            " connect_tcp() can give it what it needs"
        ) from error
    return found


def _retry(table: Table, key: str) -> Backoff | Fixed | None:
    value = table.values[key]
    if isinstance(value, dict):
        found = table.inner(key).fields(Backoff, {})
        return None if found is None else Backoff(**found)
    try:
        return Fixed(value)
    except ValueError as error:
        text = f"must be seconds above 0, or {{ first = …, cap = … }}, not {value!r}"
        raise ValueError(text) from error


def _listeners(table: Table, key: str) -> list[ListenerConfig | None]:
    return [_end(one, ListenerConfig, _LISTENER) for one in table.inners(key)]


def _links(table: Table, key: str) -> list[LinkConfig | None]:
    tables = table.inners(key)
    first: dict[Any, Table] = {}
    for one in tables:
        name = one.values.get("name")
        if isinstance(name, str) and first.setdefault(name, one) is not one:
            one.tell("name", f"{name!r} is the name of {first[name].path} already")
    return [_end(one, LinkConfig, _LINK) for one in tables]


def _end(
    table: Table, cls: type[E], readers: Mapping[str, tuple[str, Reader]]
) -> E | None:
    """Make one end of connections, unless it would be in plain text by mistake."""
    fields = table.fields(cls, readers)
    host = table.values.get("host", "localhost")
    is_safe = "tls" in table.values or table.values.get("insecure") is True
    if isinstance(host, str) and host and not is_safe and not is_loopback(host):
        table.tell(
            "host",
            f"{host} may be reached from other machines: add tls = {{ … }}, or"
            " insecure = true where something else protects the plain text",
        )
        return None
    return None if fields is None else cls(**fields)


_LISTENER: Final[Mapping[str, tuple[str, Reader]]] = {
    "ssl_context": ("tls", listener_tls),
    "config": ("limits", _limits),
}
_LINK: Final[Mapping[str, tuple[str, Reader]]] = {
    "ssl_context": ("tls", dialler_tls),
    "peer": ("peer", _peer),
    "retry": ("retry", _retry),
}
_APPLICATION: Final[Mapping[str, tuple[str, Reader]]] = {
    "found": ("class", _class),
    "config": ("limits", _limits),
    "listeners": ("listener", _listeners),
    "links": ("link", _links),
}
"""What the fields are called in the file, and what reads them."""
