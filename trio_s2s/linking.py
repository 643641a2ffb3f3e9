"""Whom an application is linked to, by name: one frozen, validated object."""

import ssl
from collections.abc import Callable
from typing import Any

import attrs

from trio_s2s.backoff import Backoff, Fixed
from trio_s2s.checks import filled, flag, text
from trio_s2s.fields import check_server_id
from trio_s2s.peer import OutboundPeer
from trio_s2s.security import check_context, check_port, refuse_plain_text

__all__ = ["LinkConfig"]


def _port(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    check_port(value, lowest=1)


def _server_id(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None:
        check_server_id(value)


def _peer(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not (isinstance(value, type) and issubclass(value, OutboundPeer)):
        raise ValueError(f"peer is a class of OutboundPeers, not {value!r}")


def _retry(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, (Backoff, Fixed)):
        raise ValueError(f"retry is a Backoff or a Fixed, not {value!r}")


def _context(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    check_context(value, listens=False)


@attrs.frozen(kw_only=True)
class LinkConfig:
    """A link that an application opens when its `setup` is done.

    The others are arguments of `connect_tcp`, which has more: what only a program can
    give, as an init object, or a function that makes peers or finds addresses.
    """

    name: str = attrs.field(validator=filled)
    """Its key in `application.links`."""
    host: str = attrs.field(validator=filled)
    port: int = attrs.field(validator=_port)
    peer: Callable[[], OutboundPeer] = attrs.field(
        default=OutboundPeer, validator=_peer
    )
    application_name: str = attrs.field(default="", validator=text)
    server_id: str | None = attrs.field(default=None, validator=_server_id)
    ssl_context: ssl.SSLContext | None = attrs.field(default=None, validator=_context)
    insecure: bool = attrs.field(default=False, validator=flag)
    retry: Backoff | Fixed = attrs.field(default=Backoff(), validator=_retry)

    def __attrs_post_init__(self) -> None:
        refuse_plain_text("dialling", self.host, self.ssl_context, self.insecure)
