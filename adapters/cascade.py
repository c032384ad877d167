"""Several models as one: a detector, classifiers whose answers become attributes of its shapes, a model of poses.

The card holds the cards of the parts, so each is pinned, and a cascade outlives what happens to them in the registry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from adapters import providers
from adapters.base import Context, Limits, ModelCard, Predictor
from adapters.cards import RunsOn, card_as_json, card_from_json, on_device
from adapters.cascade_predictor import Asked, CascadePredictor, Poses
from adapters.errors import ModelNotFound, Unsupported
from adapters.graph_session import FAST
from adapters.references import Cascade, parse_reference
from adapters.references.cascade import REGISTERED, AttributeBy

_POSES = "keypoint-detection"
_MOST = 1_000_000  # of an attribute that is a number


class Cascades:
    """The Adapter of ``Cascade``."""

    async def resolve(self, reference: Cascade, context: Context) -> ModelCard:
        """Raises Unsupported where the parts do not go together."""
        detector = await _card(reference.detector, context)
        _check_detector(detector)
        asked = [(each, await _card(each.model, context)) for each in reference.attributes]
        for each, card in asked:
            _check_labels(detector, each.labels)
            _check_classifier(each, card)
        pose = await _card(reference.pose, context) if reference.pose else None
        if pose is not None:
            _check_labels(detector, reference.pose_labels)
            if pose.task_type != _POSES or "experts" not in pose.settings:
                text = f"{pose.name} makes no poses of boxes."
                raise Unsupported(text, hint="Take a ViTPose model, which is run here by transformers.")
        return _described(reference, detector, asked, pose)

    async def fetch(self, card: ModelCard, context: Context) -> None:
        for part in _parts(card):
            await providers.adapter_for_card(part).fetch(part, context)

    async def open(self, card: ModelCard, context: Context) -> Predictor:
        async with AsyncExitStack() as stack:
            opened = []
            for part in _parts(card):
                predictor = await providers.adapter_for_card(part).open(part, context)
                stack.push_async_callback(predictor.close)
                opened.append(predictor)
            made = _assembled(card, opened)
            stack.pop_all()
        return made


async def _card(text: str, context: Context) -> ModelCard:
    if text.startswith(REGISTERED):
        name = text.removeprefix(REGISTERED)
        if name not in context.registered:
            raise ModelNotFound(f"There is no registered model {name}.", hint="Add it first: hubbridge model add URL")
        card = context.registered[name]
        if card.provider == "cascade":
            raise Unsupported(f"{name} is a cascade, which cannot be part of another one.")
        return card
    reference = parse_reference(text).reference
    return await providers.adapter_for(reference).resolve(reference, context)


def _parts(card: ModelCard) -> list[ModelCard]:
    """The detector, the classifiers in their order, the model of poses where there is one."""
    return [card_from_json(written) for written in card.settings["parts"]]


def _check_detector(card: ModelCard) -> None:
    if not set(card.shape_types) - {"tag", "skeleton"}:
        made = " and ".join(card.shape_types) or "no shapes"
        raise Unsupported(f"{card.name} makes {made}; a cascade begins with a model that finds things.")


def _check_labels(detector: ModelCard, labels: Sequence[str]) -> None:
    for label in labels:
        if detector.labels is not None and label not in detector.labels:
            some = ", ".join(detector.labels[:12]) + (" ..." if len(detector.labels) > 12 else "")
            raise Unsupported(f"{detector.name} has no label {label!r}.", hint=f"It has: {some}.")


def _check_classifier(asked: AttributeBy, card: ModelCard) -> None:
    if card.shape_types != ("tag",):
        raise Unsupported(f"{card.name} is no classifier, so it cannot say the attribute {asked.attribute}.")
    if card.labels is None and len(asked.values) < 2:
        raise Unsupported(
            f"{card.name} has an open vocabulary; the attribute {asked.attribute} needs values to choose from.",
            hint='Give two or more, for example "values": ["red", "blue"].',
        )
    if card.labels is not None and asked.values:
        raise Unsupported(f"{card.name} has values of its own for {asked.attribute}.", hint="Leave the values out.")
    numbers = _says_number(card) or all(_is_number(label) for label in card.labels or asked.values)
    if asked.input_type == "number" and not numbers:
        raise Unsupported(
            f"{card.name} does not answer numbers, so {asked.attribute} cannot be one.", hint="Make it a select."
        )
    if asked.input_type != "number" and _says_number(card):
        raise Unsupported(f"{card.name} answers a number.", hint=f"Make {asked.attribute} a number.")


def _says_number(card: ModelCard) -> bool:
    """Whether its tags carry a number themselves (the layout ``number`` of ONNX files)."""
    return bool(card.settings.get("number"))


def _is_number(text: str) -> bool:
    return text.strip().isascii() and text.strip().isdigit()


def _described(
    reference: Cascade, detector: ModelCard, asked: Sequence[tuple[AttributeBy, ModelCard]], pose: ModelCard | None
) -> ModelCard:
    cards = [detector, *(card for _, card in asked), *([pose] if pose else [])]
    whole = detector if pose is None else replace(detector, labels=pose.labels, shape_types=pose.shape_types)
    further = {"sublabels": list(pose.settings["sublabels"])} if pose else {}
    hosted = any(card.engine == "hosted" for card in cards)
    pinned = [reference.as_json(), *([card.reference, card.revision, card.engine] for card in cards)]
    what = [*(each.attribute for each, _ in asked), *(["poses"] if pose else [])]
    return replace(
        whole,
        name=f"{detector.name.rpartition('/')[2]} with {' and '.join(what)}",
        provider="cascade",
        reference=reference.canonical,
        revision=hashlib.sha256(json.dumps(pinned).encode()).hexdigest()[:40],
        task_type=_POSES if pose else detector.task_type,
        engine="hosted" if hosted else detector.engine,
        licence="; ".join(dict.fromkeys(card.licence or "not stated" for card in cards)),
        gated=any(card.gated for card in cards),
        weights_bytes=_sum(cards),
        limits=_limits([card.limits for card in cards]),
        settings={
            **further,
            "label_specs": _label_specs(detector, whole, asked, pose is not None),
            "parts": [card_as_json(card) for card in cards],
            "cascade": reference.as_json(),
        },
        notes=(
            *_says(detector, asked, pose),
            *dict.fromkeys(note for card in cards for note in card.notes),
        ),
    )


def _says(
    detector: ModelCard, asked: Sequence[tuple[AttributeBy, ModelCard]], pose: ModelCard | None
) -> tuple[str, ...]:
    notes = [f"{detector.name} ({detector.engine}) finds the shapes."]
    notes += [f"{card.name} ({card.engine}) says the attribute {each.attribute}." for each, card in asked]
    if pose is not None:
        notes.append(f"{pose.name} ({pose.engine}) makes a skeleton of every box.")
    return tuple(notes)


def _sum(cards: Sequence[ModelCard]) -> int | None:
    sizes = [card.weights_bytes for card in cards]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _limits(limits: Sequence[Limits]) -> Limits:
    """Of a call: as many frames as the detector takes, and the time of all."""
    rates = [each.requests_per_second for each in limits if each.requests_per_second]
    return replace(
        limits[0],
        requests_per_second=min(rates) if rates else None,
        timeout_s=sum(each.timeout_s for each in limits),
        max_bytes=None,
    )


def _label_specs(
    detector: ModelCard, whole: ModelCard, asked: Sequence[tuple[AttributeBy, ModelCard]], is_pose: bool
) -> list[dict[str, Any]]:
    """What each label carries: the detector's own attributes, and those of the classifiers that look at it."""
    own: Mapping[str, Mapping[str, Any]] = {spec["name"]: spec for spec in detector.settings.get("label_specs") or ()}
    specs = []
    for label in dict.fromkeys(whole.labels or ()):
        spec = dict(own.get(label) or {"name": label, "type": _only(whole.shape_types)})
        if is_pose:
            spec["sublabels"] = []  # they stand in settings["sublabels"]
        further = [_attribute(each, card) for each, card in asked if is_pose or not each.labels or label in each.labels]
        names = {each["name"] for each in further}
        kept = [each for each in spec.get("attributes") or () if each.get("name") not in names]
        specs.append({**spec, "attributes": [*kept, *further]})
    return specs


