"""The public face, frozen; `python tests/test_public_api.py` prints a new `SIGNATURES`.

A change here is a change for every user: it needs a line in the changelog.
"""

import ast
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "trio_s2s"

MAX_NAMES = 50
MAX_SETTINGS = 20

SIGNATURES: dict[str, str] = {
    "Application": "class()",
    "Application.__init__": (
        "def(self, name: str, *, server_id: str='', version: str='', config:"
        " PeerConfig | None=None) -> None"
    ),
    "Application.broadcast": (
        "async def(self, event: Event | EventData, peers: Iterable[Peer], *, slow:"
        " Slow='wait') -> list[Peer]"
    ),
    "Application.connect_tcp": (
        "@overload def(self, host: Target, port: int | None, peer: Callable[[], P],"
        " *, application_name: str='', init_object: Any=None, server_id: str |"
        " None=None, ssl_context: ssl.SSLContext | None=None, insecure: bool=False,"
        " retry: Backoff | Fixed=_RETRY) -> Link[P]; @overload def(self, host: Target,"
        " port: int | None, *, application_name: str='', init_object: Any=None,"
        " server_id: str | None=None, ssl_context: ssl.SSLContext | None=None,"
        " insecure: bool=False, retry: Backoff | Fixed=_RETRY) -> Link[OutboundPeer]"
    ),
    "Application.create_peer": "def(self, init_request: InitRequest) -> InboundPeer",
    "Application.links": "Mapping[str, Link[Any]] = MappingProxyType({})",
    "Application.listen": (
        "async def(self, listener: ListenerConfig) -> Sequence[trio.SocketListener]"
    ),
    "Application.listen_tcp": (
        "async def(self, port: int, *, host: str='127.0.0.1', ssl_context:"
        " ssl.SSLContext | None=None, insecure: bool=False, backlog: int | None=None)"
        " -> Sequence[trio.SocketListener]"
    ),
    "Application.peers": "@property def(self) -> Peers",
    "Application.server_lost": "async def(self, server_id: str) -> None",
    "Application.setup": "async def(self) -> None",
    "Application.statistics": "def(self) -> ApplicationStatistics",
    "Application.stop": "async def(self, grace: float | None=None) -> StopReport",
    "Application.tear_down": "async def(self) -> None",
    "ApplicationStatistics": "class()",
    "ApplicationStatistics.ends": "Mapping[DisconnectReason, int]",
    "ApplicationStatistics.failures": "Mapping[FailureReason, int]",
    "ApplicationStatistics.inbound": "ConnectionCounts",
    "ApplicationStatistics.outbound": "ConnectionCounts",
    "ApplicationStatistics.rejections": "Mapping[FailureReason, int]",
    "ApplicationStatistics.total": "PeerStatistics",
    "Backoff": "class()",
    "Backoff.cap": "float = attrs.field(default=3.0, validator=_seconds)",
    "Backoff.first": "float = attrs.field(default=1.0, validator=_seconds)",
    "ConnectionFailedError": "class(S2SError)",
    "ConnectionFailedError.__init__": (
        "def(self, text: str, reason: FailureReason) -> None"
    ),
    "ConnectionRejectedError": "class(ConnectionFailedError)",
    "ConnectionRejectedError.__init__": (
        "def(self, code: int, debug_message: str='', where: str='') -> None"
    ),
    "ContractError": "class(S2SError)",
    "ContractError.__init__": (
        "def(self, subject: str, errors: Sequence[tuple[str, str, str]]) -> None"
    ),
    "DisconnectReason": "class(IntEnum)",
    "DisconnectReason.CONNECTION_LOST": "= 3",
    "DisconnectReason.CONNECTION_RESET": "= 4",
    "DisconnectReason.DECODE_ERROR": "= 8",
    "DisconnectReason.FLOOD": "= 11",
    "DisconnectReason.FRAME_TOO_LARGE": "= 9",
    "DisconnectReason.HEARTBEAT_TIMEOUT": "= 5",
    "DisconnectReason.INTERNAL_ERROR": "= 15",
    "DisconnectReason.LOCAL_CLOSE": "= 1",
    "DisconnectReason.NOT_CONNECTED": "= 16",
    "DisconnectReason.PEER_RESTARTED": "= 13",
    "DisconnectReason.PROTOCOL_ERROR": "= 7",
    "DisconnectReason.REMOTE_CLOSE": "= 2",
    "DisconnectReason.REPLACED": "= 12",
    "DisconnectReason.REPORTED_BY_PEER": "= 10",
    "DisconnectReason.SHUTDOWN": "= 14",
    "DisconnectReason.WRITE_TIMEOUT": "= 6",
    "EncodeError": "class(LocalProtocolError)",
    "Event": "class(_Message)",
    "EventData": "class()",
    "EventData.event_code": "int = attrs.field(validator=_code)",
    "EventData.parameters": "Parameters = attrs.field(factory=dict)",
    "FailureReason": "class(IntEnum)",
    "FailureReason.AUTH_FAILED": "= 20",
    "FailureReason.CLOSED_DURING_HANDSHAKE": "= 18",
    "FailureReason.CONNECT_TIMEOUT": "= 7",
    "FailureReason.DENIED": "= 6",
    "FailureReason.DNS_ERROR": "= 2",
    "FailureReason.DNS_TIMEOUT": "= 3",
    "FailureReason.DUPLICATE": "= 23",
    "FailureReason.HANDSHAKE_TIMEOUT": "= 17",
    "FailureReason.IDENTITY_MISMATCH": "= 21",
    "FailureReason.INVALID_ADDRESS": "= 1",
    "FailureReason.LOCAL_RESOURCES": "= 8",
    "FailureReason.NAME_IN_USE": "= 24",
    "FailureReason.NOT_S2S": "= 16",
    "FailureReason.NOT_TLS": "= 15",
    "FailureReason.PROTOCOL_ERROR": "= 25",
    "FailureReason.REFUSED": "= 4",
    "FailureReason.REJECTED": "= 27",
    "FailureReason.REJECTED_BUSY": "= 26",
    "FailureReason.SELF_CONNECTION": "= 22",
    "FailureReason.TLS_CONFIG": "= 9",
    "FailureReason.TLS_ERROR": "= 14",
    "FailureReason.TLS_EXPIRED": "= 12",
    "FailureReason.TLS_HOSTNAME": "= 11",
    "FailureReason.TLS_UNTRUSTED": "= 10",
    "FailureReason.TLS_VERSION": "= 13",
    "FailureReason.UNREACHABLE": "= 5",
    "FailureReason.VERSION_MISMATCH": "= 19",
    "Fixed": "class()",
    "Fixed.cap": "float = attrs.field(validator=_seconds)",
    "InboundPeer": "class(Peer)",
    "InboundPeer.__init__": "def(self, init_request: InitRequest) -> None",
    "InboundPeer.init_request": "InitRequest = InitRequest()",
    "InitRequest": "class()",
    "InitRequest.application_name": "str = ''",
    "InitRequest.identity_verified": "bool = False",
    "InitRequest.init_object": "Any = None",
    "InitRequest.instance_id": "bytes = b''",
    "InitRequest.local_address": "str = ''",
    "InitRequest.local_port": "int | None = None",
    "InitRequest.remote_address": "str = ''",
    "InitRequest.server_id": "str = ''",
    "InitRequest.version": "str = ''",
    "InitResponse": "class()",
    "InitResponse.instance_id": "bytes = b''",
    "InitResponse.response_object": "Any = None",
    "InitResponse.resumed": "bool = False",
    "InitResponse.server_id": "str = ''",
    "InitResponse.version": "str = ''",
    "Link": "class(Generic[P])",
    "Link.__init__": (
        "def(self, dialler: Dialler, create_peer: Callable[[], P], retry: Backoff |"
        " Fixed) -> None"
    ),
    "Link.connected": "async def(self) -> P",
    "Link.keep": "async def(self) -> None",
    "Link.make_peer": "def(self) -> P",
    "Link.peer": "@property def(self) -> P | None",
    "Link.request": (
        "@overload async def(self, operation: Operation[R], *, wait_connected:"
        " bool=False) -> R; @overload async def(self, operation: OperationRequest, *,"
        " wait_connected: bool=False) -> OperationResponse"
    ),
    "Link.state": "@property def(self) -> LinkState",
    "Link.stop": "def(self) -> None",
    "LinkState": "class(Enum)",
    "LinkState.CONNECTED": "= 'connected'",
    "LinkState.CONNECTING": "= 'connecting'",
    "LinkState.STOPPED": "= 'stopped'",
    "LinkState.WAITING": "= 'waiting'",
    "ListenError": "class(S2SError)",
    "ListenerConfig": "class()",
    "ListenerConfig.backlog": (
        "int | None = attrs.field(default=None, kw_only=True, validator=_backlog)"
    ),
    "ListenerConfig.config": (
        "PeerConfig | None = attrs.field(default=None, kw_only=True, validator=_limits)"
    ),
    "ListenerConfig.host": (
        "str = attrs.field(default='127.0.0.1', kw_only=True, validator=filled)"
    ),
    "ListenerConfig.insecure": (
        "bool = attrs.field(default=False, kw_only=True, validator=flag)"
    ),
    "ListenerConfig.port": "int = attrs.field(validator=_port)",
    "ListenerConfig.ssl_context": (
        "ssl.SSLContext | None = attrs.field(default=None, kw_only=True,"
        " validator=_context)"
    ),
    "LocalProtocolError": "class(ProtocolError)",
    "MessageTooLargeError": "class(LocalProtocolError)",
    "MessageTooLargeError.__init__": (
        "def(self, what: str, size: int, max_size: int) -> None"
    ),
    "Operation": "class(_Message, Generic[R_co])",
    "OperationError": "class(S2SError)",
    "OperationError.__init__": (
        "def(self, return_code: int, debug_message: str='', details: object=None) ->"
        " None"
    ),
    "OperationRequest": "class()",
    "OperationRequest.operation_code": "int = attrs.field(validator=_code)",
    "OperationRequest.parameters": "Parameters = attrs.field(factory=dict)",
    "OperationRequest.respond": (
        "def(self, parameters: Parameters | None=None, *, return_code:"
        " int=ReturnCode.OK, debug_message: str | None=None) -> OperationResponse"
    ),
    "OperationResponse": "class()",
    "OperationResponse.debug_message": "str | None = None",
    "OperationResponse.operation_code": "int = attrs.field(validator=_code)",
    "OperationResponse.parameters": "Parameters = attrs.field(factory=dict)",
    "OperationResponse.return_code": (
        "int = attrs.field(default=0, validator=_integer(-10, 2 ** 63 - 1))"
    ),
    "OutboundPeer": "class(Peer)",
    "OutboundPeer.init_response": "InitResponse = InitResponse()",
    "Outcome": "class(IntEnum)",
    "Outcome.NEVER_SENT": "= 0",
    "Outcome.REFUSED": "= 1",
    "Outcome.UNKNOWN": "= 2",
    "Peer": "class(PeerHooks, trio.abc.AsyncResource)",
    "Peer.abort": "def(self) -> None",
    "Peer.aclose": "async def(self) -> None",
    "Peer.disconnect": "async def(self, detail: str='', *, code: int=0) -> None",
    "Peer.goodbye_code": "@property def(self) -> int | None",
    "Peer.groups": "Collection[str] = ()",
    "Peer.local_address": "str = ''",
    "Peer.on_connected": "async def(self) -> None",
    "Peer.on_disconnected": (
        "async def(self, reason: DisconnectReason, detail: str) -> None"
    ),
    "Peer.on_event": (
        "async def(self, event: EventData, send_parameters: SendParameters) -> None"
    ),
    "Peer.on_failed": "async def(self, error: ConnectionFailedError) -> None",
    "Peer.on_operation_request": (
        "async def(self, request: OperationRequest, send_parameters: SendParameters)"
        " -> OperationResponse | None"
    ),
    "Peer.on_operation_response": (
        "async def(self, response: OperationResponse, send_parameters:"
        " SendParameters) -> None"
    ),
    "Peer.remote_address": "str = ''",
    "Peer.request": (
        "@overload async def(self, operation: Operation[R]) -> R; @overload async"
        " def(self, operation: OperationRequest) -> OperationResponse"
    ),
    "Peer.response_object": "Any = None",
    "Peer.resumed": "bool = False",
    "Peer.send_event": (
        "async def(self, event: Event | EventData, send_parameters:"
        " SendParameters=_PLAIN) -> None"
    ),
    "Peer.send_event_nowait": (
        "def(self, event: Event | EventData, send_parameters: SendParameters=_PLAIN)"
        " -> None"
    ),
    "Peer.send_operation_request": (
        "async def(self, request: OperationRequest, send_parameters:"
        " SendParameters=_PLAIN) -> None"
    ),
    "Peer.server_id": "str = ''",
    "Peer.start_soon": (
        "def(self, function: Callable[[*Args], Awaitable[object]], *args: *Args) ->"
        " None"
    ),
    "Peer.statistics": "def(self) -> PeerStatistics",
    "PeerBusyError": "class(S2SError)",
    "PeerClosedError": "class(S2SError, trio.ClosedResourceError)",
    "PeerConfig": "class()",
    "PeerConfig.connect_timeout": (
        "float = attrs.field(default=10.0, validator=_seconds)"
    ),
    "PeerConfig.connected_timeout": (
        "float = attrs.field(default=30.0, validator=_seconds)"
    ),
    "PeerConfig.drain_timeout": "float = attrs.field(default=5.0, validator=_seconds)",
    "PeerConfig.expose_errors": "bool = attrs.field(default=False, validator=flag)",
    "PeerConfig.handler_wait": "float = attrs.field(default=10.0, validator=_seconds)",
    "PeerConfig.handshake_timeout": (
        "float = attrs.field(default=5.0, validator=_seconds)"
    ),
    "PeerConfig.heartbeat_interval": (
        "float = attrs.field(default=2.5, validator=_seconds)"
    ),
    "PeerConfig.heartbeat_misses": "int = attrs.field(default=3, validator=_size(1))",
    "PeerConfig.hook_timeout": "float = attrs.field(default=5.0, validator=_seconds)",
    "PeerConfig.max_concurrent_requests": (
        "int = attrs.field(default=1024, validator=_size(0))"
    ),
    "PeerConfig.max_elements": "int = attrs.field(default=4096, validator=_size(16))",
    "PeerConfig.max_event_weight": (
        "int = attrs.field(default=256 * 1024, validator=_size(0))"
    ),
    "PeerConfig.max_frame": (
        "int = attrs.field(default=512 * 1024, validator=_size(1024))"
    ),
    "PeerConfig.max_pending_handshakes": (
        "int = attrs.field(default=64, validator=_size(1))"
    ),
    "PeerConfig.max_pending_handshakes_per_address": (
        "int = attrs.field(default=16, validator=_size(1))"
    ),
    "PeerConfig.max_request_weight": (
        "int = attrs.field(default=4 * 1024 ** 2, validator=_size(0))"
    ),
    "PeerConfig.resume_ttl": "float = attrs.field(default=20.0, validator=_seconds)",
    "PeerConfig.send_buffer": (
        "int = attrs.field(default=1024 ** 2, validator=_size(1))"
    ),
    "PeerConfig.send_timeout": "float = attrs.field(default=10.0, validator=_seconds)",
    "PeerDisconnectedError": "class(S2SError, trio.BrokenResourceError)",
    "PeerDisconnectedError.__init__": (
        "def(self, reason: DisconnectReason, detail: str, outcome:"
        " Outcome=Outcome.NEVER_SENT, code: int | None=None, what: str='', who:"
        " str='') -> None"
    ),
    "PeerStatistics": "class()",
    "PeerStatistics.bytes_received": "int",
    "PeerStatistics.bytes_sent": "int",
    "PeerStatistics.bytes_waiting": "int",
    "PeerStatistics.events_dropped": "int",
    "PeerStatistics.glitches": "int",
    "PeerStatistics.late_responses": "int",
    "PeerStatistics.messages_received": "int",
    "PeerStatistics.messages_sent": "int",
    "PeerStatistics.requests": "RequestCounts",
    "PeerStatistics.requests_outstanding": "int",
    "PeerStatistics.requests_running": "int",
    "PeerStatistics.round_trip_time": "float | None",
    "ProtocolError": "class(S2SError)",
    "RemoteProtocolError": "class(ProtocolError)",
    "RemoteProtocolError.__init__": (
        "def(self, text: str, code: CloseCode=CloseCode.PROTOCOL) -> None"
    ),
    "ReturnCode": "class(IntEnum)",
    "ReturnCode.CANCELLED": "= -5",
    "ReturnCode.DEADLINE_EXCEEDED": "= -6",
    "ReturnCode.DISCONNECTED": "= -10",
    "ReturnCode.INTERNAL_ERROR": "= -1",
    "ReturnCode.OK": "= 0",
    "ReturnCode.OPERATION_DENIED": "= -3",
    "ReturnCode.OPERATION_INVALID": "= -2",
    "ReturnCode.RESPONSE_NOT_ENCODABLE": "= -9",
    "ReturnCode.SERVER_BUSY": "= -7",
    "ReturnCode.SHUTTING_DOWN": "= -8",
    "ReturnCode.UNKNOWN_OPERATION": "= -4",
    "S2SError": "class(Exception)",
    "SendParameters": "class()",
    "SendParameters.channel": "int = attrs.field(default=0, validator=_integer(0, 15))",
    "SendParameters.encrypted": "bool = attrs.field(default=False, kw_only=True)",
    "SendParameters.flush": "bool = attrs.field(default=False, kw_only=True)",
    "SendParameters.unreliable": "bool = attrs.field(default=False, kw_only=True)",
    "handles": (
        "@overload def(contract: type[Event]) -> Callable[[Method[P, None]],"
        " Method[P, None]]; @overload def(contract: type[Operation[R]]) ->"
        " Callable[[Method[P, R]], Method[P, R]]"
    ),
    "open_application": (
        "@asynccontextmanager async def(application: A) -> AsyncGenerator[A]"
    ),
    "open_peer": (
        "@overload def(stream: trio.abc.Stream, peer: Callable[[], P], *,"
        " application_name: str='', init_object: Any=None, server_id: str | None=None,"
        " config: PeerConfig | None=None) -> AbstractAsyncContextManager[P]; @overload"
        " def(stream: trio.abc.Stream, *, application_name: str='', init_object:"
        " Any=None, server_id: str | None=None, config: PeerConfig | None=None) ->"
        " AbstractAsyncContextManager[OutboundPeer]"
    ),
    "open_tcp_peer": (
        "@overload def(host: str, port: int, peer: Callable[[], P], *,"
        " application_name: str='', init_object: Any=None, server_id: str | None=None,"
        " ssl_context: ssl.SSLContext | None=None, insecure: bool=False, config:"
        " PeerConfig | None=None) -> AbstractAsyncContextManager[P]; @overload"
        " def(host: str, port: int, *, application_name: str='', init_object:"
        " Any=None, server_id: str | None=None, ssl_context: ssl.SSLContext |"
        " None=None, insecure: bool=False, config: PeerConfig | None=None) ->"
        " AbstractAsyncContextManager[OutboundPeer]"
    ),
    "open_unix_peer": (
        "@overload def(path: str | os.PathLike[str], peer: Callable[[], P], *,"
        " application_name: str='', init_object: Any=None, server_id: str | None=None,"
        " config: PeerConfig | None=None) -> AbstractAsyncContextManager[P]; @overload"
        " def(path: str | os.PathLike[str], *, application_name: str='', init_object:"
        " Any=None, server_id: str | None=None, config: PeerConfig | None=None) ->"
        " AbstractAsyncContextManager[OutboundPeer]"
    ),
    "parameter": "def(code: int | str) -> Any",
    "run_application": (
        "async def(application: Application, *, task_status:"
        " trio.TaskStatus[Application]=trio.TASK_STATUS_IGNORED) -> None"
    ),
    "serve_applications": (
        "async def(applications: Sequence[Application], port: int, *, host:"
        " str='127.0.0.1', ssl_context: ssl.SSLContext | None=None, insecure:"
        " bool=False, backlog: int | None=None, task_status:"
        " trio.TaskStatus[Listeners]=trio.TASK_STATUS_IGNORED) -> NoReturn"
    ),
    "serve_peers": (
        "async def(create_peer: CreatePeer, listeners: Listeners, *, ssl_context:"
        " ssl.SSLContext | None=None, config: PeerConfig | None=None, handler_nursery:"
        " trio.Nursery | None=None, task_status:"
        " trio.TaskStatus[Listeners]=trio.TASK_STATUS_IGNORED) -> NoReturn"
    ),
    "serve_tcp": (
        "async def(create_peer: CreatePeer, port: int, *, host: str='127.0.0.1',"
        " ssl_context: ssl.SSLContext | None=None, insecure: bool=False, backlog: int"
        " | None=None, config: PeerConfig | None=None, handler_nursery: trio.Nursery |"
        " None=None, task_status: trio.TaskStatus[Listeners]=trio.TASK_STATUS_IGNORED)"
        " -> NoReturn"
    ),
    "serve_unix": (
        "async def(create_peer: CreatePeer, path: str | os.PathLike[str], *, backlog:"
        " int | None=None, config: PeerConfig | None=None, handler_nursery:"
        " trio.Nursery | None=None, task_status:"
        " trio.TaskStatus[Listeners]=trio.TASK_STATUS_IGNORED) -> NoReturn"
    ),
}

