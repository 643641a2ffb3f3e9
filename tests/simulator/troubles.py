"""How each fault of a plan is done to a world, and undone."""

from collections import Counter
from collections.abc import Coroutine
from typing import Any

import trio

from tests.simulator.checker import Checker
from tests.simulator.plan import Trouble
from tests.simulator.servers import HOOKS, Server
from trio_s2s.testing import Held, MemoryNetwork

PATIENCE = 10.0
"""Seconds that a fault waits for the state in which it wants to meet its link."""
BROKEN = ("waiting", "dialling", "handshake", "connecting", "ending")
"""States that come only after something was broken."""


class Troubles:
    """All that happens to one world."""

    def __init__(
        self,
        network: MemoryNetwork,
        servers: dict[str, Server],
        checker: Checker,
        weather: tuple[float, float, int],
    ) -> None:
        self.network = network
        self.servers = servers
        self.checker = checker
        self.matrix: Counter[tuple[str, str]] = Counter()
        """How often each fault has met each state of a link."""
        self.calls: dict[str, trio.CancelScope] = {}
        """What is cancelled with all that a server asks for."""
        self._weather = weather
        self._held: list[Held] = []

    async def play(self, plan: list[Trouble]) -> None:
        """Do all of them, each at its time."""
        async with trio.open_nursery() as nursery:
            for trouble in plan:
                nursery.start_soon(self._play_one, trouble)

    async def _play_one(self, trouble: Trouble) -> None:
        await trio.sleep(trouble.at)
        if trouble.state:
            await self._wait_for(trouble)
        state = self.state(*trouble.link)
        self.matrix[trouble.verb, state] += 1
        self.checker.happens(trouble.verb)
        self.network.trace.note("fault", trouble.verb, "", f"{trouble.link} {state}")
        if trouble.verb == "pause":
            until = trio.current_time() + trouble.lasts
            self.checker.stands_still(until, trouble.lasts)
        undo = getattr(self, trouble.verb)(*trouble.link, trouble.amount)
        if isinstance(undo, Coroutine):
            await undo
            return
        await trio.sleep(trouble.lasts)
        if undo is not None:
            undo()

    async def _wait_for(self, trouble: Trouble) -> None:
        if trouble.state in BROKEN and self.state(*trouble.link) in ("idle", "busy"):
            # Without a loss it would never come to that.
            self.checker.happens("reset")
            self.network.reset(*trouble.link)
        with trio.move_on_after(PATIENCE):
            while self.state(*trouble.link) != trouble.state:
                await self.network.trace.more()

    def state(self, source: str, target: str) -> str:
        """Say what a link is doing."""
        peer = self.servers[source].newest.get(target)
        link = self.servers[source].links.get(target)
        match peer.life.state if peer is not None else "failed":
            case "failed":
                return "waiting"
            case "new":
                return "handshake" if self._is_open(source, target) else "dialling"
            case "connecting":
                return "connecting"
            case "connected" if link is not None and link.peer is peer:
                return "busy" if peer is not None and peer.life.open else "idle"
        return "ending" if self._is_open(source, target) else "waiting"

    def _is_open(self, source: str, target: str) -> bool:
        ends = (one.near.socket for one in self.network.connections)
        return (source, target) in [(end.host, end.remote_host) for end in ends]

    def heal(self) -> None:
        """Undo whatever is not undone yet."""
        network = self.network
        latency, jitter, window = self._weather
        network.set_latency(latency, jitter)
        network.set_window(window)
        network.heal()
        for held in self._held:
            held.release_all()
        network.doubled.clear()
        for weather in network.weather.values():
            weather.corrupts = 0
        for server in self.servers.values():
            server.crashes.clear()
        for name, node in network.nodes.items():
            network.refuse(name, refuses=False)
            network.forget_name(name, forgets=False)
            network.slow_accept(name, 0)
            if node.is_paused:
                network.resume(name)
            if node.is_dead:
                network.restart(name)

    # -- the way --

    def partition(self, a: str, b: str, _: float) -> Any:
        self.network.partition(a, b)
        return lambda: self.network.heal(a, b)

    def partition_there(self, a: str, b: str, _: float) -> Any:
        self.network.partition(a, b, one_way=True)
        return lambda: self.network.heal(a, b)

    def partition_back(self, a: str, b: str, _: float) -> Any:
        return self.partition_there(b, a, _)

    def stall(self, a: str, b: str, amount: float) -> Any:
        self.network.stall(*((a, b) if amount < 0.5 else (b, a)))
        return lambda: self.network.heal(a, b)

    def latency_spike(self, a: str, b: str, amount: float) -> Any:
        latency, jitter, _ = self._weather
        self.network.set_latency(amount * 3, amount, a, b)
        return lambda: self.network.set_latency(latency, jitter, a, b)

    def small_window(self, a: str, b: str, amount: float) -> Any:
        self.network.set_window(1 + int(amount * 30), a, b)
        return lambda: self.network.set_window(self._weather[2], a, b)

    def hold(self, a: str, b: str, amount: float) -> Any:
        held = self.network.hold(*((a, b) if amount < 0.5 else (b, a)))
        self._held.append(held)
        held.release(int(amount * 6))
        return held.release_all

    def corrupt(self, a: str, b: str, amount: float) -> Any:
        self.network.corrupt(*((a, b) if amount < 0.5 else (b, a)))

    # -- connections --

    def reset(self, a: str, b: str, _: float) -> Any:
        self.network.reset(a, b)

    def end(self, a: str, b: str, amount: float) -> Any:
        self.network.end(*((a, b) if amount < 0.5 else (b, a)))

    def cut_after(self, a: str, b: str, amount: float) -> Any:
        self.network.cut_after(a, b, int(amount * 200))

    def cut_after_reset(self, a: str, b: str, amount: float) -> Any:
        self.network.cut_after(b, a, int(amount * 200), resets=True)

    def silence(self, a: str, b: str, _: float) -> Any:
        self.network.silence(a, b)

    def double_dial(self, a: str, b: str, _: float) -> Any:
        self.network.double_dial(a)

    # -- nodes --

    def slow_accept(self, a: str, b: str, amount: float) -> Any:
        self.network.slow_accept(b, amount * 6)
        return lambda: self.network.slow_accept(b, 0)

    def refuse(self, a: str, b: str, _: float) -> Any:
        self.network.refuse(b)
        return lambda: self.network.refuse(b, refuses=False)

    def forget_name(self, a: str, b: str, _: float) -> Any:
        self.network.forget_name(b)
        return lambda: self.network.forget_name(b, forgets=False)

    def kill(self, a: str, b: str, amount: float, *, silently: bool = False) -> Any:
        name = a if amount < 0.5 else b
        if not self.network.node(name).is_dead:
            self.network.kill(name, silently=silently)

        def undo() -> None:
            if self.network.node(name).is_dead:
                self.network.restart(name)

        return undo

    def kill_silently(self, a: str, b: str, amount: float) -> Any:
        return self.kill(a, b, amount, silently=True)

    def pause(self, a: str, b: str, amount: float) -> Any:
        name = a if amount < 0.5 else b
        if not self.network.node(name).is_paused:
            self.network.pause(name)

        def undo() -> None:
            if self.network.node(name).is_paused:
                self.network.resume(name)

        return undo

    # -- what applications do --

    async def stop(self, a: str, b: str, amount: float) -> Any:
        # The world runs another one when it has ended.
        name = a if amount < 0.5 else b
        server = self.servers[name]
        # Who stops it in the middle of its `setup` is told so there.
        if server.is_set_up and not self.network.node(name).is_dead:
            await server.stop(amount * 3)

    def disconnect(self, a: str, b: str, amount: float) -> Any:
        for peer in self._peers(a, b):
            # It may wait: nobody waits for it here.
            trio.lowlevel.spawn_system_task(self._disconnect, peer)

    async def _disconnect(self, peer: Any) -> None:
        with trio.move_on_after(20):
            await peer.disconnect("enough", code=7)

    def abort(self, a: str, b: str, _: float) -> Any:
        for peer in self._peers(a, b):
            peer.abort()

    def _peers(self, a: str, b: str) -> list[Any]:
        newest = self.servers[a].newest.get(b)
        return [] if newest is None else [newest]

    def cancel_calls(self, a: str, b: str, amount: float) -> Any:
        self.calls[a if amount < 0.5 else b].cancel()

    def crash_on_connected(self, a: str, b: str, amount: float) -> Any:
        self._crash(a if amount < 0.5 else b, HOOKS[0])

    def crash_on_failed(self, a: str, b: str, _: float) -> Any:
        self._crash(a, HOOKS[1])

    def crash_on_disconnected(self, a: str, b: str, amount: float) -> Any:
        self._crash(a if amount < 0.5 else b, HOOKS[2])

    def _crash(self, name: str, hook: str) -> None:
        self.servers[name].crashes.add(hook)
