"""Twin of `buckets.py`."""

import pytest

from trio_s2s.buckets import Bucket
from trio_s2s.codes import CloseCode
from trio_s2s.errors import RemoteProtocolError


def test_burst_is_allowed_and_one_more_is_a_flood() -> None:
    bucket = Bucket("PINGs", burst=5, refill=2)
    for _ in range(5):
        bucket.take()
    with pytest.raises(RemoteProtocolError, match="6 PINGs, of which 2 an") as caught:
        bucket.take()
    assert caught.value.code is CloseCode.FLOOD
    assert bucket.taken == 6


def test_time_forgives_up_to_the_burst() -> None:
    bucket = Bucket("PINGs", burst=5, refill=2)
    for _ in range(10):
        bucket.take()
        bucket.take()
        bucket.refill()
    for _ in range(5):
        bucket.take()
    with pytest.raises(RemoteProtocolError):
        bucket.take()
