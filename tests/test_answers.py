"""Results and errors of handlers, as answers."""

import enum
from typing import Any

import attrs
import msgpack
import pytest

from trio_s2s.answers import (
    BUSY,
    CANCELLED,
    NEVER_RAN,
    TOO_LARGE,
    Answer,
    answer_error,
    answer_invalid,
    answer_result,
    received_error,
)
from trio_s2s.codec import NOTHING
from trio_s2s.codes import ReturnCode
from trio_s2s.config import PeerConfig
from trio_s2s.contracts import Operation, contract_of
from trio_s2s.errors import ContractError, EncodeError, OperationError
from trio_s2s.messages import OperationRequest, OperationResponse

CONFIG = PeerConfig()
TELLING = PeerConfig(expose_errors=True)


@attrs.frozen
class Sum(Operation[int], code=4):
    numbers: list[int]


@attrs.frozen
class Reset(Operation[None], code=5):
    pass


def table(answer: Answer) -> Any:
    return msgpack.unpackb(answer.parameters, strict_map_key=False)


def test_answers_made_beforehand_have_their_codes() -> None:
    assert BUSY.return_code == ReturnCode.SERVER_BUSY
    assert CANCELLED.return_code == ReturnCode.CANCELLED
    assert NEVER_RAN.return_code == ReturnCode.SHUTTING_DOWN
    assert TOO_LARGE.return_code == ReturnCode.RESPONSE_NOT_ENCODABLE
    for answer in (BUSY, CANCELLED, NEVER_RAN, TOO_LARGE):
        assert answer.debug_message
        assert not answer.is_surprise


# -- results --


def test_typed_result_is_packed_by_its_contract() -> None:
    answer = answer_result(4, contract_of(Sum), 6, CONFIG)
    assert answer.return_code == ReturnCode.OK
    assert table(answer) == {0: 6}
    assert answer_result(5, contract_of(Reset), None, CONFIG) == Answer(ReturnCode.OK)


def test_typed_result_of_another_type_is_not_encodable() -> None:
    with pytest.raises(EncodeError):
        answer_result(4, contract_of(Sum), "6", CONFIG)


def test_plain_response_is_packed_as_it_is() -> None:
    response = OperationRequest(9).respond({1: "x"}, return_code=3, debug_message="t")
    answer = answer_result(9, None, response, CONFIG)
    assert (answer.return_code, table(answer)) == (3, {1: "x"})
    assert answer.debug_message == "t"


def test_no_response_means_that_the_operation_is_unknown() -> None:
    answer = answer_result(9, None, None, CONFIG)
    assert answer.return_code == ReturnCode.UNKNOWN_OPERATION
    assert answer.debug_message == "unknown operation 9"
    assert answer.parameters == NOTHING


def test_anything_else_is_no_response() -> None:
    with pytest.raises(EncodeError, match="OperationResponse or None, not int"):
        answer_result(9, None, 5, CONFIG)


def test_response_with_a_value_that_cannot_travel_is_refused() -> None:
    with pytest.raises(EncodeError, match=r"parameters\[0\]"):
        answer_result(9, None, OperationResponse(9, 0, {0: object()}), CONFIG)


# -- errors --


@pytest.mark.parametrize(
    "code", [1, 900, ReturnCode.OPERATION_INVALID, ReturnCode.OPERATION_DENIED]
)
def test_operation_error_answers_its_code(code: int) -> None:
    answer = answer_error(OperationError(code, "why", {1: "x"}), CONFIG)
    assert (answer.return_code, answer.debug_message) == (code, "why")
    assert table(answer) == {1: "x"}
    assert not answer.is_surprise


def test_operation_error_may_have_no_details() -> None:
    assert answer_error(OperationError(1), CONFIG).parameters == NOTHING


def test_operation_error_details_that_are_no_table_are_parameter_0() -> None:
    assert table(answer_error(OperationError(1, "", ["a"]), CONFIG)) == {0: ["a"]}


@pytest.mark.parametrize(
    "details", [object(), {0: object()}, {1.5: 1}, [[[1]]] * 5000, {0: {"a": {1j}}}]
)
def test_operation_error_details_that_cannot_travel_are_not_encodable(
    details: Any,
) -> None:
    answer = answer_error(OperationError(1, "", details), CONFIG)
    assert answer.return_code == ReturnCode.RESPONSE_NOT_ENCODABLE
    assert answer.is_surprise


class Big(enum.IntEnum):
    CODE = 12


