"""SAM 2's video predictor with random weights: our tracker's boxes equal those of the library's own session."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from adapters import sam_video
from adapters.base import Context
from adapters.frame import Frame
from adapters.promptable import Box, Segmenter, Tracker, abilities
from adapters.providers import adapter_for
from adapters.references import LocalFolder
from adapters.sam_video import Sam2Video
from tests import architectures

WIDTH, HEIGHT = 80, 60
BOXES: tuple[Box, ...] = ((10, 8, 40, 30), (35, 20, 70, 55))


def frame(t: int) -> Frame:
    pixels = np.random.default_rng(t).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return Frame(f"{t}", WIDTH, HEIGHT, pixels=pixels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return architectures.write(architectures.sam2_video, tmp_path_factory.mktemp("models") / "sam2_video")


@pytest.fixture
async def tracker(folder: Path, tmp_path: Path) -> AsyncIterator[Sam2Video]:
    context, reference = Context(tmp_path), LocalFolder(str(folder))
    adapter = adapter_for(reference)
    card = await adapter.resolve(reference, context)
    assert abilities(card) == ("segment", "track")
    async with await adapter.open(card, context) as opened:
        assert isinstance(opened, Sam2Video)
        assert isinstance(opened, Tracker)
        assert isinstance(opened, Segmenter)
        yield opened


def of_the_library(folder: Path, tracker: Sam2Video, box: Box, frames: int) -> list[Box | None]:
    """The boxes around the masks of a session that keeps everything."""
    model = transformers.Sam2VideoModel.from_pretrained(folder).eval()
    session = Sam2VideoInferenceSession(video_height=HEIGHT, video_width=WIDTH, dtype=torch.float32)
    corners = torch.tensor(box).reshape(1, 1, 2, 2) * torch.tensor([64 / WIDTH, 64 / HEIGHT])
    labels = torch.tensor([[[2, 3]]], dtype=torch.int32)
    session.add_point_inputs(session.obj_id_to_idx(1), 0, {"point_coords": corners, "point_labels": labels})
    session.obj_with_new_inputs = [1]
    found: list[Box | None] = []
    for t in range(frames):
        pixels = torch.from_numpy(tracker._to_tensor(frame(t).pixels).pixels[None])
        with torch.inference_mode():
            masks = model(inference_session=session, frame=pixels, frame_idx=t).pred_masks
        mask = torch.nn.functional.interpolate(masks, (HEIGHT, WIDTH), mode="bilinear")[0, 0].numpy() > 0
        rows, columns = np.nonzero(mask)
        found.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None)
    return found


async def test_boxes_equal_those_of_the_librarys_session_over_more_frames_than_it_looks_back(
    tracker: Sam2Video, folder: Path
) -> None:
    frames = 22  # beyond the 16 that object pointers reach back
    states: list[Any] = list(await tracker.begin(frame(0), BOXES))
    seen: list[list[Box]] = []
    for t in range(1, frames):
        found = await tracker.follow(frame(t), json.loads(json.dumps(states)))
        seen.append([box for box, _ in found])
        states = [state for _, state in found]
    assert len(json.dumps(states[0])) < 300
    wanted = [of_the_library(folder, tracker, box, frames) for box in BOXES]
    for i, start in enumerate(BOXES):
        last: Box = start
        for t in range(1, frames):
            last = wanted[i][t] or last
            assert seen[t - 1][i] == pytest.approx(last, abs=1.01), (i, t)
    assert any(each is not None for row in wanted for each in row[1:])


async def test_what_is_remembered_does_not_grow_with_the_film(tracker: Sam2Video) -> None:
    states: list[Any] = list(await tracker.begin(frame(0), BOXES[:1]))
    for t in range(1, 40):
        states = [state for _, state in await tracker.follow(frame(t), states)]
    (known,) = tracker._followed.values()
    config = tracker._video.config
    past = known.session.output_dict_per_obj[0]["non_cond_frame_outputs"]
    assert len(past) <= config.max_object_pointers_in_encoder
    assert sum("maskmem_features" in output for output in past.values()) <= config.num_maskmem
    assert not known.session.processed_frames
    assert not any("high_res_masks" in output for output in past.values())


async def test_a_memory_that_is_gone_begins_anew_from_the_last_box(
    tracker: Sam2Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam_video, "_MOST", 1)
    (first,) = await tracker.begin(frame(0), BOXES[:1])
    (second,) = await tracker.begin(frame(0), BOXES[1:])
    assert list(tracker._followed) == [second["object"]]
    ((box, state),) = await tracker.follow(frame(1), [first])
    assert box == BOXES[0]
    assert state["object"] not in (first["object"], second["object"])
    other_size = Frame("large", 160, 120, pixels=np.zeros((120, 160, 3), np.uint8))
    ((box, _),) = await tracker.follow(other_size, [state])
    assert box == BOXES[0]


@pytest.mark.parametrize(
    "state",
    [{}, None, {"object": 5, "box": [0, 0, 1, 1]}, {"object": "x", "box": [0, 0, 1]}, {"object": "x", "box": "wide"},
     {"object": "x", "box": [0, 0, float("nan"), 1]}, {"object": "x", "box": [3, 3, 3, 3]},
     {"object": "x", "box": [0, 0, 1e9, 1]}],
    ids=str,
)  # fmt: skip
async def test_states_that_a_client_has_changed_are_refused(tracker: Sam2Video, state: Any) -> None:
    with pytest.raises(ValueError, match="state"):
        await tracker.follow(frame(1), [state])
