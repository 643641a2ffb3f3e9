"""Typed contracts: what fits arrives as objects, what does not is told by its name.

It prints::

    Receipt(number=1, price=7.5, status='open')
    OPERATION_INVALID [['items (parameter 0)[0].count (parameter 1)', 'int', "str '2'"]]
    17 we sell no moon
"""

from typing import Literal

import attrs
import trio

import trio_s2s as s2s


@attrs.frozen
class Item:
    name: str
    count: int = 1


@attrs.frozen
class Receipt:
    number: int
    price: float
    status: Literal["open", "paid"]


@attrs.frozen
class PlaceOrder(s2s.Operation[Receipt], code=1):
    items: list[Item]


class Shop(s2s.InboundPeer):
    @s2s.handles(PlaceOrder)
    def place_order(self, operation: PlaceOrder) -> Receipt:
        if any(item.name == "moon" for item in operation.items):
            raise s2s.OperationError(17, "we sell no moon")
        return Receipt(1, 2.5 * sum(item.count for item in operation.items), "open")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(s2s.serve_tcp, Shop, 0)
        _, port = listener.socket.getsockname()
        async with s2s.open_tcp_peer("127.0.0.1", port) as peer:
            print(await peer.request(PlaceOrder([Item("tea", 2), Item("cup")])))
            untyped = s2s.OperationRequest(1, {0: [{0: "tea", 1: "2"}]})
            answer = await peer.request(untyped)
            print(s2s.ReturnCode(answer.return_code).name, answer.parameters[0])
            try:
                await peer.request(PlaceOrder([Item("moon")]))
            except s2s.OperationError as error:
                print(error.return_code, error.debug_message)
        nursery.cancel_scope.cancel()


trio.run(main)