def test_operation_error_code_may_be_an_enum() -> None:
    assert answer_error(OperationError(Big.CODE), CONFIG).return_code == 12


@pytest.mark.parametrize("code", [0, -1, -4, -5, -6, -7, -8, -9, -10, -11])
def test_operation_error_of_another_code_is_internal(code: int) -> None:
    answer = answer_error(OperationError(code, "why"), CONFIG)
    assert answer.return_code == ReturnCode.INTERNAL_ERROR
    assert answer.is_surprise


def test_operation_error_received_elsewhere_is_internal() -> None:
    received = received_error("Sum", 5, {}, "why")
    answer = answer_error(received, CONFIG)
    assert answer.return_code == ReturnCode.INTERNAL_ERROR
    assert answer.debug_message == "the handler raised"


def test_encode_error_of_the_handlers_own_call_is_internal() -> None:
    answer = answer_error(EncodeError("result.when cannot travel"), CONFIG)
    assert answer.return_code == ReturnCode.INTERNAL_ERROR
    assert answer.is_surprise


@pytest.mark.parametrize(
    ("code", "text"),
    [(5, 123), (True, "x"), (2**63, "x"), (2**70, "x"), (5, ValueError("x"))],
)
def test_operation_error_that_cannot_travel_is_not_encodable(
    code: Any, text: Any
) -> None:
    answer = answer_error(OperationError(code, text), CONFIG)
    assert answer.return_code == ReturnCode.RESPONSE_NOT_ENCODABLE
    assert answer.is_surprise


def test_operation_error_of_no_code_is_internal() -> None:
    answer = answer_error(OperationError("five"), CONFIG)  # type: ignore[arg-type]  # may happen
    assert answer.return_code == ReturnCode.INTERNAL_ERROR


def test_text_that_is_no_unicode_is_replaced() -> None:
    answer = answer_error(OperationError(5, "x\udcff"), CONFIG)
    assert answer.debug_message == "x?"


@pytest.mark.parametrize("response", [{"return_code": -10}, {"debug_message": 5}])
def test_response_that_cannot_travel_is_refused(response: Any) -> None:
    with pytest.raises(EncodeError):
        answer_result(1, None, OperationResponse(1, **response), CONFIG)


def test_error_text_is_hidden_unless_it_may_be_told() -> None:
    error = ValueError("secret" * 1000)
    hidden = answer_error(error, CONFIG)
    assert hidden == Answer(-1, NOTHING, "the handler raised", True)
    told = answer_error(error, TELLING)
    assert told.debug_message is not None
    assert told.debug_message.startswith("ValueError: secretsecret")
    assert len(told.debug_message.encode()) <= 1024
    assert told.is_surprise


def test_invalid_parameters_are_all_named() -> None:
    errors = [("a", "int", "str 'x'"), ("b", "str", "nothing")]
    answer = answer_invalid(ContractError("Sum", errors), CONFIG)
    assert answer.return_code == ReturnCode.OPERATION_INVALID
    assert table(answer) == {0: [list(error) for error in errors]}
    assert answer.debug_message is not None
    assert "Sum.a: expected int" in answer.debug_message
    assert not answer.is_surprise


def test_invalid_parameters_beyond_the_limit_are_left_out() -> None:
    errors = [(f"f{n}", "int", "nothing") for n in range(9000)]
    answer = answer_invalid(ContractError("Sum", errors), CONFIG)
    assert len(table(answer)[0]) == CONFIG.max_elements
    assert answer.debug_message is not None
    assert len(answer.debug_message.encode()) <= 1024


# -- on the other side --


def test_received_error_names_the_operation() -> None:
    error = received_error("Sum", 7, {1: 2}, "why")
    assert (error.return_code, error.debug_message) == (7, "why")
    assert str(error) == "Sum: operation failed with return code 7: why"
    assert error.details == {1: 2}
    assert error.was_received
    assert received_error("Sum", -4, {}, None).debug_message == ""
    assert "-4 UNKNOWN_OPERATION" in str(received_error("Sum", -4, {}, None))


def test_received_error_for_invalid_parameters_lists_them() -> None:
    found = [["a", "int", "nothing"]]
    code = ReturnCode.OPERATION_INVALID
    assert received_error("Sum", code, {0: found}, "why").details == found
    assert received_error("Sum", code, {}, "why").details is None


def test_error_that_cannot_be_shown_is_told_by_its_name() -> None:
    class Bad(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    assert answer_error(Bad(), TELLING).debug_message == "Bad"
