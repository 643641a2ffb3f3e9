"""What an application overrides: hooks of a peer's life, and plain handlers."""

import inspect

from trio_s2s.codes import DisconnectReason
from trio_s2s.errors import ConnectionFailedError
from trio_s2s.messages import (
    EventData,
    OperationRequest,
    OperationResponse,
    SendParameters,
)

__all__ = ["PeerHooks"]


class PeerHooks:
    """The methods of a peer that the package calls; each does nothing by itself."""

    def __init_subclass__(cls) -> None:
        """Refuse a hook that is not `async def`."""
        super().__init_subclass__()
        for name in vars(cls):
            if name in HOOKS and not inspect.iscoroutinefunction(getattr(cls, name)):
                raise TypeError(f"{cls.__name__}.{name} must be an `async def` method")

    # -- hooks, to be overridden --

    async def on_connected(self) -> None:
        """Run once, when the connection is up, before any handler.

        Photon: `OnConnectionEstablished`. It may take `connected_timeout`. It may send
        requests to this peer only on the dialling side. If the connection ends
        meanwhile, it is cancelled: at once after a loss, else after `drain_timeout`.
        """

    async def on_failed(self, error: ConnectionFailedError) -> None:
        """Run once on the dialling side if no connection could be made.

        Photon: `OnConnectionFailed`. It is shielded from cancellation for
        `hook_timeout`.
        """

    async def on_disconnected(self, reason: DisconnectReason, detail: str) -> None:
        """Run once after `on_connected` has begun, when the connection is over.

        Photon: `OnDisconnect`. It is shielded from cancellation for `hook_timeout`.
        """

    # -- handlers, to be overridden --

    async def on_operation_request(
        self, request: OperationRequest, send_parameters: SendParameters
    ) -> OperationResponse | None:
        """Answer an operation that no `@handles` method takes; None: it is unknown.

        Photon: `OnOperationRequest`. Several may run at once.
        """
        return None

    async def on_operation_response(
        self, response: OperationResponse, send_parameters: SendParameters
    ) -> None:
        """Take the answer to a `send_operation_request`, one at a time.

        Photon: `OnOperationResponse`. If the connection was lost first, a local answer
        comes with return code DISCONNECTED (-10) and the `Outcome` as parameter 0.
        """

    async def on_event(self, event: EventData, send_parameters: SendParameters) -> None:
        """Take an event that no `@handles` method takes, one at a time per channel.

        Photon: `OnEvent`.
        """


HOOKS = frozenset(name for name in vars(PeerHooks) if name.startswith("on_"))
