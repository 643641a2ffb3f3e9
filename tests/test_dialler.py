"""The dialling side of a handshake: what it makes of every answer, and of none."""

import errno
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.peers import (
    CancelAtStep,
    Dialler,
    cancel_at_every_step,
    linked,
    start_server,
    tls_contexts,
)
from tests.streams import Far, FickleStream, fickle_pair, reset_error
from trio_s2s import (
    ConnectionFailedError,
    ConnectionRejectedError,
    EncodeError,
    FailureReason,
    LocalProtocolError,
    PeerConfig,
    open_peer,
)
from trio_s2s.codec import pack
from trio_s2s.codes import Kind
from trio_s2s.dialler import Dialler as HowToDial
from trio_s2s.fields import Identity
from trio_s2s.framing import encode_frame
from trio_s2s.handshake import reject, welcome
from trio_s2s.node import Node
from trio_s2s.tasktree import task_tree

Clock = trio.testing.MockClock
Answer = Callable[[Far], Awaitable[object]]

LIMITS = {0: 512 * 1024, 1: 1024, 2: 4 * 1024**2, 3: 256 * 1024}
FIELDS: dict[Any, Any] = {0: "", 1: bytes(16), 4: LIMITS}


def frame(*messages: list[Any]) -> bytes:
    return encode_frame(map(pack, messages))


async def fail_to_dial(answer: Answer, **options: Any) -> ConnectionFailedError:
    """Dial somebody who answers as told; give the error, which the hook saw too."""
    near, far = fickle_pair()
    peer = Dialler()
    async with trio.open_nursery() as nursery:

        async def play() -> None:
            await far.receive()
            await answer(far)

        nursery.start_soon(play)
        with pytest.raises(ConnectionFailedError) as caught:
            async with open_peer(near, lambda: peer, **options):
                raise AssertionError("not reached")
        nursery.cancel_scope.cancel()
    assert peer.record == [f"failed {caught.value.reason.name}"]
    assert near.is_closed
    return caught.value


ANSWERS = {
    "a reject": (
        reject(7, "the server is full"),
        FailureReason.REJECTED,
        "rejected the connection with code 7: the server is full",
    ),
    "a reject without a word": (
        reject(-99, ""),
        FailureReason.REJECTED,
        "with code -99: no reason given",
    ),
    "another version": (
        reject(-20, "this side speaks protocol 2 to 3"),
        FailureReason.VERSION_MISMATCH,
        "with code -20: this side speaks",
    ),
    "a name in use": (reject(-24, "x"), FailureReason.NAME_IN_USE, "code -24"),
    "too many": (reject(-26, "x"), FailureReason.REJECTED_BUSY, "code -26"),
    "HTTP": (
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        FailureReason.NOT_S2S,
        "an HTTP answer",
    ),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", FailureReason.NOT_S2S, "an SSH greeting"),
    "a TLS alert": (
        b"\x15\x03\x01\x00\x02\x02\x28",
        FailureReason.NOT_S2S,
        "a TLS alert",
    ),
    "random bytes": (
        bytes.fromhex("deadbeef0102"),
        FailureReason.NOT_S2S,
        "bytes that begin with de ad be ef",
    ),
    "a frame of 4097": (
        (4097).to_bytes(4),
        FailureReason.PROTOCOL_ERROR,
        "a frame of 4,097 bytes, more than the 4,096",
    ),
    "a frame of 0": (bytes(4), FailureReason.PROTOCOL_ERROR, "a frame of length 0"),
    "a frame of rubbish": (
        encode_frame([b"\xc1"]),
        FailureReason.NOT_S2S,
        "its first frame is no S2S",
    ),
    "two messages": (
        frame([Kind.REJECT, 1, "", None], [Kind.REJECT, 1, "", None]),
        FailureReason.PROTOCOL_ERROR,
        "cannot connect to .*: 2 messages in one handshake frame",
    ),
    "a challenge": (
        frame([Kind.CHALLENGE, {}]),
        FailureReason.AUTH_FAILED,
        "the server wants proof of a shared secret, and this side has none",
    ),
    "a proof": (
        frame([Kind.PROOF, {}]),
        FailureReason.PROTOCOL_ERROR,
        "expected WELCOME or REJECT, got PROOF",
    ),
    "a ping": (
        frame([Kind.PING, 1]),
        FailureReason.PROTOCOL_ERROR,
        "expected WELCOME or REJECT, got PING",
    ),
    "a kind to come": (
        frame([99]),
        FailureReason.PROTOCOL_ERROR,
        "expected WELCOME or REJECT, got kind 99",
    ),
    "somebody else's hello": (
        frame([Kind.HELLO, "trio-s2s", [1, 1], FIELDS]),
        FailureReason.PROTOCOL_ERROR,
        "the other side dials as well",
    ),
    "a version not offered": (
        frame([Kind.WELCOME, 2, FIELDS]),
        FailureReason.PROTOCOL_ERROR,
        "WELCOME with protocol version 2, not offered",
    ),
    "a bad name": (
        frame([Kind.WELCOME, 1, FIELDS | {0: "what ever"}]),
        FailureReason.PROTOCOL_ERROR,
        "WELCOME with a wrong server id",
    ),
    "no limits": (
        frame([Kind.WELCOME, 1, {0: "", 1: bytes(16)}]),
        FailureReason.PROTOCOL_ERROR,
        r"WELCOME without its limits \(field 4\)",
    ),
}


