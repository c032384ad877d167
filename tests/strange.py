"""Answers of other tools in which something is not as it should be."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

VALUES = st.one_of(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    st.sampled_from([0, -1, 10**9, 2**31, 2**63, 10**400, "", "\0", "\ud800", [], {}, [[]], [{}]]),
    st.lists(st.none() | st.integers() | st.text(max_size=3), max_size=3),
)


def spoilt(answer: Any, value: Any, chance: random.Random) -> Any:
    """The same with one value in it, however deep, replaced; or, now and then, left out."""
    if not isinstance(answer, dict | list) or not answer or chance.random() < 0.1:
        return value
    changed: Any = answer.copy()
    keys = list(changed) if isinstance(changed, dict) else range(len(changed))
    deep = [key for key in keys if isinstance(changed[key], dict | list) and changed[key]]
    key = chance.choice(deep if deep and chance.random() < 0.7 else list(keys))
    if chance.random() < 0.1:
        del changed[key]
    else:
        changed[key] = spoilt(changed[key], value, chance)
    return changed
