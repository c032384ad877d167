"""Registered models: added once, named freely, their keys kept apart, their predictors lent and put away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from adapters.base import Context, ModelCard, PredictOptions
from adapters.errors import AccessDenied, Unavailable
from adapters.network import HttpPolicy
from bridge.app import open_app
from bridge.doctor import examine
from bridge.domain import Model
from bridge.errors import BridgeError, Conflict, InvalidRequest, NotFound
from bridge.label_studio.config import LabelConfig
from bridge.ml_backend.requests import Setup
from bridge.registry import free_name
from bridge.secrets import SecretsError
from bridge.settings import Settings, load_settings
from bridge.store import models as model_rows
from tests.unit.bridge.world import FakePredictor, World, use_fakes, world

KEY = "hf_aVerySecretKeyOfSomebody"


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with world(tmp_path, monkeypatch) as service:
        yield service


async def add(made: World, *names: str) -> list[Model]:
    return [(await made.registry.add(f"/models/{name}"))[0] for name in names]


# --- adding, finding, changing --------------------------------------------------------------------------------------


async def test_the_same_model_and_revision_again_is_the_first_again(made: World) -> None:
    again, new = await made.registry.add("/models/fake", name="another-name")
    assert (again, new) == (made.model, False)
    assert len(await made.registry.page()) == 1


async def test_of_many_that_add_a_model_at_once_one_does(made: World) -> None:
    added = await asyncio.gather(*(made.registry.add("/models/new") for _ in range(8)))
    assert sorted(new for _, new in added) == [False] * 7 + [True]
    assert len({model.id for model, _ in added}) == 1


async def test_another_revision_or_engine_is_another_model_with_a_name_of_its_own(made: World) -> None:
    made.adapter.card = replace(made.adapter.card, revision="2")
    second, _ = await made.registry.add("/models/fake")
    made.adapter.card = replace(made.adapter.card, engine="other")
    third, _ = await made.registry.add("/models/fake")
    assert [made.model.name, second.name, third.name] == ["fake", "fake-2", "fake-3"]


async def test_an_engine_named_later_counts_for_the_registered_model(made: World) -> None:
    plain = made.adapter.card
    chosen = replace(plain, settings={**plain.settings, "engine_chosen": True})
    async with made.registry.predictor(made.model):
        pass
    made.adapter.card = chosen
    fixed, new = await made.registry.add("/models/fake", engine=plain.engine)
    assert (fixed.id, new, fixed.card.engine_chosen) == (made.model.id, False, True)
    async with made.registry.predictor(fixed):
        pass
    first, second = made.adapter.opened
    assert (first.closed, first.card.engine_chosen) == (True, False)
    assert (second.closed, second.card.engine_chosen) == (False, True)

    made.adapter.card = plain
    same, _ = await made.registry.add("/models/fake")
    assert same.card.engine_chosen, "nothing was said of an engine, so nothing changes"
    freed, _ = await made.registry.add("/models/fake", engine="auto")
    assert (freed.id, freed.card.engine_chosen) == (made.model.id, False)


async def test_a_name_that_is_taken_is_refused(made: World) -> None:
    with pytest.raises(Conflict, match="named fake exists"):
        await made.registry.add("/models/other", name="fake")
    other, _ = await made.registry.add("/models/other")
    with pytest.raises(Conflict, match="named fake exists"):
        await made.registry.set(other.id, name="fake")
    assert (await made.registry.get(other.id)).name == "other"


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "ä", "a" * 101, "a\n"])
async def test_a_name_that_no_address_can_hold_is_refused(made: World, name: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot name a model"):
        await made.registry.add("/models/other", name=name)
    with pytest.raises(InvalidRequest, match="cannot name a model"):
        await made.registry.set(made.model.id, name=name)
    assert len(await made.registry.page()) == 1


@pytest.mark.parametrize(
    ("wanted", "taken", "name"),
    [
        ("RT-DETR (R50)", set(), "rt-detr-r50"),
        ("a", {"a", "a-2"}, "a-3"),
        ("日本", set(), "model"),
        ("x" * 300, set(), "x" * 80),
    ],
)
def test_a_free_name_is_a_slug(wanted: str, taken: set[str], name: str) -> None:
    assert free_name(wanted, taken) == name


async def test_a_model_is_found_by_name_before_id(made: World) -> None:
    (other,) = await add(made, "other")
    assert await made.registry.find("fake") == made.model
    assert await made.registry.find(str(other.id)) == other
    renamed = await made.registry.set(other.id, name=str(made.model.id))
    assert await made.registry.find(str(made.model.id)) == renamed


@pytest.mark.parametrize("name", ["nobody", "99", "9" * 40, ""])
async def test_a_model_that_is_not_there_is_not_found(made: World, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        await made.registry.find(name)
    assert "hubbridge model list" in caught.value.hint


async def test_the_threshold_is_the_cards_until_it_is_set(made: World) -> None:
    assert made.model.threshold == made.model.card.default_threshold
    assert (await made.registry.set(made.model.id, threshold=0.25)).threshold == 0.25
    assert (await made.registry.set(made.model.id)).threshold == 0.25
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidRequest, match="between 0 and 1"):
            await made.registry.set(made.model.id, threshold=wrong)


async def test_what_the_host_refuses_leaves_nothing_behind(made: World) -> None:
    def gated(reference: Any, context: Context) -> None:
        raise AccessDenied("It is gated.", hint="Ask for access.")

    made.adapter.resolving = gated
    with pytest.raises(BridgeError, match=r"It is gated\.") as caught:
        await made.registry.add(f"https://user:{KEY}@huggingface.co/org/name")
    assert (caught.value.status, caught.value.hint) == (403, "Ask for access.")
    assert len(await made.registry.page()) == 1
    assert await made.registry.connections() == []


async def test_a_text_that_is_no_reference_is_an_invalid_request(made: World) -> None:
    with pytest.raises(BridgeError) as caught:
        await made.registry.add("https://huggingface.co/datasets/org/name")
    assert (caught.value.status, caught.value.code) == (400, "invalid_reference")


async def test_fetching_marks_a_model_as_here(made: World) -> None:
    assert not made.model.fetched
    assert (await made.registry.fetch(made.model)).fetched
    assert (await made.registry.get(made.model.id)).fetched


# --- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kind", "host"),
    [
        (f"https://user:{KEY}@huggingface.co/org/name", "huggingface", "huggingface.co"),
        (f"https://detect.roboflow.com/project/3?api_key={KEY}", "roboflow", "roboflow.com"),
    ],
)
async def test_a_key_in_a_url_becomes_a_connection_and_stands_nowhere_else(
    made: World, url: str, kind: str, host: str
) -> None:
    seen = []
    made.adapter.resolving = lambda reference, context: seen.append(context.secret(kind, host))
    model, _ = await made.registry.add(url)
    assert seen == [KEY]  # it counts already while the host is asked
    (connection,) = await made.registry.connections()
    assert (connection.kind, connection.host) == (kind, host)
    assert KEY not in repr(model)
    assert KEY not in repr(connection)
    await made.registry.fetch(model)
    assert made.adapter.contexts[-1].secret(kind, host) == KEY
    for file in made.folder.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


async def test_resolving_alone_keeps_no_key(made: World) -> None:
    await made.registry.resolve(f"https://user:{KEY}@huggingface.co/org/name")
    assert await made.registry.connections() == []
    assert len(await made.registry.page()) == 1


async def context_of(made: World) -> Context:
    await made.registry.resolve("/models/any")
    return made.adapter.contexts[-1]


async def test_a_connection_of_the_host_counts_before_one_of_any_host_before_the_environment(made: World) -> None:
    made.registry.environment_secrets = {"huggingface": "from the environment"}

    async def secret() -> str | None:
        return (await context_of(made)).secret("huggingface", "huggingface.co")

    assert await secret() == "from the environment"
    await made.registry.connect("huggingface", "", "of any host")
    assert await secret() == "of any host"
    own = await made.registry.connect("huggingface", "huggingface.co", "of the host")
    assert await secret() == "of the host"
    await made.registry.connect("huggingface", "huggingface.co", "a newer one")
    assert await secret() == "a newer one"
    assert len(await made.registry.connections()) == 2
    with pytest.raises(NotFound):
        await made.registry.disconnect(own.id + 5)
    for connection in await made.registry.connections():
        await made.registry.disconnect(connection.id)
    assert await secret() == "from the environment"
    assert (await context_of(made)).secret("roboflow", "roboflow.com") is None


async def test_the_environments_key_goes_to_no_strange_host(made: World) -> None:
    made.registry.environment_secrets = {"huggingface": "from the environment"}
    assert (await context_of(made)).secret("huggingface", "stranger.example") is None


@pytest.mark.parametrize("kind", ["huggingface", "roboflow", "nuclio", "cvat", "label-studio"])
async def test_a_stored_key_of_no_host_is_sent_to_no_host_that_somebody_pasted(made: World, kind: str) -> None:
    await made.registry.connect(kind, "", KEY)
    made.registry.http = HttpPolicy(frozenset({"allowed.lan:8070"}))
    secret = (await context_of(made)).secret
    assert secret(kind, "stranger.example") is None
    assert secret(kind, "allowed.lan") is None
    assert secret(kind, "allowed.lan:8070") == KEY


async def test_hf_token_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)
    adapter = use_fakes(monkeypatch)
    (tmp_path / "config.toml").touch()
    async with open_app(load_settings(tmp_path / "config.toml", storage={"data_dir": str(tmp_path)})) as app:
        await app.registry.resolve("/models/any")
        assert adapter.contexts[-1].secret("huggingface", "huggingface.co") == KEY


@pytest.mark.parametrize("secret", ["", "two\nlines", "nul\0"])
async def test_a_secret_that_no_header_can_hold_is_refused(made: World, secret: str) -> None:
    with pytest.raises(InvalidRequest, match="secret"):
        await made.registry.connect("huggingface", "huggingface.co", secret)


# --- predictors -----------------------------------------------------------------------------------------------------


async def test_a_first_use_by_many_at_once_loads_once(made: World) -> None:
    async def slow(card: ModelCard) -> None:
        await asyncio.sleep(0.05)

    made.adapter.opening = slow

    async def use() -> None:
        async with made.registry.predictor(made.model) as predictor:
            await predictor.predict([], PredictOptions())

    await asyncio.gather(*(use() for _ in range(10)))
    assert len(made.adapter.opened) == 1
    assert (await made.registry.get(made.model.id)).fetched


async def test_a_load_that_fails_leaves_nothing_broken(made: World) -> None:
    async def down(card: ModelCard) -> None:
        raise Unavailable("The host cannot be reached.")

    made.adapter.opening = down
    for _ in range(2):
        with pytest.raises(BridgeError, match="cannot be reached") as caught:
            async with made.registry.predictor(made.model):
                pytest.fail("there is no predictor")
        assert caught.value.status == 503
    assert made.registry.loaded == 0
    assert not (await made.registry.get(made.model.id)).fetched
    made.adapter.opening = None
    async with made.registry.predictor(made.model):
        assert made.registry.loaded == 1


async def test_a_cancelled_load_leaves_nothing_broken(made: World) -> None:
    async def slow(card: ModelCard) -> None:
        await asyncio.sleep(60)

    made.adapter.opening = slow

    async def use() -> None:
        async with made.registry.predictor(made.model):
            pass

    loading = asyncio.create_task(use())
    await made.until(lambda: len(made.adapter.contexts) > 1)
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    made.adapter.opening = None
    async with asyncio.timeout(60):
        await use()


async def test_the_predictors_unused_for_longest_make_room(made: World) -> None:
    models = await add(made, "a", "b", "c")
    for model in (models[0], models[1], models[0], models[2]):
        async with made.registry.predictor(model):
            pass
    closed = {predictor.card.name: predictor.closed for predictor in made.adapter.opened}
    assert closed == {"a": 0, "b": 1, "c": 0}
    async with made.registry.predictor(models[0]):
        assert len(made.adapter.opened) == 3  # still there


async def test_a_predictor_in_use_is_never_closed_for_another(made: World) -> None:
    models = await add(made, "a", "b", "c", "d")
    stay = asyncio.Event()

    async def use(model: Model) -> None:
        async with made.registry.predictor(model) as predictor:
            await stay.wait()
            await predictor.predict([], PredictOptions())  # FakePredictor refuses when it is closed

    users = [asyncio.create_task(use(model)) for model in models]
    await made.until(lambda: len(made.adapter.opened) >= 2)
    await asyncio.sleep(0.05)
    assert [predictor.closed for predictor in made.adapter.opened[:2]] == [0, 0]
    stay.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*users)
    assert sorted(predictor.closed for predictor in made.adapter.opened) == [0, 0, 1, 1]
    assert made.registry.loaded == 2


async def test_closing_slowly_does_not_close_what_is_taken_meanwhile(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = await add(made, "a", "b", "c", "d")

    async def slow_close(self: Any) -> None:
        self.closed += 1
        await asyncio.sleep(0.002)

    monkeypatch.setattr(FakePredictor, "close", slow_close)

    async def use(number: int) -> None:
        for step in range(12):
            async with made.registry.predictor(models[(number * 5 + step * 3) % 4]) as predictor:
                await asyncio.sleep(0.001 * ((number + step) % 3))
                await predictor.predict([], PredictOptions())  # FakePredictor refuses when it is closed

    await asyncio.gather(*(use(number) for number in range(6)))
    assert made.registry.loaded == 2
    assert all(predictor.closed in (0, 1) for predictor in made.adapter.opened)


async def test_a_removed_models_predictor_is_closed_and_not_taken_for_the_next(made: World) -> None:
    (old,) = await add(made, "old")
    async with made.registry.predictor(old) as predictor:
        await made.registry.remove(old.id)
        await predictor.predict([], PredictOptions())  # its user is not disturbed
        assert made.adapter.opened[0].closed == 0
    assert made.adapter.opened[0].closed == 1
    (new,) = await add(made, "new")
    async with made.registry.predictor(new):
        assert made.adapter.opened[-1].card.name == "new"
    await made.registry.remove(new.id)
    assert made.adapter.opened[-1].closed == 1
    with pytest.raises(NotFound):
        await made.registry.get(new.id)


async def test_closing_the_registry_closes_everything(made: World) -> None:
    for model in await add(made, "a", "b"):
        async with made.registry.predictor(model):
            pass
    await made.registry.close()
    assert [predictor.closed for predictor in made.adapter.opened] == [1, 1]
    assert made.registry.loaded == 0


async def test_stored_secrets_move_to_a_new_key_and_the_old_one_can_go(tmp_path: Path) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()

    def settings(key: str) -> Settings:
        return load_settings(storage={"data_dir": str(tmp_path)}, secrets={"key": key})

    async with open_app(settings(old)) as app:
        await app.registry.connect("huggingface", "huggingface.co", "hf_first")
        await app.registry.connect("cvat", "cvat.lan", "second")
        for name, token in (("told", "third"), ("silent", None)):
            told = Setup(project=f"{len(name)}.1", hostname="https://ls.lan", access_token=token)
            await app.ml_backend.projects.set_up(told, LabelConfig((), ()))
    async with open_app(settings(f"{new},{old}")) as app:
        assert await app.registry.rotate_secrets() == 3
    async with open_app(settings(new)) as app:
        async with app.store.read() as connection:
            tokens = await model_rows.project_tokens(connection)
        assert [app.registry.secrets.decrypt(each).get_secret_value() for each in tokens.values()] == ["third"]
        assert [each.message async for each in examine(app) if each.check == "stored tokens"] == ["all 3 can be read"]
        assert await app.registry.secret("huggingface", "huggingface.co") == "hf_first"
        assert await app.registry.secret("cvat", "cvat.lan") == "second"
    async with open_app(settings(old)) as app:
        with pytest.raises(SecretsError):
            await app.registry.rotate_secrets()
        for connection in await app.registry.connections():
            await app.registry.disconnect(connection.id)
        (found,) = [each async for each in examine(app) if each.check == "stored tokens"]
        assert not found.well
        assert "https://ls.lan, project 4" in found.message
