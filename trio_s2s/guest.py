"""Who has connected, and is not let in yet."""

import attrs
import trio

from trio_s2s.handshake import Hello
from trio_s2s.messages import InitRequest
from trio_s2s.security import proves_name
from trio_s2s.transport import addresses_of

__all__ = ["Guest", "init_request"]


@attrs.frozen
class Guest:
    """Who has connected, and is not let in yet."""

    name: str
    host: str
    """Whose connections are counted together; empty where there is no address."""

    @classmethod
    def of(cls, stream: trio.abc.Stream) -> "Guest":
        """Name who is at the other end of a stream."""
        local, remote = addresses_of(stream)
        name = f"{remote or 'somebody'} to {local or 'a stream'}"
        return cls(name, remote.rpartition(":")[0])

    def __str__(self) -> str:
        """Name it, for a log."""
        return self.name


def init_request(hello: Hello, stream: trio.abc.Stream) -> InitRequest:
    """Say who wants in: by its own words, by its addresses, and by its certificate."""
    identity = hello.identity
    local, remote = addresses_of(stream)
    # A path is no address, whatever is behind its last colon.
    port = "" if local.startswith("/") else local.rpartition(":")[2]
    return InitRequest(
        hello.application_name,
        identity.server_id,
        identity.instance_id,
        identity.version,
        hello.init_object,
        local,
        int(port) if port.isdecimal() else None,
        remote,
        proves_name(stream, identity.server_id),
    )
