"""Machines in Linux network namespaces, with a router between them that can fail.

A machine is a namespace with one cable to the router. One process has sockets on all of
them: within `with network.at("a")` connections and listeners are opened on `a`.
"""

import contextlib
import ctypes
import functools
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import ClassVar, Self

import trio

__all__ = ["REQUIRED", "Network", "Program", "why_refused"]

REQUIRED = "TRIO_S2S_REAL_NETWORK"
"""The variable that makes a failure of what would be skipped."""

_ROOT = Path(__file__).parent.parent
_NAMES = Path("/run/netns")
_SETTINGS = Path("/etc/netns")
_CLONE_NEWNET = 0x40000000
_where: ContextVar[str] = ContextVar("where")


def _run(*command: str, read: str = "") -> str:
    done = subprocess.run(
        command, input=read, capture_output=True, text=True, timeout=10, check=False
    )
    if done.returncode:
        told = done.stderr.strip() or done.returncode
        raise OSError(f"{' '.join(command)}: {told} {read}")
    return done.stdout


@functools.cache
def why_refused() -> str:
    """Say why there can be no namespaces here; empty if there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip") or not shutil.which("ss"):
        return "`ip` and `ss` are missing: install iproute2"
    try:
        _bury_the_dead()
        with Network() as network, network.inside("a"):
            pass
    except (OSError, subprocess.SubprocessError) as error:
        return f"this machine refuses network namespaces: {error}"
    return ""


def _bury_the_dead() -> None:
    """Delete what processes have left behind that were killed."""
    for folder in _NAMES, _SETTINGS:
        for path in folder.glob("s2s-*-*-*"):
            if Path("/proc", path.name.split("-")[1]).exists():
                continue
            if folder is _NAMES:
                _run("ip", "netns", "del", path.name)
            else:
                shutil.rmtree(path)


class Network:
    """The machines `a` and `b`, and between them a router with a namespace of its own.

    A machine that has no power swallows what is sent to it, as a real one does.
    """

    address: ClassVar = {"a": "10.66.1.2", "b": "10.66.2.2"}
    """Of each machine; no other of its subnet exists."""

    gate: ClassVar = {"a": "10.66.1.1", "b": "10.66.2.1"}
    """The router, as each machine sees it."""

    subnet: ClassVar = {"a": "10.66.1.0/24", "b": "10.66.2.0/24"}

    def __init__(self) -> None:
        self._prefix = f"s2s-{os.getpid()}-{secrets.token_hex(3)}"
        self._left = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Build it all."""
        try:
            self._add("router")
            self.set("router", "net/ipv4/ip_forward", "1")
            # Else a way that is cut would be cut for what comes from there as well.
            self.set("router", "net/ipv4/conf/all/rp_filter", "0")
            self.set("router", "net/ipv4/conf/default/rp_filter", "0")
            # Else it says only now and then that there is no way.
            self.set("router", "net/ipv4/icmp_ratelimit", "0")
            for machine, subnet in self.subnet.items():
                self.ip("router", f"route add blackhole {subnet} metric 999")
                self.power_on(machine)
        except BaseException:
            self._left.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Take all of it away again."""
        self._left.close()

    def name(self, machine: str) -> str:
        """Give the name of its namespace, which no other process uses."""
        return f"{self._prefix}-{machine}"

    # -- on a machine --

    @contextlib.contextmanager
    def inside(self, machine: str) -> Iterator[None]:
        """Let this thread be there. Nothing may be awaited within."""
        flags = os.O_RDONLY | os.O_CLOEXEC
        home = os.open("/proc/thread-self/ns/net", flags)
        try:
            there = os.open(_NAMES / self.name(machine), flags)
            try:
                _enter(there)
                try:
                    yield
                finally:
                    _enter(home)
            finally:
                os.close(there)
        finally:
            os.close(home)

    @contextlib.contextmanager
    def at(self, machine: str) -> Iterator[None]:
        """Let this task, and those that it starts, make their sockets there."""
        token = _where.set(machine)
        try:
            yield
        finally:
            _where.reset(token)

    def sockets(self) -> "Sockets":
        """Make the factory to which `at` speaks."""
        return Sockets(self)

    def ip(self, machine: str, *commands: str) -> str:
        """Run `ip` there, with one command or several."""
        lines = "\n".join(commands)
        return _run("ip", "-n", self.name(machine), "-batch", "-", read=lines)

    def run(self, machine: str, *command: str) -> str:
        """Run any other program there."""
        return _run("ip", "netns", "exec", self.name(machine), *command)

    def set(self, machine: str, name: str, value: str) -> None:
        """Give a setting of the kernel another value there."""
        with self.inside(machine):
            Path("/proc/sys", name).write_text(value, "ascii")

    # -- what can go wrong --

    def cut(self, *towards: str) -> None:
        """Lose every packet to these machines, and do not tell; to all without one."""
        cut = [self.address[machine] for machine in towards or self.address]
        self.ip("router", *(f"route add blackhole {address}" for address in cut))

    def heal(self) -> None:
        """Undo `cut`."""
        found = self.ip("router", "route show type blackhole").splitlines()
        routes = [line for line in found if "metric" not in line]
        self.ip("router", *(f"route del {route}" for route in routes))

    def shape(self, towards: str, rate: str) -> None:
        """Let no more than this pass to a machine, with a queue as long as it takes."""
        device = f"-n {self.name('router')} qdisc add dev to-{towards} root"
        _run("tc", *f"{device} tbf rate {rate} burst 5k limit 1m".split())

    def hang_up(self) -> None:
        """Break what is left of all connections, so that nobody waits for a goodbye."""
        for machine in self.address:
            with contextlib.suppress(OSError):  # Then they wait, for a second.
                self.run(machine, "ss", "-Kt")

    def power_off(self, machine: str) -> None:
        """Take a machine away, and its cable first: nobody hears of it."""
        self.ip("router", f"link del to-{machine}")
        self._delete(machine)

    def power_on(self, machine: str) -> None:
        """Give a machine with this address, which knows of no connection."""
        self._add(machine)
        gate = self.gate[machine]
        cable = f"eth0 netns {self.name(machine)}"
        self.ip(
            "router",
            f"link add to-{machine} type veth peer name {cable}",
            f"address add {gate}/24 dev to-{machine}",
            f"link set to-{machine} up",
        )
        self.ip(
            machine,
            f"address add {self.address[machine]}/24 dev eth0",
            "link set eth0 up",
            "link set lo up",
            f"route add default via {gate}",
        )

    def etc(self, machine: str, file: str, text: str) -> None:
        """Give the programs that run there a file of `/etc` of their own."""
        folder = _SETTINGS / self.name(machine)
        if not folder.exists():
            self._left.callback(shutil.rmtree, folder)
            folder.mkdir(parents=True)
        (folder / file).write_text(text, "ascii")

    def _add(self, machine: str) -> None:
        self._left.callback(self._delete, machine)
        _run("ip", "netns", "add", self.name(machine))

    def _delete(self, machine: str) -> None:
        if (_NAMES / self.name(machine)).exists():
            _run("ip", "netns", "del", self.name(machine))


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


class Sockets(trio.abc.SocketFactory):
    """Makes the sockets of Trio on the machine where its task is."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def socket(
        self,
        family: socket.AddressFamily | int = socket.AF_INET,
        type: socket.SocketKind | int = socket.SOCK_STREAM,  # noqa: A002  Trio's name
        proto: int = 0,
    ) -> trio.socket.SocketType:
        with self._network.inside(_where.get()):
            made = socket.socket(family, type, proto)
        return trio.socket.from_stdlib_socket(made)


class Program:
    """A Python program that runs on a machine, in a process of its own."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._received = b""

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, network: Network, machine: str, text: str
    ) -> AsyncGenerator["Program"]:
        """Run it for a `with` block, after which it is dead."""
        name = network.name(machine)
        process = await trio.lowlevel.open_process(
            ["ip", "netns", "exec", name, sys.executable, "-c", text],
            stdout=subprocess.PIPE,
            cwd=_ROOT,
        )
        try:
            yield cls(process)
        finally:
            process.kill()
            assert process.stdout is not None
            with trio.CancelScope(shield=True):  # It has been killed.
                await process.wait()
                await process.stdout.aclose()

    async def line(self) -> str:
        """Give the next line that it prints."""
        assert self.process.stdout is not None
        while b"\n" not in self._received:
            data = await self.process.stdout.receive_some()
            if not data:
                raise EOFError("the program has ended")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()
