"""A server that answers greetings."""

import attrs
import trio

from trio_s2s import InboundPeer, Operation, handles, serve_tcp


@attrs.frozen
class Greeting:
    text: str


@attrs.frozen
class Greet(Operation[Greeting], code=1):
    name: str
    loud: bool = False  # has a default: optional on the wire


class Greeter(InboundPeer):
    @handles(Greet)
    async def greet(self, operation: Greet) -> Greeting:
        return Greeting(f"Hello, {operation.name}!")


if __name__ == "__main__":
    trio.run(serve_tcp, Greeter, 4520)
