"""What both type checkers must accept, with exactly these types."""

from typing import assert_type

import attrs
import trio

from trio_s2s import (
    Event,
    EventData,
    InboundPeer,
    Operation,
    OperationRequest,
    OperationResponse,
    OutboundPeer,
    SendParameters,
    handles,
    open_tcp_peer,
    serve_tcp,
)


@attrs.frozen
class Greeting:
    """A result."""

    text: str


@attrs.frozen
class Greet(Operation[Greeting], code=1):
    """An operation."""

    name: str
    loud: bool = False


@attrs.define
class Sweep(Operation[None], code=2):
    """An operation without a result, mutable."""


@attrs.frozen
class RoomClosed(Event, code=1):
    """An event."""

    room: str


class Greeter(InboundPeer):
    """Handlers of each kind."""

    @handles(Greet)
    async def greet(self, operation: Greet) -> Greeting:
        """Answer later."""
        asked = await self.request(Greet(operation.name, loud=True))
        assert_type(asked, Greeting)
        return asked

    @handles(Sweep)
    def sweep(self, operation: Sweep) -> None:
        """Answer at once."""

    @handles(RoomClosed)
    async def room_closed(self, event: RoomClosed) -> None:
        """Take an event, as a task."""


class Listener(OutboundPeer):
    """A class of one's own, with more than the package gives it."""

    rooms: int = 0

    @handles(RoomClosed)
    def room_closed(self, event: RoomClosed) -> None:
        """Take an event at once."""
        self.rooms -= 1

    async def on_operation_request(
        self, request: OperationRequest, send_parameters: SendParameters
    ) -> OperationResponse | None:
        """Answer without a contract."""
        match request:
            case OperationRequest(operation_code=1, parameters={0: str(message)}):
                return request.respond({0: message.upper()})
            case _:
                return None


async def work(seconds: float) -> None:
    """Be a task of a peer."""
    await trio.sleep(seconds)


async def main() -> None:
    """Use a peer."""
    async with open_tcp_peer("127.0.0.1", 4520) as peer:
        assert_type(peer, OutboundPeer)
        assert_type(await peer.request(Greet("Ada")), Greeting)
        assert_type((await peer.request(Greet("Ada"))).text, str)
        plain = await peer.request(OperationRequest(1, {0: "Ada"}))
        assert_type(plain, OperationResponse)
        await peer.send_event(RoomClosed("arena"))
        await peer.send_event(EventData(1, {0: "arena"}), SendParameters())
        peer.send_event_nowait(RoomClosed("arena"))
        peer.start_soon(work, 0.5)
    async with open_tcp_peer("127.0.0.1", 4520, Listener) as listener:
        assert_type(listener, Listener)
        assert_type(listener.rooms, int)
    async with open_tcp_peer("127.0.0.1", 4520, lambda: Listener()) as listener:
        assert_type(listener, Listener)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_tcp, Greeter, 0)
        nursery.start_soon(serve_tcp, Greeter, 4520)
