"""Hypothesis strategies: parameters, messages, and ways to cut a stream of bytes."""

from typing import Any

from hypothesis import strategies as st

from trio_s2s.codes import Kind

keys = st.one_of(st.integers(-(2**63), 2**64 - 1), st.text(max_size=8))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)
parameters = st.dictionaries(keys, values, max_size=5)
ids = st.integers(1, 2**63 - 1)
codes = st.integers(0, 2**32)
channels = st.integers(0, 15)
texts = st.text(max_size=20)

messages: st.SearchStrategy[list[Any]] = st.one_of(
    st.tuples(st.just(Kind.REQUEST), ids, codes, parameters).map(list),
    st.tuples(
        st.just(Kind.REQUEST), ids, codes, parameters, st.just({1: 3, 2: {}})
    ).map(list),
    st.tuples(
        st.just(Kind.RESPONSE),
        ids,
        st.integers(-9, 100),
        parameters,
        st.none() | texts,
    ).map(list),
    st.tuples(st.just(Kind.EVENT), codes, parameters).map(list),
    st.tuples(st.just(Kind.EVENT), codes, parameters, channels).map(list),
    st.tuples(st.just(Kind.CANCEL), ids, st.sampled_from([1, 2])).map(list),
    st.tuples(st.just(Kind.CREDIT), channels, st.integers(1, 2**32)).map(list),
    st.tuples(st.sampled_from([Kind.PING, Kind.PONG]), st.integers(0, 2**32)).map(list),
    st.tuples(
        st.just(Kind.GOODBYE), st.integers(-30, 30), texts, codes, st.booleans()
    ).map(list),
    st.tuples(st.just(Kind.CONTRACTS), st.just([[0, 1, 0, "str"]])).map(list),
)


def chunks(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """Cut bytes into pieces, anywhere."""
    cuts = st.lists(st.integers(0, len(data)), max_size=8).map(sorted)
    return cuts.map(
        lambda at: [data[i:j] for i, j in zip([0, *at], [*at, len(data)], strict=True)]
    )