@pytest.mark.parametrize(("answer", "reason", "text"), ANSWERS.values(), ids=ANSWERS)
async def test_dialler_says_what_is_wrong_with_an_answer(
    answer: bytes, reason: FailureReason, text: str
) -> None:
    error = await fail_to_dial(lambda far: far.stream.send_all(answer))
    assert error.reason is reason
    assert error.__cause__ is not None
    assert "the other end of the stream" in str(error)
    with pytest.raises(ConnectionFailedError, match=text):
        raise error


async def test_dialler_gives_code_and_text_of_a_reject() -> None:
    error = await fail_to_dial(lambda far: far.stream.send_all(reject(7, "full")))
    assert isinstance(error, ConnectionRejectedError)
    assert (error.code, error.debug_message) == (7, "full")


async def test_dialler_recognises_itself() -> None:
    near, far = fickle_pair()
    async with trio.open_nursery() as nursery:

        async def echo() -> None:
            await far.stream.send_all(await far.stream.receive_some())

        nursery.start_soon(echo)
        with pytest.raises(ConnectionFailedError, match="its own dialler") as caught:
            async with open_peer(near):
                raise AssertionError("not reached")
    assert caught.value.reason is FailureReason.SELF_CONNECTION


# -- closed, broken, silent --


@pytest.mark.parametrize("sent", range(9))
async def test_close_at_any_byte_of_the_answer_is_told(sent: int) -> None:
    async def answer(far: Far) -> None:
        await far.stream.send_all(
            welcome(Identity(bytes(16)), None, PeerConfig())[:sent]
        )
        await far.stream.aclose()

    error = await fail_to_dial(answer)
    assert error.reason is FailureReason.CLOSED_DURING_HANDSHAKE
    assert ("it closed after" if sent else "it closed without a word") in str(error)


async def test_close_before_hello_was_sent_is_told() -> None:
    near, far = trio.testing.memory_stream_pair()
    await far.aclose()
    with pytest.raises(ConnectionFailedError) as caught:
        async with open_peer(near):
            raise AssertionError("not reached")
    assert caught.value.reason is FailureReason.CLOSED_DURING_HANDSHAKE


async def test_reject_is_read_also_where_hello_could_not_be_sent() -> None:
    near, far = fickle_pair()
    near.send_error = trio.BrokenResourceError("gone")
    await far.stream.send_all(reject(7, "full"))
    with pytest.raises(ConnectionRejectedError, match="full"):
        async with open_peer(near):
            raise AssertionError("not reached")


async def test_error_of_sending_is_told_where_no_answer_came() -> None:
    near, far = fickle_pair()
    near.send_error = reset_error()
    await far.stream.aclose()
    with pytest.raises(ConnectionFailedError, match="closed without a word") as caught:
        async with open_peer(near):
            raise AssertionError("not reached")
    assert caught.value.reason is FailureReason.CLOSED_DURING_HANDSHAKE


