"""What both type checkers must refuse: the lines that say so, and no others."""

import attrs

from trio_s2s import (
    Event,
    InboundPeer,
    Operation,
    OperationRequest,
    OutboundPeer,
    handles,
    open_tcp_peer,
)


@attrs.frozen
class Greeting:
    """A result."""

    text: str


@attrs.frozen
class Greet(Operation[Greeting], code=1):
    """An operation."""

    name: str


@attrs.frozen
class RoomClosed(Event, code=1):
    """An event."""

    room: str


class Greeter(InboundPeer):
    """Handlers that give what their contracts do not promise."""

    @handles(Greet)  # error
    async def greet(self, operation: Greet) -> str:
        """Give a text, later."""
        return operation.name

    @handles(Greet)  # error
    def greet_at_once(self, operation: Greet) -> str:
        """Give a text, at once."""
        return operation.name

    @handles(RoomClosed)  # error
    def room_closed(self, event: RoomClosed) -> str:
        """Answer an event."""
        return event.room


@handles(str)  # error
def no_contract(self: Greeter, operation: str) -> None:
    """Handle what is no contract."""


async def main() -> None:
    """Use a peer, wrongly."""
    Greet(5)  # error
    Greet("Ada", "Bob")  # error
    RoomClosed()  # error
    async with open_tcp_peer("127.0.0.1", 4520) as peer:
        text: str = await peer.request(Greet("Ada"))  # error
        name = (await peer.request(Greet("Ada"))).name  # error
        plain: Greeting = await peer.request(OperationRequest(1))  # error
        await peer.request(RoomClosed("arena"))  # error
        await peer.request("Ada")  # error
        await peer.send_event(Greet("Ada"))  # error
        print(text, name, plain)
    async with open_tcp_peer("127.0.0.1", 4520, Greeting) as wrong:  # error
        print(wrong)
    async with open_tcp_peer("127.0.0.1", 4520, OutboundPeer()) as wrong:  # error
        print(wrong)
    async with open_tcp_peer("127.0.0.1", "4520"):  # error
        pass