NAMES = sorted({key.partition(".")[0] for key in SIGNATURES})

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.ClassDef | Function


# -- reading the package without running it: all Pythons spell source the same --


@cache
def body_of(module: str) -> list[ast.stmt]:
    path = PACKAGE.parent / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text("utf-8")).body


def defined(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt, str | None]]:
    """Give what a body defines: name, statement, docstring; overloads one by one."""
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        match node:
            case (
                ast.ClassDef(name) | ast.FunctionDef(name) | ast.AsyncFunctionDef(name)
            ):
                yield name, node, ast.get_docstring(node)
            case ast.Assign([ast.Name(name)]) | ast.AnnAssign(ast.Name(name)):
                match after:
                    case ast.Expr(ast.Constant(str(text))):
                        yield name, node, text
                    case _:
                        yield name, node, None


def home_of(name: str, module: str = "trio_s2s") -> str:
    """Give the module that a name of this module comes from."""
    for node in body_of(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "trio_s2s"
        ):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return home_of(alias.name, str(node.module))
    return module


def public_names() -> list[str]:
    for name, node, _ in defined(body_of("trio_s2s")):
        if name == "__all__" and isinstance(node, ast.Assign):
            return list(ast.literal_eval(node.value))
    raise AssertionError("trio_s2s has no __all__")