async def test_broken_stream_is_told() -> None:
    near, _ = fickle_pair()
    near.receive_error = trio.BrokenResourceError("snapped")
    with pytest.raises(ConnectionFailedError, match=r"broke.*: snapped") as caught:
        async with open_peer(near):
            raise AssertionError("not reached")
    assert caught.value.reason is FailureReason.CLOSED_DURING_HANDSHAKE


async def test_time_for_a_handshake_is_absolute(autojump_clock: Clock) -> None:
    async def dawdle(far: Far) -> None:
        for byte in welcome(Identity(bytes(16)), None, PeerConfig()):
            await far.stream.send_all(bytes([byte]))
            await trio.sleep(1 + 1e-6)

    error = await fail_to_dial(dawdle)
    assert trio.current_time() == 5
    assert error.reason is FailureReason.HANDSHAKE_TIMEOUT
    assert "no S2S welcome within 5 s (handshake_timeout)" in str(error)


async def test_hello_that_is_not_taken_ends_in_time(autojump_clock: Clock) -> None:
    near, _ = fickle_pair()
    near.block()
    with pytest.raises(ConnectionFailedError) as caught:
        async with open_peer(near, config=PeerConfig(handshake_timeout=2)):
            raise AssertionError("not reached")
    assert trio.current_time() == 2
    assert caught.value.reason is FailureReason.HANDSHAKE_TIMEOUT
    assert near.is_closed


# -- before there is a stream --


def how_to_dial(dial: Any, **options: Any) -> HowToDial:
    return HowToDial(
        **{
            "node": Node(config=PeerConfig(connect_timeout=3)),
            "address": "somewhere:1",
            "dial": dial,
            "application_name": "",
            "init_object": None,
            "server_id": None,
            "raises": True,
            **options,
        }
    )


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (OSError(errno.ECONNREFUSED, "x"), FailureReason.REFUSED),
        (OSError(errno.ENETUNREACH, "x"), FailureReason.UNREACHABLE),
        (UnicodeError("label too long"), FailureReason.INVALID_ADDRESS),
        (trio.TooSlowError(), FailureReason.CONNECT_TIMEOUT),
    ],
)
async def test_failure_to_dial_has_a_reason_and_a_cause(
    raised: Exception, reason: FailureReason
) -> None:
    async def dial() -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        raise raised

    with pytest.raises(ConnectionFailedError, match="somewhere:1") as caught:
        await how_to_dial(dial).connect(Dialler())
    assert caught.value.reason is reason
    assert caught.value.__cause__ is raised


async def test_dialling_takes_at_most_connect_timeout(autojump_clock: Clock) -> None:
    with pytest.raises(ConnectionFailedError) as caught:
        await how_to_dial(trio.sleep_forever).connect(Dialler())
    assert trio.current_time() == 3
    assert caught.value.reason is FailureReason.CONNECT_TIMEOUT


@pytest.mark.parametrize("name", ["a b", "x" * 65, "ä", "a\n"])
def test_wanted_name_must_be_one(name: str) -> None:
    with pytest.raises(ValueError, match="server_id is 1 to 64 of"):
        how_to_dial(trio.sleep_forever, server_id=name)


# -- who it is, and what both sides hand over --


async def welcome_as(far: Far, name: str) -> None:
    fields = FIELDS | {0: name, 3: "1.2", 6: {"room": 5}, 10: True}
    await far.send([Kind.WELCOME, 1, fields])


async def test_another_name_than_the_wanted_is_told() -> None:
    async def answer(far: Far) -> None:
        await welcome_as(far, "gs-2")

    error = await fail_to_dial(answer, server_id="gs-1")
    assert error.reason is FailureReason.IDENTITY_MISMATCH
    assert "it is 'gs-2', not 'gs-1'" in str(error)


async def test_anonymous_is_not_the_wanted_name(nursery: trio.Nursery) -> None:
    server = await start_server(nursery)
    with pytest.raises(ConnectionFailedError, match="it is anonymous, not 'gs-1'"):
        async with open_peer(server.listener.dial(), server_id="gs-1"):
            raise AssertionError("not reached")


