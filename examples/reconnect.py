"""A link comes back, after a first failure and after a loss, by itself.

It prints::

    connected
    Hello, Ada!
    disconnected: SHUTDOWN, Greetings stops
    now nothing is sent: NEVER_SENT
    connected
    Hello, Ada!
    disconnected: SHUTDOWN, Greetings stops
"""

import socket

import trio
from hello_inbound import Greet, Greeter

import trio_s2s as s2s


class Server(s2s.Application):
    def create_peer(self, init_request: s2s.InitRequest) -> Greeter:
        return Greeter(init_request)


class Client(s2s.OutboundPeer):
    failed = trio.Event()

    async def on_failed(self, error: s2s.ConnectionFailedError) -> None:
        self.failed.set()

    async def on_connected(self) -> None:
        print("connected")

    async def on_disconnected(self, reason: s2s.DisconnectReason, detail: str) -> None:
        print(f"disconnected: {reason.name}, {detail}")


async def serve_once(link: s2s.Link[Client], port: int) -> None:
    async with s2s.open_application(Server("Greetings")) as server:
        await server.listen_tcp(port)
        print((await link.request(Greet("Ada"), wait_connected=True)).text)


async def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with s2s.open_application(s2s.Application("Client")) as client:
        link = client.connect_tcp("127.0.0.1", port, Client)
        await Client.failed.wait()  # nobody listens yet
        await serve_once(link, port)
        try:
            await link.request(Greet("Bob"))
        except s2s.PeerDisconnectedError as error:
            print(f"now nothing is sent: {error.outcome.name}")
        await serve_once(link, port)


trio.run(main)
