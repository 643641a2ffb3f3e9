"""A master and two game servers, which register, are asked, and are told.

It prints::

    gs-1 is 35 % busy
    gs-2 is 35 % busy
    a game server closes room arena
    a game server closes room arena
"""

import attrs
import trio

import trio_s2s as s2s


@attrs.frozen
class HowBusy(s2s.Operation[int], code=1):
    pass


@attrs.frozen
class RoomClosed(s2s.Event, code=1):
    room: str


class Master(s2s.Application):
    async def setup(self) -> None:
        [self.listener] = await self.listen_tcp(0)

    def create_peer(self, init_request: s2s.InitRequest) -> s2s.InboundPeer:
        return s2s.InboundPeer(init_request)


class MasterPeer(s2s.OutboundPeer):
    @s2s.handles(HowBusy)
    def how_busy(self, operation: HowBusy) -> int:
        return 35

    @s2s.handles(RoomClosed)
    def room_closed(self, event: RoomClosed) -> None:
        print(f"a game server closes room {event.room}")


async def main() -> None:
    async with trio.open_nursery() as game, s2s.open_application(Master("M")) as master:
        port = master.listener.socket.getsockname()[1]
        for n in 1, 2:
            server = s2s.Application("GameServer", server_id=f"gs-{n}")
            await game.start(s2s.run_application, server)
            server.connect_tcp("127.0.0.1", port, MasterPeer)
            peer = await master.peers.wait_for(f"gs-{n}")
            print(f"{peer.server_id} is {await peer.request(HowBusy())} % busy")
        await master.broadcast(RoomClosed("arena"), master.peers)
        await master.stop()
        game.cancel_scope.cancel()


trio.run(main)
