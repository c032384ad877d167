"""Arbitrary JSON for property tests of answer parsers, with the words that their hosts use."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**400, -1, 0, 0.5, 1e39, "car", "person", "rectangle", "mask", "polygon", "tag"])
)


def json_like(words: list[str]) -> st.SearchStrategy[Any]:
    """Any JSON; objects mostly have keys among ``words``, so that parsers are entered and not only refused."""
    keys = st.sampled_from(words) | st.text(max_size=4)
    return st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=6), max_leaves=25
    )