def _only(shape_types: Sequence[str]) -> str:
    return shape_types[0] if len(shape_types) == 1 else "any"


def _attribute(asked: AttributeBy, card: ModelCard) -> dict[str, Any]:
    values: list[str] = list(card.labels or asked.values)
    if asked.input_type == "number":
        values = ["0", str(_MOST), "1"]
    elif asked.input_type == "text":
        values = []
    return {"name": asked.attribute, "input_type": asked.input_type, "values": values}


def _assembled(card: ModelCard, opened: Sequence[Any]) -> CascadePredictor:
    reference = _written(card)
    detector, classifiers = opened[0], opened[1 : 1 + len(reference.attributes)]
    pose = Poses(opened[-1], reference.pose_labels) if reference.pose else None
    limits = _limits([each.card.limits for each in opened])
    asked = [Asked(each, predictor) for each, predictor in zip(reference.attributes, classifiers, strict=True)]
    runs_on = RunsOn.of(detector.card)
    if runs_on.device and card.engine != "hosted":
        card = replace(on_device(card, runs_on.device, half=runs_on.precision == FAST), engine=runs_on.engine)
    return CascadePredictor(replace(card, limits=limits), detector, asked, pose, reference.margin)


def _written(card: ModelCard) -> Cascade:
    """The cascade that the card was made of; its parts stand in the card themselves."""
    written = card.settings["cascade"]
    return Cascade(
        written["detector"],
        tuple(
            AttributeBy(
                each["attribute"],
                each["model"],
                each["type"],
                tuple(each.get("labels", ())),
                tuple(each.get("values", ())),
                each.get("threshold", 0.0),
            )
            for each in written.get("attributes", ())
        ),
        written.get("pose", ""),
        tuple(written.get("pose_labels", ())),
        written.get("margin", 0.0),
    )