def members_of(name: str, module: str) -> Iterator[tuple[str, ast.stmt, str | None]]:
    """Give the public members of a class, also those from bases that are not public."""
    for found, node, _ in defined(body_of(module)):
        if found == name and isinstance(node, ast.ClassDef):
            for base in map(ast.unparse, node.bases):
                if base not in public_names():
                    yield from members_of(base, home_of(base, module))
            yield from (each for each in defined(node.body) if each[0][0] != "_")
            for member in node.body:
                if isinstance(member, Function) and member.name == "__init__":
                    yield member.name, member, "the class says it"


def described() -> Iterator[tuple[str, ast.stmt, str | None]]:
    """Give all that is public: name, statement, docstring."""
    for name in public_names():
        module = home_of(name)
        found = [each for each in defined(body_of(module)) if each[0] == name]
        assert found, f"{name} is not defined in {module}"
        yield from found
        for member, node, text in members_of(name, module):
            yield f"{name}.{member}", node, text


def is_overload(node: ast.stmt) -> bool:
    return isinstance(node, Function) and "overload" in map(
        ast.unparse, node.decorator_list
    )


def text_of(node: ast.stmt) -> str:
    if isinstance(node, ast.ClassDef):
        inside = [*map(ast.unparse, node.bases), *map(ast.unparse, node.keywords)]
        return f"class({', '.join(inside)})"
    if isinstance(node, Function):
        kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
        marks = [f"@{ast.unparse(each)} " for each in node.decorator_list]
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"{''.join(marks)}{kind}({ast.unparse(node.args)}){returns}"
    return ast.unparse(node).partition(" ")[2] or ast.unparse(node)


