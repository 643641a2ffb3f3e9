"""What becomes of a handler's result, or of its error, as an answer, and back."""

from typing import Any

import attrs

from trio_s2s.codec import NOTHING, pack_parameters
from trio_s2s.codes import ReturnCode
from trio_s2s.config import PeerConfig
from trio_s2s.contracts import Contract
from trio_s2s.errors import ContractError, EncodeError, OperationError
from trio_s2s.forms import clip, printable, show_error
from trio_s2s.messages import OperationResponse, Parameters

__all__ = [
    "BUSY",
    "CANCELLED",
    "LATE",
    "NEVER_RAN",
    "NOT_ENCODABLE",
    "TOO_LARGE",
    "Answer",
    "answer_error",
    "answer_invalid",
    "answer_result",
    "received_error",
]

MAX_DEBUG = 64 * 1024
MAY_RAISE = {ReturnCode.OPERATION_INVALID, ReturnCode.OPERATION_DENIED}
"""The codes below 0 with which a handler may answer."""


@attrs.frozen
class Answer:
    """The elements of a RESPONSE, but for its id."""

    return_code: int
    parameters: bytes = NOTHING
    debug_message: str | None = None
    is_surprise: bool = False
    """Whether the error must be logged here, since its text is not sent."""


BUSY = Answer(
    ReturnCode.SERVER_BUSY,
    debug_message="the answers that wait here are not taken; this never ran",
)
CANCELLED = Answer(ReturnCode.CANCELLED, debug_message="the handler was cancelled")
LATE = Answer(ReturnCode.DEADLINE_EXCEEDED, debug_message="the caller's time was over")
NEVER_RAN = Answer(
    ReturnCode.SHUTTING_DOWN, debug_message="the server closes; this never ran"
)
NOT_ENCODABLE = Answer(
    ReturnCode.RESPONSE_NOT_ENCODABLE,
    debug_message="what the handler returned can't be packed",
    is_surprise=True,
)
TOO_LARGE = Answer(
    ReturnCode.RESPONSE_NOT_ENCODABLE, debug_message="the answer is too large"
)


def answer_result(
    code: int, contract: Contract | None, result: object, config: PeerConfig
) -> Answer:
    """Make the answer that a handler returned; EncodeError if it can't travel."""
    if contract is not None:
        table = contract.result_to_parameters(result)
        return Answer(ReturnCode.OK, pack_parameters(table, config.max_elements))
    if result is None:
        return Answer(
            ReturnCode.UNKNOWN_OPERATION, debug_message=f"unknown operation {code}"
        )
    if not isinstance(result, OperationResponse):
        raise EncodeError(
            "on_operation_request returns an OperationResponse or None, not"
            f" {type(result).__name__}"
        )
    return _answer(result.return_code, result.parameters, result.debug_message, config)


def answer_error(error: Exception, config: PeerConfig) -> Answer:
    """Make the answer for a handler that raised."""
    if isinstance(error, OperationError) and _may_answer(error):
        details = error.details
        table = details if isinstance(details, dict) else {0: details}
        table = {} if details is None else table
        try:
            return _answer(error.return_code, table, error.debug_message, config)
        except EncodeError as wrong:
            error.add_note(f"This error can't be an answer: {wrong}")
            return NOT_ENCODABLE
    text = "the handler raised"
    if config.expose_errors:
        text = clip(show_error(error))
    return Answer(ReturnCode.INTERNAL_ERROR, debug_message=text, is_surprise=True)


def _may_answer(error: OperationError) -> bool:
    code: object = error.return_code
    if error.was_received or not isinstance(code, int):
        return False
    return code > 0 or code in MAY_RAISE


def _answer(
    code: object, parameters: Parameters, text: object, config: PeerConfig
) -> Answer:
    """Make an answer of what the application gave, which may be anything."""
    if not isinstance(code, int) or isinstance(code, bool) or not -10 < code < 2**63:
        raise EncodeError(f"the return code {code!r} cannot travel")
    if text is not None and not isinstance(text, str):
        raise EncodeError(f"the debug message {text!r} is no text")
    packed = pack_parameters(parameters, config.max_elements)
    return Answer(int(code), packed, None if text is None else clip(text, MAX_DEBUG))


def answer_invalid(error: ContractError, config: PeerConfig) -> Answer:
    """Make the answer for parameters that do not fit, with all that is wrong."""
    found = [[*map(clip, item)] for item in error.errors][: config.max_elements]
    return Answer(
        ReturnCode.OPERATION_INVALID,
        pack_parameters({0: found}, config.max_elements),
        clip(str(error)),
    )


# -- on the other side --


def received_error(
    name: str, return_code: int, table: Parameters, text: str | None
) -> OperationError:
    """Make the error that a caller sees for an answer that is not OK."""
    details: Any = table
    if return_code == ReturnCode.OPERATION_INVALID:
        details = table.get(0)
    error = OperationError(return_code, text or "", details)
    error.args = (f"{name}: {printable(str(error))}",)
    error.was_received = True
    return error
