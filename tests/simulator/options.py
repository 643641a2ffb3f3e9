"""What a world is like, drawn once from its seed, and printed when it fails."""

import random

import attrs

from trio_s2s import Backoff, PeerConfig

WIDE = 64 * 1024
RECOVERY = 30.0
"""Seconds in which a link that knows of its loss is back, and nobody waits any more."""


@attrs.frozen
class Options:
    """Everything that chance decides before a world begins."""

    seed: int
    servers: int
    duration: float
    """Seconds in which faults happen."""
    pace: float
    """Seconds between two actions of a server, on average."""
    faults: int
    latency: float
    jitter: float
    window: int
    hook_delay: float
    """Seconds that `on_connected` may take."""
    both_dial: bool
    """Whether each of two servers keeps a link to the other."""
    config: PeerConfig
    retry: Backoff

    @property
    def is_slow(self) -> bool:
        """Whether a frame may take longer than a sender waits."""
        return self.window < 100 and self.latency + self.jitter > 0

    @property
    def all_well(self) -> float:
        """Seconds after which every loss was noticed, and every link is back."""
        config = self.config
        return config.heartbeat_interval * (config.heartbeat_misses + 1) + RECOVERY

    @property
    def first_hook(self) -> float:
        """Seconds from the begin of an attempt to that of `on_connected`, at most."""
        config = self.config
        attempt = config.connect_timeout + config.handshake_timeout + 1
        # Before it come the hooks of a connection that has just ended.
        old = config.connected_timeout + config.drain_timeout + 1
        return attempt + old + 3 * config.hook_timeout

    def names(self) -> list[str]:
        """Give the servers' names."""
        return [f"s{number}" for number in range(1, self.servers + 1)]

    def links(self) -> list[tuple[str, str]]:
        """Give who dials whom."""
        names = self.names()
        links = [(a, b) for a in names for b in names if a < b]
        return links + [(b, a) for a, b in links if self.both_dial]


def draw(seed: int, *, is_short: bool = False) -> Options:
    """Draw the options of a world; limits are often tiny, so that they are met."""
    rng = random.Random(f"{seed} options")
    often_tiny = rng.random() < 0.6
    config = PeerConfig(
        max_frame=rng.choice([1024, 4096, 512 * 1024]),
        max_concurrent_requests=rng.choice([1, 2, 4] if often_tiny else [100]),
        max_request_weight=rng.choice([300, 1000] if often_tiny else [2**20]),
        max_event_weight=rng.choice([200, 1000] if often_tiny else [2**18]),
        send_buffer=rng.choice([1, 500, 2**20]),
        heartbeat_interval=rng.choice([1.0, 2.5] if is_short else [2.5, 10.0, 30.0]),
        heartbeat_misses=rng.choice([2, 3]),
        send_timeout=rng.choice([3.0, 10.0]),
        handler_wait=rng.choice([0.5, 3.0]),
        drain_timeout=rng.choice([0.5, 2.0]),
        hook_timeout=2.0,
        connected_timeout=5.0,
        resume_ttl=rng.choice([2.0, 20.0, 60.0]),
    )
    latency, jitter = rng.choice([0.0, 0.001, 0.05]), rng.choice([0.0, 0.002, 0.2])
    slow = latency + jitter > 0.01
    duration = rng.choice([15.0, 30.0] if is_short else [600.0, 3600.0, 7200.0, 7200.0])
    return Options(
        seed=seed,
        servers=rng.choice([2, 2, 3]),
        duration=duration,
        pace=duration / rng.choice([8, 20] if is_short else [200, 400, 600]),
        faults=rng.choice([3, 6] if is_short else [120, 140, 160]),
        latency=latency,
        jitter=jitter,
        # So much must pass that a handshake may be done in its time.
        window=rng.choice([7 if is_short and not slow else 300, 1000, WIDE, WIDE]),
        hook_delay=rng.choice([0.0, 0.0, 0.3]),
        both_dial=rng.random() < 0.3,
        config=config,
        retry=rng.choice([Backoff(), Backoff(0.5, 8.0), Backoff(3.0, 1.0)]),
    )
