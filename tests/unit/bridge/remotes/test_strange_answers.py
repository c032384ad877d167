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
from bridge.errors import TooLarge
from bridge.remotes.cvat.client import _following
from bridge.remotes.cvat.description import Labels, RemoteJob, data_of, jobs_of, labels_of
from tests.strange import VALUES, spoilt

ATTRIBUTE = {"id": 5, "name": "color", "input_type": "select", "values": ["red"], "default_value": "red"}
POINT = {"id": 12, "name": "nose", "attributes": [ATTRIBUTE]}
LABELS = [{"id": 11, "name": "car", "type": "skeleton", "attributes": [ATTRIBUTE], "sublabels": [POINT]}]
META = {"size": 2, "chunk_size": 36, "deleted_frames": [1], "frames": [{"name": "a", "width": 4, "height": 3}] * 2}
MOST = 1000
JOBS = [{"id": 1, "start_frame": 0, "stop_frame": 1, "type": "annotation"}]


@settings(max_examples=300)
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
    with suppress(BadOutput, TooLarge):
        for frame in data_of({"mode": "annotation"}, meta if isinstance(meta, dict) else {}, None, MOST).frames:
            assert frame.name.encode()
            assert 0 < frame.width * frame.height < 2**31


def test_a_task_of_a_billion_frames_takes_no_memory() -> None:
    meta = {"size": 10**9, "chunk_size": 36, "frames": [{"name": "a.mp4", "width": 4, "height": 3}]}
    with pytest.raises(TooLarge, match="1,000,000,000 frames; a task takes at most 1,000") as refused:
        data_of({"mode": "interpolation"}, meta, None, MOST)
    assert "max_task_frames" in refused.value.hint
    within = RemoteJob(5, 10**6, 10**6 + MOST - 1)
    assert len(data_of({"mode": "interpolation"}, meta, within, MOST).frames) == MOST


def test_two_labels_of_one_name_are_refused() -> None:
    with pytest.raises(BadOutput, match="two labels"):
        labels_of([{"id": 1, "name": "car"}, {"id": 2, "name": "car"}])


def test_an_address_of_the_next_page_that_is_none_is_refused() -> None:
    assert _following("http://other/api/tasks?page=2", "tasks") == {"page": "2"}
    with pytest.raises(BadOutput, match="next page of tasks"):
        _following("http://[", "tasks")
