"""Server-to-server links for Trio, in the style of Photon Server."""

from trio_s2s.application import Application
from trio_s2s.backoff import Backoff, Fixed
from trio_s2s.codes import DisconnectReason, FailureReason, Outcome, ReturnCode
from trio_s2s.config import PeerConfig
from trio_s2s.contracts import Event, Operation, parameter
from trio_s2s.errors import (
    ConnectionFailedError,
    ConnectionRejectedError,
    ContractError,
    EncodeError,
    ListenError,
    LocalProtocolError,
    MessageTooLargeError,
    OperationError,
    PeerBusyError,
    PeerClosedError,
    PeerDisconnectedError,
    ProtocolError,
    RemoteProtocolError,
    S2SError,
)
from trio_s2s.handlers import handles
from trio_s2s.hosting import (
    open_application,
    run_application,
    serve_applications,
)
from trio_s2s.inbound import serve_peers, serve_tcp, serve_unix
from trio_s2s.link import Link, LinkState
from trio_s2s.listener import ListenerConfig
from trio_s2s.messages import (
    EventData,
    InitRequest,
    InitResponse,
    OperationRequest,
    OperationResponse,
    SendParameters,
)
from trio_s2s.outbound import open_peer, open_tcp_peer, open_unix_peer
from trio_s2s.peer import InboundPeer, OutboundPeer, Peer
from trio_s2s.statistics import ApplicationStatistics, PeerStatistics

__version__ = "0.1.0"

__all__ = [
    "Application",
    "ApplicationStatistics",
    "Backoff",
    "ConnectionFailedError",
    "ConnectionRejectedError",
    "ContractError",
    "DisconnectReason",
    "EncodeError",
    "Event",
    "EventData",
    "FailureReason",
    "Fixed",
    "InboundPeer",
    "InitRequest",
    "InitResponse",
    "Link",
    "LinkState",
    "ListenError",
    "ListenerConfig",
    "LocalProtocolError",
    "MessageTooLargeError",
    "Operation",
    "OperationError",
    "OperationRequest",
    "OperationResponse",
    "OutboundPeer",
    "Outcome",
    "Peer",
    "PeerBusyError",
    "PeerClosedError",
    "PeerConfig",
    "PeerDisconnectedError",
    "PeerStatistics",
    "ProtocolError",
    "RemoteProtocolError",
    "ReturnCode",
    "S2SError",
    "SendParameters",
    "handles",
    "open_application",
    "open_peer",
    "open_tcp_peer",
    "open_unix_peer",
    "parameter",
    "run_application",
    "serve_applications",
    "serve_peers",
    "serve_tcp",
    "serve_unix",
]
