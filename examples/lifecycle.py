"""How a peer's life begins and ends, and what its hooks are told.

It prints::

    connected
    disconnected: LOCAL_CLOSE, the block of the peer was left
    connected
    disconnected: REMOTE_CLOSE, see you
    connected
    disconnected: CONNECTION_LOST, the stream ended without a goodbye
    failed: REJECTED
"""

import contextlib

import trio

import trio_s2s as s2s


class Door(s2s.InboundPeer):
    def __init__(self, init_request: s2s.InitRequest) -> None:
        if init_request.init_object == "a thief":
            raise s2s.ConnectionRejectedError(1, "not you")

    async def on_event(self, event: s2s.EventData, _: s2s.SendParameters) -> None:
        if event.event_code == 1:
            await self.disconnect("see you")
        elif event.event_code == 2:
            self.abort()


class Guest(s2s.OutboundPeer):
    async def on_failed(self, error: s2s.ConnectionFailedError) -> None:
        print(f"failed: {error.reason.name}")

    async def on_connected(self) -> None:
        print("connected")

    async def on_disconnected(self, reason: s2s.DisconnectReason, detail: str) -> None:
        print(f"disconnected: {reason.name}, {detail}")


async def visit(port: int, who: str, event: int) -> None:
    with contextlib.suppress(s2s.ConnectionFailedError):
        async with s2s.open_tcp_peer("127.0.0.1", port, Guest, init_object=who) as me:
            await me.send_event(s2s.EventData(event))
            await trio.sleep(0.2 * event)  # the connection ends, this block does not


async def main() -> None:
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(s2s.serve_tcp, Door, 0)
        _, port = listener.socket.getsockname()
        for event, who in (0, "guest"), (1, "guest"), (2, "guest"), (0, "a thief"):
            await visit(port, who, event)
        nursery.cancel_scope.cancel()


trio.run(main)
