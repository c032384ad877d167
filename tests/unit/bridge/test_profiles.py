"""Profiles: making them, what they refuse, the one space of names, and what stands under their words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.base import Detections, Mask
from bridge.domain import TaskLabel
from bridge.errors import BridgeError, Conflict, InvalidRequest, NotFound
from bridge.masks import mask_from_crop
from bridge.profiles import Named, Profiles
from bridge.task_labels import labels_from_json, parse_labels
from bridge.words import words_of
from tests.unit.bridge.world import CARD, World, world


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path, monkeypatch) as made:
        yield made


def profiles(here: World) -> Profiles:
    return Profiles(here.store, here.registry)


async def add(here: World, labels: str = "Car,pedestrian", **values: Any) -> Any:
    name = values.pop("name", "traffic")
    return await profiles(here).add(name, here.model, parse_labels(labels), **values)


async def test_a_profile_pins_what_is_certain_and_what_was_chosen(here: World) -> None:
    made = await add(here, chosen={"person": "pedestrian"}, threshold=0.3, title="RT-DETR for Traffic")
    profile = made.profile
    assert dict(profile.pairs) == {"car": "Car", "person": "pedestrian"}
    assert [label.name for label in profile.labels] == ["Car", "pedestrian"]
    assert (profile.name, profile.title, profile.threshold) == ("traffic", "RT-DETR for Traffic", 0.3)
    assert [match.model_label for match in made.matches] == ["car", "person", "tree"]
    stored = profiles(here)
    assert await stored.find("traffic") == await stored.find(str(profile.id)) == await stored.get(profile.id) == profile
    assert await stored.page() == [profile]
    mapping = await here.sql("SELECT id, task_id, version FROM mappings")
    assert mapping == [(profile.mapping_id, None, 1)]
    await stored.remove(profile.id)
    for gone in (stored.get(profile.id), stored.find("traffic"), stored.remove(profile.id)):
        with pytest.raises(NotFound, match="profile"):
            await gone


async def test_labels_that_nothing_fills_are_no_part_of_it(here: World) -> None:
    profile = (await add(here, "car,unicorn")).profile
    assert [label.name for label in profile.labels] == ["car"]


@pytest.mark.parametrize(
    ("labels", "values", "code"),
    [
        ("unicorn", {}, "nothing_matched"),
        ("car", {"chosen": {"nothing": "car"}}, "unknown_label"),
        ("car", {"chosen": {"person": "walker"}}, "unknown_label"),
        ("car:tag", {"chosen": {"car": "car"}}, None),
        ("car:cuboid", {"chosen": {"car": "car"}}, "wrong_shape"),
        ("car", {"prompts": {"car": ["a car"]}}, "bad_prompts"),
        ("car", {"threshold": 1.5}, "invalid_request"),
        ("car", {"title": "a\nb"}, "invalid_request"),
        ("car", {"name": "a b"}, "invalid_request"),
    ],
)
async def test_what_cannot_become_a_profile_is_refused(
    here: World, labels: str, values: dict[str, Any], code: str | None
) -> None:
    if code is None:
        await add(here, labels, **values)
        return
    with pytest.raises(InvalidRequest) as refusal:
        await add(here, labels, **values)
    assert refusal.value.code == code
    assert await profiles(here).page() == []


async def test_profiles_and_models_share_their_names_and_a_used_model_stays(here: World) -> None:
    profile = (await add(here, "car")).profile
    with pytest.raises(Conflict, match="traffic"):
        await add(here, "car")
    with pytest.raises(Conflict, match=here.model.name):
        await add(here, "car", name=here.model.name)
    with pytest.raises(Conflict, match="profile named traffic"):
        await here.registry.add("/models/other", name="traffic")
    with pytest.raises(Conflict, match="profile named traffic"):
        await here.registry.set(here.model.id, name="traffic")
    other, _ = await here.registry.add("/models/traffic")
    assert other.name == "traffic-2"
    with pytest.raises(Conflict, match="profile traffic uses"):
        await here.registry.remove(here.model.id)
    await profiles(here).remove(profile.id)
    await here.registry.remove(here.model.id)


async def test_a_name_stands_for_a_model_or_a_profile_and_a_number_for_neither(here: World) -> None:
    profile = (await add(here, "car", threshold=0.2)).profile
    stored = profiles(here)
    by_profile, by_model = await stored.named("traffic"), await stored.named(here.model.name)
    assert by_profile == Named(here.model, profile)
    assert by_model == Named(here.model)
    assert (by_profile.threshold, by_model.threshold) == (0.2, here.model.threshold)
    assert await stored.named(str(here.model.id)) is None
    assert [each.name for each in await stored.everything()] == [here.model.name, "traffic"]


async def test_an_open_vocabulary_is_asked_for_the_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path, monkeypatch) as here:
        here.adapter.card = replace(CARD, labels=None, name="open")
        model, _ = await here.registry.add("/models/open")
        made = await profiles(here).add(
            "signs", model, parse_labels("stop,yield:rectangle,x:cuboid"), prompts={"stop": ["a stop sign"]}
        )
        assert dict(made.profile.prompts) == {"stop": ("a stop sign",), "yield": ()}
        assert made.profile.mapping_id is None
        words = words_of(Named(model, made.profile))
        assert [(label.name, label.type) for label in words.labels] == [("stop", "rectangle"), ("yield", "rectangle")]
        found = Detections(("stop", "yield"), np.array([[1, 2, 30, 40]]), np.array([0.9]), np.array([1]))
        assert [shape.label for shape in words.shapes(found, 0.5, (100, 80))] == ["yield"]
        values = Named(model, made.profile).job_values(parse_labels("stop,other"), {"prompts": {}, "threshold": None})
        assert values == {"mapping": {"other": ""}, "prompts": {"stop": ["a stop sign"]}, "threshold": model.threshold}


async def test_types_are_narrowed_to_what_the_model_makes(here: World) -> None:
    chosen = {"person": "person", "tree": "tree"}
    made = await add(here, "car,person:polygon,tree:tag", chosen=chosen)
    words = words_of(Named(here.model, made.profile), "score")
    assert [(label.name, label.type) for label in words.labels] == [
        ("car", "rectangle"), ("person", "polygon"), ("tree", "tag")
    ]  # fmt: skip
    assert [[each.name for each in label.attributes] for label in words.labels] == [["score"]] * 3
    found = Detections(("car", "person", "tree"), np.tile([1, 2, 30, 40], (3, 1)), np.full(3, 0.9), np.arange(3))
    shapes = words.shapes(found, 0.5, (100, 80))
    assert [(shape.label, shape.type) for shape in shapes] == [
        ("car", "rectangle"), ("person", "polygon"), ("tree", "tag")
    ]  # fmt: skip


async def test_a_mask_under_a_polygon_label_gives_its_parts_as_one_group(here: World) -> None:
    here.adapter.card = replace(CARD, shape_types=("mask",))
    model, _ = await here.registry.add("/models/masks")
    profile = (await profiles(here).add("outlines", model, parse_labels("car:polygon"), chosen={"car": "car"})).profile
    bits = np.zeros((40, 60), np.uint8)
    bits[2:12, 2:12] = bits[20:35, 30:50] = 1
    mask = mask_from_crop(5, 5, bits, 100, 80)
    found = Detections(
        ("car",), np.array([[7, 7, 55, 40]]), np.array([0.9]), np.array([0]), (Mask(80, 100, mask.counts),)
    )
    shapes = words_of(Named(model, profile)).shapes(found, 0.5, (100, 80))
    assert [(shape.type, shape.group) for shape in shapes] == [("polygon", 1), ("polygon", 1)]


async def test_joints_attributes_and_several_model_labels_meet_under_one_word(here: World) -> None:
    spec = {
        "type": "rectangle",
        "sublabels": [],
        "attributes": [{"name": "colour", "input_type": "text", "values": []}],
    }
    here.adapter.card = replace(
        CARD, labels=("car", "van"), settings={"label_specs": [{"name": "car", **spec}, {"name": "van", **spec}]}
    )
    model, _ = await here.registry.add("/models/cars")
    labels = labels_from_json(
        [{"name": "vehicle", "attributes": [{"name": "color", "input_type": "text"}, {"name": "year"}]}]
    )
    made = await profiles(here).add("vehicles", model, labels, chosen={"car": "vehicle", "van": "vehicle"})
    words = words_of(Named(model, made.profile))
    assert [(label.type, [each.name for each in label.attributes]) for label in words.labels] == [
        ("rectangle", ["color"])
    ]
    box = np.array([[1, 2, 30, 40]])
    found = Detections(("car", "van"), box, np.array([0.9]), np.array([1]), (None,), ({"colour": "red"},))
    (shape,) = words.shapes(found, 0.5, (100, 80))
    assert (shape.label, dict(shape.attributes)) == ("vehicle", {"color": "red"})


async def test_a_job_over_a_profile_fills_only_what_both_have(here: World) -> None:
    named = Named(here.model, (await add(here, "Car,pedestrian", chosen={"person": "pedestrian"})).profile)
    target = [TaskLabel("Car"), TaskLabel("tree")]
    given = {"mapping": {"tree": "tree"}, "threshold": 0.7, "prompts": {}}
    assert named.job_values(target, given) == {
        "mapping_id": named.profile and named.profile.mapping_id,
        "mapping": {"person": "", "tree": "tree"},
        "threshold": 0.7,
        "prompts": {},
    }
    assert Named(here.model).job_values(target, given) == given
    with pytest.raises(BridgeError, match="fills none"):
        named.job_values([TaskLabel("boat")], given)
