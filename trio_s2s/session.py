"""What a peer has from the moment that it is connected."""

from collections.abc import Callable

import attrs
import trio

from trio_s2s.connection import Connection
from trio_s2s.messages import OperationRequest, SendParameters
from trio_s2s.tasks import Tasks
from trio_s2s.tickets import Call

__all__ = ["Session"]


@attrs.define(eq=False)
class Session:
    """One connection of a peer, and the tasks that live as long as it does."""

    connection: Connection
    tasks: Tasks
    crashed: Callable[[Exception, str], None]
    """Called with the error of a task, and the task's name."""
    responded: Callable[[Call, OperationRequest, SendParameters], None]
    """Called with a call whose answer is for `on_operation_response`."""
    finished: trio.Event = attrs.field(factory=trio.Event)
    """Set when `on_disconnected` has run and the stream is closed."""
