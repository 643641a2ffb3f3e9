"""Twin of `lookup.py`: threads of its own, which nobody else has to wait for."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

from trio_s2s import ConnectionFailedError, FailureReason, PeerConfig, open_tcp_peer
from trio_s2s.lookup import MOST_NAMES, PER_NAME, Progress, look_up, progress

settled = trio.testing.wait_all_tasks_blocked
HOME = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 4520))


class Names:
    """Stands in for the system's look-up: names that are `dead` hang."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Any] = []
        self.wake = threading.Event()
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if options.get("flags") or not isinstance(host, bytes):
            return self._real(host, port, *args, **options)
        self.asked.append(host)
        if host.startswith(b"dead"):
            self.wake.wait()
        return [HOME]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names(monkeypatch)
    yield made
    made.wake.set()


def limiter() -> trio.CapacityLimiter:
    return trio.to_thread.current_default_thread_limiter()


async def test_g06_name_is_looked_up_anew_each_time(names: Names) -> None:
    for _ in range(3):
        assert await look_up("gs-1.example", 4520) == [HOME]
    assert names.asked == [b"gs-1.example"] * 3


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.1"])
async def test_address_needs_no_thread(host: str, names: Names) -> None:
    with trio.testing.assert_checkpoints():
        found = await look_up(host, 4520)
    assert found[0][4][1] == 4520
    assert names.asked == []


async def test_resolver_of_the_application_is_asked(names: Names) -> None:
    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *args: Any, **options: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return [HOME]

        async def getnameinfo(self, *args: Any, **options: Any) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Resolver())
    assert await look_up("gs-1.example", 4520) == [HOME]
    assert names.asked == []


async def test_name_that_is_not_ascii_is_encoded_by_trio(names: Names) -> None:
    assert await look_up("bücher.example", 4520) == [HOME]
    assert names.asked == [b"xn--bcher-kva.example"]


async def test_g03_look_up_that_hangs_is_given_up_and_told(names: Names) -> None:
    config = PeerConfig(connect_timeout=0.01)
    with pytest.raises(
        ConnectionFailedError, match="is the DNS server there"
    ) as caught:
        async with open_tcp_peer("dead.example", 1, insecure=True, config=config):
            pass
    assert caught.value.reason is FailureReason.DNS_TIMEOUT
    assert isinstance(caught.value.__cause__, trio.TooSlowError)


async def test_g18_look_ups_that_hang_leave_other_threads_alone(names: Names) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(look_up, "dead.example", 4520)
        await settled(0.05)
        assert limiter().borrowed_tokens == 0
        assert names.asked == [b"dead.example"] * PER_NAME
        assert await trio.to_thread.run_sync(lambda: "alive") == "alive"
        # Nor do they hold up those of another name.
        assert await look_up("gs-1.example", 4520) == [HOME]
        nursery.cancel_scope.cancel()


async def test_g18_threads_of_others_do_not_hold_up_a_look_up(names: Names) -> None:
    taken = limiter()
    for number in range(int(taken.total_tokens)):
        await taken.acquire_on_behalf_of(number)
    try:
        assert await look_up("gs-1.example", 4520) == [HOME]
    finally:
        for number in range(int(taken.total_tokens)):
            taken.release_on_behalf_of(number)


async def test_threads_of_many_names_have_a_bound(names: Names) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(MOST_NAMES + 20):
            nursery.start_soon(look_up, f"dead-{number}.example", 4520)
        await settled(0.05)
        assert len(names.asked) == MOST_NAMES + PER_NAME
        nursery.cancel_scope.cancel()
    names.wake.set()
    for _ in range(100):
        await trio.sleep(0.001)
    assert await look_up("gs-1.example", 4520) == [HOME]


async def test_progress_is_told() -> None:
    reached = Progress()
    progress.set(reached)
    with pytest.raises(UnicodeError):
        await look_up("a" * 100, 4520)
    assert reached.is_looking_up
    await look_up("127.0.0.1", 4520)
    assert not reached.is_looking_up
