"""Profiles: models under a task's own words."""

from __future__ import annotations

from bridge.task_labels import labels_from_json
from bridge.web.paging import Paging, cut
from bridge.web.profile_bodies import AddProfile, ProfileAnswer, ProfilePage
from bridge.web.route import Call, Nothing


async def list_profiles(call: Call[Paging, Nothing]) -> ProfilePage:
    query = call.query
    found = await call.service.profiles.page(after=query.after("profiles"), most=query.limit + 1)
    page, following = cut(found, query.limit, "profiles", lambda profile: profile.id)
    return ProfilePage(profiles=[ProfileAnswer.of(profile) for profile in page], next_cursor=following)


async def add_profile(call: Call[Nothing, AddProfile]) -> ProfileAnswer:
    body, service = call.body, call.service
    model = await service.registry.get(body.model_id)
    if body.labels is not None:
        labels = labels_from_json([label.model_dump(exclude_none=True) for label in body.labels])
    else:
        assert body.task_id is not None
        labels = (await service.tasks.get(body.task_id)).labels
    made = await service.profiles.add(
        body.name,
        model,
        labels,
        title=body.title or "",
        chosen=body.mapping,
        accept_suggestions=body.accept_suggestions,
        prompts=body.prompts,
        threshold=body.threshold,
    )
    return ProfileAnswer.of(made.profile)


async def get_profile(call: Call[Nothing, Nothing]) -> ProfileAnswer:
    return ProfileAnswer.of(await call.service.profiles.get(call.ids["profile_id"]))


async def remove_profile(call: Call[Nothing, Nothing]) -> None:
    await call.service.profiles.remove(call.ids["profile_id"])
