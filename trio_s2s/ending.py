"""Why a connection ended: the first reason wins, and everybody is told the same."""

import trio

from trio_s2s.codes import CloseCode, DisconnectReason, Outcome
from trio_s2s.errors import PeerClosedError, PeerDisconnectedError, S2SError

__all__ = ["Ending"]


class Ending:
    """The end of one connection, which may not have begun."""

    def __init__(self) -> None:
        self.reason: DisconnectReason | None = None
        """Why it ended, None while it has not."""
        self.detail: str = ""
        """The reason in words."""
        self.who: str = ""
        """The other side, for people."""
        self.code: int | None = None
        """That of the GOODBYE that began it, of either side; None without one."""
        self.goodbye_code: int | None = None
        """What the other side's first GOODBYE said."""
        self.has_begun: trio.Event = trio.Event()

    def record(
        self, reason: DisconnectReason, detail: str, code: int | None = None
    ) -> bool:
        """Note why it ends; False if there was a reason before."""
        if self.reason is not None:
            return False
        self.reason = reason
        self.detail = detail
        self.code = code
        self.has_begun.set()
        return True

    def __str__(self) -> str:
        """Say why it ended, for people."""
        return f"{self.reason.name}, {self.detail}" if self.reason else "it has not"

    @property
    def is_for_good(self) -> bool:
        """Whether one side said that it has no need of the other any more."""
        return self.code in (CloseCode.CLOSED, CloseCode.SHUTTING_DOWN)

    def error(self, outcome: Outcome | None, what: str) -> S2SError:
        """Make the error of one caller; without an outcome it came after the end."""
        assert self.reason is not None
        error: S2SError
        if outcome is None and self.reason is DisconnectReason.LOCAL_CLOSE:
            error = PeerClosedError("this side has closed the peer already")
        else:
            error = PeerDisconnectedError(
                self.reason,
                self.detail,
                Outcome.NEVER_SENT if outcome is None else outcome,
                self.goodbye_code,
                "" if outcome is None else what,
                self.who,
            )
        if outcome is None:
            error.args = (f"{what}: {error}",)
        error._ending = self
        return error

    def explains(self, error: BaseException) -> bool:
        """Whether an exception only says that this connection has ended."""
        if isinstance(error, BaseExceptionGroup):
            return all(map(self.explains, error.exceptions))
        return isinstance(error, S2SError) and error._ending is self
