"""The ``model_version`` of predictions: the same for the same model, mapping and settings, another for any other.

Label Studio leaves a task out of a request where it holds a prediction of the version that /setup named, and compares
nothing else. So everything that changes an answer has to change the version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from bridge.domain import Model
from bridge.job_spec import JobSpec
from bridge.label_studio.config import LabelConfig

_REVISION_LETTERS = 8
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

# What a job can be told that changes its shapes, beside threshold and mapping.
_SHAPING = (
    "label_thresholds",
    "masks_as_polygons",
    "nms",
    "min_size",
    "top_k",
    "roi",
    "tiling",
    "prompts",
    "keep_manual_iou",
)


def stem_of(name: str) -> str:
    """What every version of a model or profile of this name begins with."""
    return f"{name}@"


def version_of(
    name: str,
    model: Model,
    threshold: float,
    pairs: Mapping[str, str],
    config: LabelConfig,
    spec: JobSpec | None = None,
) -> str:
    """Such as ``street@1a2b3c4d-t0.5-9f3c2e``: name, revision, threshold, and a digest of all that is said here."""
    told: dict[str, Any] = {}
    if spec is not None:
        usual = JobSpec(target=spec.target, model_id=spec.model_id)
        mine, theirs = spec.model_dump(mode="json"), usual.model_dump(mode="json")
        told = {key: mine[key] for key in _SHAPING if key in mine and mine[key] != theirs[key]}
    controls = [[c.name, c.to_name, c.kind, dict(c.labels), c.multiple] for c in config.controls]
    meant = [model.card.reference, model.card.revision, threshold, dict(pairs), controls, told]
    digest = hashlib.sha256(json.dumps(meant, sort_keys=True).encode()).hexdigest()[:6]
    revision = _UNSAFE.sub("", model.card.revision)[:_REVISION_LETTERS]
    return f"{stem_of(name)}{revision or 'none'}-t{threshold:g}-{digest}"