async def test_dialler_knows_who_let_it_in() -> None:
    near, far = fickle_pair()
    async with trio.open_nursery() as nursery:

        async def answer() -> None:
            hello = await far.receive()
            assert hello[3][2] == "rooms"
            assert hello[3][6] == {"token": b"x"}
            await welcome_as(far, "gs-1")
            await far.receive_rest()
            await far.stream.aclose()

        nursery.start_soon(answer)
        async with open_peer(
            near,
            Dialler,
            server_id="gs-1",
            application_name="rooms",
            init_object={"token": b"x"},
        ) as peer:
            peer.abort()
            assert peer.server_id == peer.init_response.server_id == "gs-1"
            assert peer.init_response.instance_id == bytes(16)
            assert peer.init_response.version == "1.2"
            assert peer.response_object == {"room": 5}
            assert peer.init_response.response_object == {"room": 5}
            assert peer.init_response.resumed
            assert not peer.resumed  # It has no name by which it could be known.


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (object(), EncodeError, "init_object"),
        ({"when": [1, object()]}, EncodeError, r"init_object\.when\[1\] cannot travel"),
        (bytes(5000), LocalProtocolError, "more than 4,096; send the rest as"),
    ],
)
async def test_init_object_that_cannot_travel_is_the_callers_own_error(
    value: object, error: type[Exception], text: str
) -> None:
    near, far = fickle_pair()
    peer = Dialler()
    with pytest.raises(error, match=text):
        async with open_peer(near, lambda: peer, init_object=value):
            raise AssertionError("not reached")
    assert peer.record == []
    assert near.is_closed
    assert await far.receive_rest() == []


# -- cancellation --


def test_cancel_at_every_step_of_a_connect_leaves_nothing() -> None:
    async def scenario(cancel: CancelAtStep) -> None:
        async with trio.open_nursery() as nursery:
            server = await start_server(nursery)
            await trio.testing.wait_all_tasks_blocked()
            before = task_tree(trio.lowlevel.current_task())
            peer = Dialler()
            near = FickleStream(server.listener.dial())

            async def dial() -> trio.abc.Stream:
                return near

            with cancel.block() as scope:
                await how_to_dial(dial).connect(peer)
            if not scope.cancelled_caught:
                await near.aclose()
            assert peer.record == []
            assert near.is_closed
            await trio.sleep(60)
            assert task_tree(trio.lowlevel.current_task()) == before
            async with open_peer(server.listener.dial()):
                pass
            nursery.cancel_scope.cancel()

    steps = cancel_at_every_step(scenario)
    print(f"{steps} steps")
    assert steps > 10


async def test_tls_belongs_to_the_handshake(autojump_clock: Clock) -> None:
    server_context, context = tls_contexts("gs-1.example")
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery, ssl_context=server_context)
        stream = trio.SSLStream(
            server.listener.dial(), context, server_hostname="gs-1.example"
        )
        async with open_peer(stream, Dialler) as peer:
            assert peer.record == ["connected"]
        silent, far = fickle_pair()
        with pytest.raises(ConnectionFailedError) as caught:
            async with open_peer(
                trio.SSLStream(silent, context, server_hostname="gs-1.example")
            ):
                raise AssertionError("not reached")
        assert caught.value.reason is FailureReason.HANDSHAKE_TIMEOUT
        assert silent.is_closed
        assert (await far.stream.receive_some())[:1] == b"\x16"
        nursery.cancel_scope.cancel()


def test_cancel_at_every_step_of_entering_the_block_closes_the_stream() -> None:
    async def scenario(cancel: CancelAtStep) -> None:
        async with trio.open_nursery() as nursery:
            server = await start_server(nursery)
            await trio.testing.wait_all_tasks_blocked()
            before = task_tree(trio.lowlevel.current_task())
            peer = Dialler()
            near = FickleStream(server.listener.dial())
            with cancel.block():
                async with open_peer(near, lambda: peer):
                    cancel.scope = None
            assert near.is_closed
            assert peer.record in ([], ["connected", "disconnected LOCAL_CLOSE"])
            await trio.sleep(60)
            assert task_tree(trio.lowlevel.current_task()) == before
            nursery.cancel_scope.cancel()

    assert cancel_at_every_step(scenario) > 10


async def test_dialler_is_connected_to_a_real_acceptor() -> None:
    async with linked() as (peer, server):
        assert peer.record == ["connected"]
        assert server.peer.init_request.instance_id != peer.init_response.instance_id
