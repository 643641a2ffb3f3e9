"""Photon's Server-to-Server tutorial, class by class, as two processes.

It prints::

    B: asked for Hello World
    A: answer 0, HELLO WORLD
    B: event 2 says thanks
    A: disconnected, REMOTE_CLOSE, that is all
"""

import sys

import trio

import trio_s2s as s2s


class MyOutboundPeer(s2s.OutboundPeer):  # : OutboundS2SPeer
    left = trio.Event()

    async def on_connected(self) -> None:  # OnConnectionEstablished
        await self.send_operation_request(s2s.OperationRequest(1, {0: "Hello World"}))

    async def on_operation_response(
        self, response: s2s.OperationResponse, send_parameters: s2s.SendParameters
    ) -> None:  # OnOperationResponse(operationResponse, sendParameters)
        print(f"A: answer {response.return_code}, {response.parameters[0]}")
        await self.send_event(s2s.EventData(2, {0: "thanks"}))

    async def on_disconnected(self, reason: s2s.DisconnectReason, detail: str) -> None:
        print(f"A: disconnected, {reason.name}, {detail}")  # OnDisconnect(code, detail)
        self.left.set()


class MyInboundPeer(s2s.InboundPeer):  # : InboundS2SPeer
    async def on_operation_request(
        self, request: s2s.OperationRequest, send_parameters: s2s.SendParameters
    ) -> s2s.OperationResponse:  # OnOperationRequest(request, sendParameters)
        print(f"B: asked for {request.parameters[0]}", flush=True)
        return request.respond({0: request.parameters[0].upper()})

    async def on_event(self, event: s2s.EventData, _: s2s.SendParameters) -> None:
        print(f"B: event {event.event_code} says {event.parameters[0]}", flush=True)
        await self.disconnect("that is all")  # OnEvent(eventData, …) { Disconnect() }


async def server_a(port: int) -> None:  # : ApplicationBase, Setup() { ConnectTcp(…) }
    async with s2s.open_tcp_peer("127.0.0.1", port, MyOutboundPeer) as peer:
        await peer.left.wait()


async def server_b() -> None:  # : ApplicationBase, CreatePeer(…) { MyInboundPeer }
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(s2s.serve_tcp, MyInboundPeer, 0)
        port = str(listener.socket.getsockname()[1])
        await trio.run_process([sys.executable, __file__, port])  # runs server A
        nursery.cancel_scope.cancel()


trio.run(server_a, int(sys.argv[1])) if sys.argv[1:] else trio.run(server_b)
