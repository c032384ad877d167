"""CVAT that answers nonsense somewhere: what it says is read as far as it makes sense, or refused with a reason."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import BadOutput
from bridge.remotes.cvat.client import _following
from bridge.remotes.cvat.description import MOST_FRAMES, Labels, data_of, jobs_of, labels_of

VALUES = st.one_of(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    st.sampled_from([0, -1, 10**9, 2**31, 2**63, 10**400, "", "\0", "\ud800", [], {}, [[]], [{}]]),
    st.lists(st.none() | st.integers() | st.text(max_size=3), max_size=3),
)
ATTRIBUTE = {"id": 5, "name": "color", "input_type": "select", "values": ["red"], "default_value": "red"}
POINT = {"id": 12, "name": "nose", "attributes": [ATTRIBUTE]}
LABELS = [{"id": 11, "name": "car", "type": "skeleton", "attributes": [ATTRIBUTE], "sublabels": [POINT]}]
META = {"size": 2, "chunk_size": 36, "deleted_frames": [1], "frames": [{"name": "a", "width": 4, "height": 3}] * 2}
JOBS = [{"id": 1, "start_frame": 0, "stop_frame": 1, "type": "annotation"}]


def spoilt(answer: Any, value: Any, chance: random.Random) -> Any:
    """The same with one value in it, however deep, replaced."""
    if not isinstance(answer, dict | list) or not answer or chance.random() < 0.1:
        return value
    changed: Any = answer.copy()
    key = chance.choice(list(changed)) if isinstance(changed, dict) else chance.randrange(len(changed))
    changed[key] = spoilt(changed[key], value, chance)
    return changed


@settings(max_examples=300, deadline=None)
@given(VALUES, st.integers(0, 2**32))
def test_any_description_is_read_or_refused(value: Any, seed: int) -> None:
    chance = random.Random(seed)
    entries = [entry if isinstance(entry, dict) else {} for entry in [spoilt(LABELS[0], value, chance)]]
    with suppress(BadOutput):
        labels = labels_of(entries)
        assert Labels(labels).ids
        json.dumps([label.label.name for label in labels], ensure_ascii=False).encode()  # can be stored
    for job in jobs_of([entry for entry in [spoilt(JOBS[0], value, chance)] if isinstance(entry, dict)]):
        assert isinstance(job.start, int)
    meta = spoilt(META, value, chance)
    with suppress(BadOutput):
        for frame in data_of({"mode": "annotation"}, meta if isinstance(meta, dict) else {}, None).frames:
            assert frame.name.encode()
            assert 0 < frame.width * frame.height < 2**31


def test_a_task_of_a_billion_frames_takes_no_memory() -> None:
    meta = {"size": 10**9, "chunk_size": 36, "frames": [{"name": "a.mp4", "width": 4, "height": 3}]}
    with pytest.raises(BadOutput, match=f"at most {MOST_FRAMES:,}"):
        data_of({"mode": "interpolation"}, meta, None)


def test_two_labels_of_one_name_are_refused() -> None:
    with pytest.raises(BadOutput, match="two labels"):
        labels_of([{"id": 1, "name": "car"}, {"id": 2, "name": "car"}])


def test_an_address_of_the_next_page_that_is_none_is_refused() -> None:
    assert _following("http://other/api/tasks?page=2", "tasks") == {"page": "2"}
    with pytest.raises(BadOutput, match="next page of tasks"):
        _following("http://[", "tasks")