def signatures() -> dict[str, str]:
    """Describe the public face as it is now."""
    texts: dict[str, list[str]] = {}
    overloaded = set()
    for name, node, _ in described():
        if is_overload(node):
            overloaded.add(name)
        if is_overload(node) or name not in overloaded:
            texts.setdefault(name, []).append(text_of(node))
    return {name: "; ".join(texts[name]) for name in sorted(texts)}


# -- the tests --


def test_public_names_are_those_that_were_agreed_on() -> None:
    assert public_names() == NAMES


def test_public_signatures_are_those_that_were_agreed_on() -> None:
    assert signatures() == SIGNATURES


def test_public_names_are_few() -> None:
    assert 0 < len(public_names()) <= MAX_NAMES


def test_everything_public_has_a_docstring() -> None:
    silent = {
        name
        for name, node, text in described()
        if isinstance(node, Documented) and not text and not is_overload(node)
    }
    assert not silent


def test_settings_are_few() -> None:
    settings = [
        name
        for name, node, _ in described()
        if name.startswith("PeerConfig.") and isinstance(node, ast.AnnAssign)
    ]
    assert 0 < len(settings) <= MAX_SETTINGS


def literal(name: str, text: str) -> str:
    """Write one entry as `ruff format` would leave it."""

    def quoted(piece: str) -> str:
        return '"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"'

    entry = f"    {quoted(name)}: {quoted(text)},"
    if len(entry) <= 88:
        return entry
    pieces = textwrap.wrap(text, 76, break_on_hyphens=False)
    quotes = [
        quoted(piece if i == 0 else f" {piece}") for i, piece in enumerate(pieces)
    ]
    lines = "\n".join(f"        {quote}" for quote in quotes)
    return f"    {quoted(name)}: (\n{lines}\n    ),"


if __name__ == "__main__":
    print("SIGNATURES: dict[str, str] = {")
    for name, text in signatures().items():
        print(literal(name, text))
    print("}")
