"""The package's logger, and a guard against repeating itself."""

import contextlib
import logging
from typing import Any, Final

import attrs

from trio_s2s.runtime import now

__all__ = ["Journal", "log"]


class _Harmless(logging.LoggerAdapter[logging.Logger]):
    """A logger whose handlers may raise: no connection is to end by a broken log."""

    def log(
        self,
        level: int,
        msg: object,
        *args: object,
        stacklevel: int = 1,
        **kwargs: Any,
    ) -> None:
        with contextlib.suppress(Exception):
            super().log(level, msg, *args, stacklevel=stacklevel + 1, **kwargs)


log: Final = _Harmless(logging.getLogger("trio_s2s"))

SILENCE: Final = 10.0
"""Seconds between two lines of the same kind about the same host."""
MOST_HOSTS: Final = 1000
"""Hosts that are told apart; those beyond share a line, so that memory is bounded."""


@attrs.define
class _Told:
    at: float
    untold: int = 0


class Journal:
    """Tells what others do wrong, once in 10 s per kind and host, and how often.

    A bad peer must not fill the disk.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], _Told] = {}

    def tell(
        self,
        level: int,
        kind: str,
        host: str,
        text: str,
        error: BaseException | None = None,
    ) -> None:
        """Log a line, unless one of this kind about this host was logged just now."""
        if not log.isEnabledFor(level):
            return
        key = self._key(kind, host)
        told = self._told.get(key)
        if told is not None and now() < told.at + SILENCE:
            told.untold += 1
            return
        if told is not None and told.untold:
            text = f"{text} (and {told.untold} more like it since the last such line)"
        self._told[key] = _Told(now())
        log.log(level, "%s", text, exc_info=error, stacklevel=2)

    def _key(self, kind: str, host: str) -> tuple[str, str]:
        if (kind, host) in self._told:
            return kind, host
        if len(self._told) >= MOST_HOSTS:
            self._forget()
        return kind, host if len(self._told) < MOST_HOSTS else ""

    def _forget(self) -> None:
        old = now() - SILENCE
        self._told = {key: told for key, told in self._told.items() if told.at > old}
