"""Several models as one: a detector, and others that look at what it found. ``cascade:{JSON}`` writes it down.

    cascade:{"detector": "model:faces", "attributes": [{"attribute": "emotion", "model": "org/emotions"}]}

A model is a reference of any other kind, or ``model:NAME`` for one that is registered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.references.pasted import refusal

SCHEME = "cascade:"
REGISTERED = "model:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_HINT = (
    'Write cascade:{"detector": MODEL, "attributes": [{"attribute": NAME, "model": MODEL}]}; a MODEL is a reference, '
    "or model:NAME for a registered one."
)

InputType = Literal["select", "radio", "number", "text"]


@dataclass(frozen=True, slots=True)
class AttributeBy:
    """An attribute and the classifier that says its value.

    labels      of the detector whose crops are classified; none: all
    values      what a classifier with an open vocabulary chooses from; none: its own labels
    threshold   least score of an answer; below it the shape goes without the attribute
    """

    attribute: str
    model: str
    input_type: InputType = "select"
    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class Cascade:
    """``pose``: a model of poses that makes a skeleton of every box with one of ``pose_labels`` (none: of every box).

    ``margin``: how much of its width and height a crop is wider and higher on every side.
    """

    detector: str
    attributes: tuple[AttributeBy, ...] = ()
    pose: str = ""
    pose_labels: tuple[str, ...] = ()
    margin: float = 0.0

    @property
    def models(self) -> tuple[str, ...]:
        """Every model, as it was written."""
        return (self.detector, *(each.model for each in self.attributes), *([self.pose] if self.pose else []))

    @property
    def registered(self) -> tuple[str, ...]:
        """Names of those that are registered."""
        return tuple(text.removeprefix(REGISTERED) for text in self.models if text.startswith(REGISTERED))

    @property
    def canonical(self) -> str:
        return SCHEME + json.dumps(self.as_json(), ensure_ascii=True, separators=(",", ":"))

    def as_json(self) -> dict[str, Any]:
        """Without what is as it is by default."""
        attributes = []
        for each in self.attributes:
            written = {"attribute": each.attribute, "model": each.model, "type": each.input_type}
            further = {"labels": list(each.labels), "values": list(each.values), "threshold": each.threshold}
            attributes.append(written | {name: value for name, value in further.items() if value})
        whole = {
            "detector": self.detector,
            "attributes": attributes,
            "pose": self.pose,
            "pose_labels": list(self.pose_labels),
            "margin": self.margin,
        }
        return {name: value for name, value in whole.items() if value}


_Text = Annotated[str, Field(min_length=1, max_length=2000)]
_Label = Annotated[str, Field(min_length=1, max_length=200)]
_Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\S(.*\S)?$")]


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Attribute(_Written):
    attribute: _Name
    model: _Text
    type: InputType = "select"
    labels: tuple[_Label, ...] = Field(default=(), max_length=1000)
    values: tuple[_Label, ...] = Field(default=(), max_length=1000)
    threshold: float = Field(default=0.0, ge=0, le=1)


class _Cascade(_Written):
    detector: _Text
    attributes: tuple[_Attribute, ...] = Field(default=(), max_length=20)
    pose: str = Field(default="", max_length=2000)
    pose_labels: tuple[_Label, ...] = Field(default=(), max_length=1000)
    margin: float = Field(default=0.0, ge=0, le=2)


def from_text(text: str, canonical: Callable[[str], str]) -> Cascade:
    """``canonical`` turns the reference of a part into its canonical text. Raises InvalidReference."""
    try:
        written = _Cascade.model_validate(json.loads(text.removeprefix(SCHEME)))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise refusal(f"The cascade cannot be understood: {where}: {first['msg']}.", _HINT) from None
    except (ValueError, RecursionError):
        raise refusal("Behind cascade: stands no JSON.", _HINT) from None
    names = [each.attribute for each in written.attributes]
    if len(set(names)) < len(names):
        raise refusal("The cascade names an attribute twice.", _HINT)
    if not names and not written.pose:
        raise refusal("The cascade has nothing to ask about what the detector finds.", _HINT)
    if written.pose_labels and not written.pose:
        raise refusal("The cascade has labels of poses, but no model of poses.", _HINT)

    def part(model: str) -> str:
        model = model.strip()
        if model.startswith(SCHEME):
            raise refusal("A cascade cannot be part of a cascade.", _HINT)
        if not model.startswith(REGISTERED):
            return canonical(model)
        if not _NAME.fullmatch(model.removeprefix(REGISTERED)):
            raise refusal("Behind model: stands no name of a registered model.", _HINT)
        return model

    return Cascade(
        part(written.detector),
        tuple(
            AttributeBy(each.attribute, part(each.model), each.type, each.labels, each.values, each.threshold)
            for each in written.attributes
        ),
        part(written.pose) if written.pose else "",
        written.pose_labels,
        written.margin,
    )
