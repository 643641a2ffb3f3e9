"""SIGTERM: running work is finished, no more is taken, and a report tells the rest.

It prints::

    the server gets SIGTERM while it works for the client
    answer: done
    asked too late: SHUTDOWN, NEVER_SENT
    finished 1, refused 0, cancelled 0
"""

import signal

import attrs
import trio

import trio_s2s
from trio_s2s import Application, InboundPeer, InitRequest, Operation, handles


@attrs.frozen
class Work(Operation[str], code=1):
    seconds: float


class Worker(InboundPeer):
    @handles(Work)
    async def work(self, operation: Work) -> str:
        await trio.sleep(operation.seconds)
        return "done"


class Server(Application):
    def create_peer(self, init_request: InitRequest) -> InboundPeer:
        return Worker(init_request)


async def run_client(port: int) -> None:
    async with trio_s2s.open_tcp_peer("127.0.0.1", port) as peer:
        print("answer:", await peer.request(Work(0.3)))
        try:
            await peer.request(Work(0.3))
        except trio_s2s.PeerDisconnectedError as error:
            print(f"asked too late: {error.reason.name}, {error.outcome.name}")


async def main() -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        server = Server("Server")
        async with trio.open_nursery() as nursery, trio_s2s.open_application(server):
            [listener] = await server.listen_tcp(0)
            nursery.start_soon(run_client, listener.socket.getsockname()[1])
            await trio.sleep(0.1)
            signal.raise_signal(signal.SIGTERM)  # as a supervisor does
            await anext(signals)
            print("the server gets SIGTERM while it works for the client")
            [it] = (await server.stop(grace=5)).peers
        print(f"finished {it.finished}, refused {it.refused}, cancelled {it.cancelled}")


trio.run(main)
