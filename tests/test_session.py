"""What a connected peer has."""

from typing import Any

import trio

from trio_s2s.session import Session


async def test_session_has_not_finished_when_it_is_made() -> None:
    nothing: Any = None
    session = Session(nothing, nothing, lambda *_: None, lambda *_: None)
    assert isinstance(session.finished, trio.Event)
    assert not session.finished.is_set()
    assert session.finished is not Session(*[nothing] * 4).finished
