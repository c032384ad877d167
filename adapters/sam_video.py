"""SAM 2's video predictor as a tracker: a box is segmented, and its mask is followed from frame to frame.

What the model remembers of an object is some megabytes, too much for a state that clients carry: it stays here under a
random name. A state whose memory is gone, because the program was restarted or too many objects were followed since,
begins anew from its last box.
"""

from __future__ import annotations

import math
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its name everywhere)
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from adapters.base import ModelCard
from adapters.errors import BadOutput
from adapters.frame import Frame
from adapters.preprocess import Preprocessor, Tensor
from adapters.promptable import Box, State
from adapters.sam import Sam

_MOST = 32  # objects that are remembered; the one not followed for longest is forgotten
_CORNERS = (2, 3)  # how SAM's prompt encoder is told the corners of a box
_USED = "non_cond_frame_outputs"


@dataclass(slots=True, eq=False)
class _Followed:
    """One object's memory; ``time`` counts the frames that it was followed over."""

    session: Sam2VideoInferenceSession
    time: int = 0


class Sam2Video(Sam):
    """A ``Segmenter``, as SAM 2 is, and a ``Tracker``; the video model is loaded with the first track."""

    def __init__(self, card: ModelCard, model: Any, to_tensor: Preprocessor, load_video: Callable[[], Any]) -> None:
        super().__init__(card, model, to_tensor)
        self._load_video = load_video
        self._video: Any = None
        self._followed: OrderedDict[str, _Followed] = OrderedDict()

    async def begin(self, frame: Frame, boxes: Sequence[Box]) -> list[State]:
        return await self.call(partial(self._begin_all, frame, boxes))

    async def follow(self, frame: Frame, states: Sequence[State]) -> list[tuple[Box, State]]:
        read = [_read(state) for state in states]
        return await self.call(partial(self._follow_all, frame, read))

    def release(self) -> None:
        super().release()
        self._video = None
        self._followed.clear()

    def _begin_all(self, frame: Frame, boxes: Sequence[Box]) -> list[State]:
        seen = self._look(frame)
        return [self._begin(frame, seen, box)[1] for box in boxes]

    def _follow_all(self, frame: Frame, states: Sequence[tuple[str, Box]]) -> list[tuple[Box, State]]:
        seen = self._look(frame)
        return [self._follow(frame, seen, name, box) for name, box in states]

    def _look(self, frame: Frame) -> tuple[Tensor, Mapping[str, Any]]:
        """The frame for the model, and its features, which all objects on it share."""
        if self._video is None:
            self._video = self._load_video()
        tensor = self._to_tensor(frame.pixels)
        with torch.inference_mode():
            found = self._video.get_image_features(self._on_device(tensor.pixels[None]), return_dict=True)
        return tensor, {"vision_feats": found.fpn_hidden_states, "vision_pos_embeds": found.fpn_position_encoding}

    def _begin(self, frame: Frame, seen: tuple[Tensor, Mapping[str, Any]], box: Box) -> tuple[Box, State]:
        device = self._video.device
        session = Sam2VideoInferenceSession(
            video_height=frame.height,
            video_width=frame.width,
            inference_device=device,
            inference_state_device=device,
            dtype=torch.float32,
        )
        share = np.array([seen[0].width / frame.width, seen[0].height / frame.height], np.float32)
        corners = np.asarray(box, np.float32).reshape(1, 1, 2, 2) * share
        asked = {"point_coords": torch.from_numpy(corners), "point_labels": torch.tensor([[_CORNERS]]).int()}
        session.add_point_inputs(session.obj_id_to_idx(1), 0, asked)
        session.obj_with_new_inputs = [1]
        name = secrets.token_hex(16)
        self._followed[name] = _Followed(session)
        while len(self._followed) > _MOST:
            self._followed.popitem(last=False)
        self._step(self._followed[name], frame, seen)
        return box, {"object": name, "box": list(box)}

    def _follow(self, frame: Frame, seen: tuple[Tensor, Mapping[str, Any]], name: str, box: Box) -> tuple[Box, State]:
        known = self._followed.get(name)
        if known is None or (known.session.video_height, known.session.video_width) != (frame.height, frame.width):
            return self._begin(frame, seen, box)
        self._followed.move_to_end(name)
        known.time += 1
        found = self._step(known, frame, seen) or box
        return found, {"object": name, "box": list(found)}

    def _step(self, known: _Followed, frame: Frame, seen: tuple[Tensor, Mapping[str, Any]]) -> Box | None:
        """The box around the object's mask on this frame; None where it is not seen."""
        session = known.session
        session.cache.cache_vision_features(known.time, dict(seen[1]))
        with torch.inference_mode():
            answer = self._video(
                inference_session=session, frame=torch.from_numpy(seen[0].pixels[None]), frame_idx=known.time
            )
            size = (frame.height, frame.width)
            logits = F.interpolate(answer.pred_masks.float(), size, mode="bilinear", align_corners=False)[0, 0]
            if not torch.isfinite(logits).all():
                raise BadOutput("The model answered numbers that are not finite (NaN or infinite).")
            mask = (logits > 0).cpu().numpy()
        self._forget_what_is_not_used(known)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return None
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)

    def _forget_what_is_not_used(self, known: _Followed) -> None:
        """The model looks back at the masks of some frames and at pointers of some more; the rest would only grow."""
        config, session = self._video.config, known.session
        session.processed_frames = {}
        session.cache.clear_all()
        for outputs in session.output_dict_per_obj[0].values():
            for output in outputs.values():
                output.pop("high_res_masks", None)
        past = session.output_dict_per_obj[0][_USED]
        for time in list(past):
            if known.time - time >= config.max_object_pointers_in_encoder:
                del past[time]
            elif known.time - time >= config.num_maskmem:
                past[time].pop("maskmem_features", None)
                past[time].pop("maskmem_pos_enc", None)


def _read(state: Mapping[str, Any]) -> tuple[str, Box]:
    """Raises ValueError where the state was not made here."""
    name, box = (state.get("object"), state.get("box")) if isinstance(state, Mapping) else (None, None)
    is_box = isinstance(box, (list, tuple)) and len(box) == 4 and all(isinstance(v, (int, float)) for v in box)
    if not isinstance(name, str) or not is_box or not all(math.isfinite(v) and abs(v) < 1e6 for v in box or ()):
        raise ValueError("this is no state of SAM 2's tracker")
    x1, y1, x2, y2 = (float(v) for v in box or ())
    if x2 <= x1 or y2 <= y1:
        raise ValueError("the box in the tracker's state has no area")
    return name, (x1, y1, x2, y2)
