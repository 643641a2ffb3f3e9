"""Which reasons each fault explains; any other reason in its world is a violation."""

from typing import Final

from trio_s2s import DisconnectReason as Reason

TORN: Final = {Reason.CONNECTION_LOST, Reason.CONNECTION_RESET}
"""One side is gone, and the other side notices."""
STILL: Final = TORN | {
    Reason.HEARTBEAT_TIMEOUT,
    Reason.WRITE_TIMEOUT,
    Reason.REPORTED_BY_PEER,
    Reason.REPLACED,
    Reason.PEER_RESTARTED,
}
"""Nothing comes for a while: who notices first says so, or goes."""
SLOW: Final = STILL - {Reason.HEARTBEAT_TIMEOUT}
"""A frame takes longer than its sender waits; but something comes all the time."""
CLOSED: Final = TORN | {Reason.LOCAL_CLOSE, Reason.REMOTE_CLOSE}
CRASHED: Final = TORN | {Reason.INTERNAL_ERROR, Reason.REPORTED_BY_PEER}

AT_THE_END: Final = {Reason.SHUTDOWN}
EXPLAINS: Final = {
    "partition": STILL,
    "partition_there": STILL,
    "partition_back": STILL,
    "stall": STILL,
    "silence": STILL,
    "hold": STILL,
    "pause": STILL,
    "latency_spike": STILL,
    "small_window": STILL,
    "double_dial": STILL,
    "reset": TORN,
    "end": TORN,
    "cut_after": TORN,
    "cut_after_reset": TORN,
    "kill": TORN | {Reason.PEER_RESTARTED},
    "kill_silently": STILL,
    "stop": set[Reason](),
    "refuse": set[Reason](),
    "forget_name": set[Reason](),
    "slow_accept": set[Reason](),
    "cancel_calls": set[Reason](),
    "disconnect": CLOSED,
    "abort": CLOSED,
    "crash_on_connected": CRASHED,
    "crash_on_disconnected": CRASHED,
    "crash_on_failed": set[Reason](),
    "corrupt": set(Reason),
}
