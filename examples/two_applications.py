"""Two applications behind one port: the dialler names the one that it wants.

It prints::

    Lobby welcomes gs-1
    Chat welcomes gs-1
    Lobby welcomes nobody in particular
    'Casino': there is no application 'Casino' here
"""

from functools import partial

import trio

import trio_s2s as s2s


class Hall(s2s.Application):
    """Both are alike here; in earnest each has its own `create_peer`."""

    def create_peer(self, init_request: s2s.InitRequest) -> s2s.InboundPeer:
        guest = init_request.init_object or "nobody in particular"
        print(f"{self.name} welcomes {guest}")
        return s2s.InboundPeer(init_request)


async def visit(port: int, name: str, guest: str = "") -> None:
    try:
        async with s2s.open_tcp_peer(
            "127.0.0.1", port, application_name=name, init_object=guest
        ):
            pass
    except s2s.ConnectionRejectedError as error:
        print(f"{name!r}: {error.debug_message}")


async def main() -> None:
    halls = [Hall("Lobby"), Hall("Chat")]  # the first is for who names none
    async with trio.open_nursery() as nursery:
        serve = partial(s2s.serve_applications, halls, 0)
        [listener] = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        await visit(port, "Lobby", "gs-1")
        await visit(port, "Chat", "gs-1")
        await visit(port, "")
        await visit(port, "Casino")
        nursery.cancel_scope.cancel()


trio.run(main)
