"""What a model with an open vocabulary is asked to look for: the task's labels, by their names or by prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from adapters.base import ModelCard
from bridge.domain import HAND_DRAWN_TYPES, TaskLabel
from bridge.errors import InvalidRequest
from bridge.mapping import check_choices, some
from bridge.shapes import can_become

MOST_LABELS = 1000  # every one of them is read by the model for every frame
CHOOSES = "zero-shot-image-classification"  # gives all of its score to the labels that it was told

Prompts = Mapping[str, tuple[str, ...]]


def prompts_of(
    card: ModelCard,
    prompts: Mapping[str, str | Sequence[str]],
    mapping: Mapping[str, str],
    task_labels: Sequence[TaskLabel],
) -> dict[str, tuple[str, ...]]:
    """Task label -> texts to look for, () for its name; {} for a model with labels of its own.

    All labels that a shape of the model can become are asked for, but those that the mapping leaves out. Raises
    InvalidRequest where a prompt is for no label of the task, where two labels have the same text, or where too few
    or too many labels are left.
    """
    if card.labels is not None:
        check_asked(card, prompts)
        return {}
    given = {label: (text,) if isinstance(text, str) else tuple(text) for label, text in prompts.items()}
    names = [label.name for label in task_labels]
    _check_known(given, names)
    _check_mapping(card, mapping)
    check_choices(mapping, names, task_labels)
    asked = {
        label.name: given.get(label.name, ())
        for label in task_labels
        if mapping.get(label.name) != "" and (label.name in given or _fits(card, label))
    }
    if not asked and any(not label for label in mapping.values()):
        raise InvalidRequest(
            "The mapping leaves out every label that the model could look for.",
            hint="Keep one of them, or make a label of another type.",
            code="bad_prompts",
        )
    _check(card, asked)
    return asked


def check_asked(card: ModelCard, prompts: Mapping[str, object]) -> None:
    """Raise InvalidRequest where prompts are given to a model with fixed labels, or none to an open vocabulary."""
    if card.labels is not None and prompts:
        raise InvalidRequest(
            f"{card.name} finds its own labels and takes no prompts.",
            hint="Map its labels to the task's, for example: --map car=vehicle",
            code="bad_prompts",
        )
    if card.labels is None and not prompts:
        raise InvalidRequest(
            f"{card.name} has an open vocabulary and needs prompts.",
            hint='Say what to look for: --prompt car="a red car", or in JSON {"car": ["a red car"]}.',
            code="bad_prompts",
        )


def prompted(card: ModelCard, prompts: Mapping[str, Sequence[str]]) -> ModelCard:
    """The card of an open vocabulary with the labels that it was asked for; any other card as it is."""
    return replace(card, labels=tuple(prompts)) if card.labels is None and prompts else card


def prompts_from_json(value: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...]]:
    """As ``Pinned.resolved`` keeps them; jobs of earlier versions have none."""
    return {label: tuple(texts) for label, texts in (value or {}).items()}


def _fits(card: ModelCard, label: TaskLabel) -> bool:
    if label.type in HAND_DRAWN_TYPES:
        return False
    return any(can_become(shape_type, label.type) for shape_type in card.shape_types)


def _check_known(given: Prompts, names: Sequence[str]) -> None:
    for label in given:
        if label not in names:
            raise InvalidRequest(
                f"A prompt is for {label!r}, which is no label of the task.",
                hint=f"It has: {some(sorted(names))}.",
                code="unknown_label",
            )


def _check_mapping(card: ModelCard, mapping: Mapping[str, str]) -> None:
    """Each label stands for itself: a mapping can only leave one out."""
    for asked, label in mapping.items():
        if label not in ("", asked):
            raise InvalidRequest(
                f"{card.name} looks for the task's own labels; {asked!r} cannot be mapped to {label!r}.",
                hint=f'Say what {label!r} looks like instead: --prompt {label}="{asked}"',
                code="bad_prompts",
            )


def _check(card: ModelCard, asked: Prompts) -> None:
    if not asked:
        raise InvalidRequest(
            f"{card.name} makes {' and '.join(card.shape_types)}, which no label of the task can be.",
            hint="Make a label of that type, or of type any.",
            code="wrong_shape",
        )
    if len(asked) > MOST_LABELS:
        raise InvalidRequest(
            f"{len(asked)} labels are more than the {MOST_LABELS} that a model can be asked for.",
            hint="Leave some out: --map LABEL=",
            code="bad_prompts",
        )
    texts = Counter(text.strip().casefold() for label, said in asked.items() for text in (said or (label,)))
    (text, count), *_ = texts.most_common(1)
    if count > 1:
        raise InvalidRequest(
            f"The text {text!r} is asked for {count} times; what is found could be any of its labels.",
            hint="Give each label texts of its own.",
            code="bad_prompts",
        )
    if card.task_type == CHOOSES and len(asked) < 2:
        raise InvalidRequest(
            f"{card.name} chooses between labels, so a task with one label would get it on every frame.",
            hint='Give the task a second label, such as other, with --prompt other="a photo of something else".',
            code="bad_prompts",
        )
