"""Registered models: adding by reference, listing, and lending out loaded predictors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from adapters import providers
from adapters.base import Context, ModelCard, OpenModel, Predictor
from adapters.errors import PredictorError
from adapters.network import HttpPolicy
from adapters.references import Cascade, Parsed, parse_reference
from bridge import catalogue
from bridge.batcher import Batcher
from bridge.connection_kinds import DEFAULT_HOSTS
from bridge.domain import Connection, Model
from bridge.downloads import Downloads, DownloadState, Progress
from bridge.errors import InvalidRequest, NotFound, TooLarge, from_predictor, translated
from bridge.lent import LentPredictor
from bridge.loaded_models import LoadedModel, LoadedModels
from bridge.near_names import did_you_mean
from bridge.observer import Observer
from bridge.secrets import SecretBox
from bridge.store import Store
from bridge.store import models as rows
from bridge.turns import Turns
from bridge.web_address import account_host

M = TypeVar("M", bound=OpenModel)

PLACES = ("auto", "local", "hosted")  # where a model can be wanted to run
_DEFAULT_HOSTS: Mapping[str, str] = {str(kind): host for kind, host in DEFAULT_HOSTS.items()}

ROOM_WITHIN_S = 10.0  # how long somebody who waits for one answer waits for room in memory

_SLUG = re.compile(r"[^a-z0-9]+")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")  # as CVAT takes function ids


@dataclass(slots=True)
class Registry:
    """The models of this installation.

    cache_dir    where downloaded model files lie
    endpoints    provider -> base URL that the operator configured
    environment_secrets    (kind, host) -> secret from the environment; stored connections come first
    engine, openvino, precision    as in ``Context``
    keep_loaded  how many predictors may be in memory
    max_weights_bytes    larger models are refused
    unload_after_s    seconds after which one that nobody uses leaves memory; 0: never
    """

    store: Store
    secrets: SecretBox
    cache_dir: Path
    endpoints: Mapping[str, str] = field(default_factory=dict)
    environment_secrets: Mapping[str, str] = field(default_factory=dict)
    engine: str = "auto"
    openvino: bool = False
    precision: str = "full"
    keep_loaded: int = 2
    max_weights_bytes: int = 2**63
    unload_after_s: float = 0.0
    offline: bool = False
    http: HttpPolicy = field(default_factory=HttpPolicy)
    observer: Observer = field(default_factory=Observer)
    _memory: LoadedModels = field(init=False)
    _downloads: Downloads = field(default_factory=Downloads)

    def __post_init__(self) -> None:
        self._memory = LoadedModels(self.keep_loaded, self.unload_after_s, self.observer)

    async def resolve(
        self, text: str, *, engine: str | None = None, run: str = "auto", may_download: bool = True
    ) -> ModelCard:
        """What a pasted URL or id is, as its host says; nothing is stored, and a key in it is not kept.

        ``may_download``: whether a file may be downloaded for it, which is then in the cache.
        """
        parsed = _parse(text, self.endpoints.get("huggingface", ""))
        return await self._resolve(parsed, engine, run, may_download)

    async def add(
        self, text: str, *, name: str | None = None, engine: str | None = None, run: str = "auto"
    ) -> tuple[Model, bool]:
        """Register a model; the same model and revision a second time is the first again.

        ``text`` may be a name of the catalogue, which the model then gets. ``run``: auto, local or hosted, for a model
        that could run in both places. An ``engine`` that is named, auto among them, counts from now on for a model that
        is registered already as well.
        Returns the model and whether it is new. A key that was part of the URL becomes a connection.
        """
        if name is not None:
            check_name(name)
        parsed = _parse(text, self.endpoints.get("huggingface", ""))
        card = await self._resolve(parsed, engine, run)
        for found in parsed.secrets:
            await self.connect(found.kind, found.host, found.value)
        async with self.store.write() as connection:
            same = await rows.find_model(connection, card=card)
            if same is not None:
                if engine is not None and same.card.engine_chosen != card.engine_chosen:
                    settings = {**same.card.settings, "engine_chosen": card.engine_chosen}
                    same = await rows.set_card(connection, same.id, replace(same.card, settings=settings))
                return same, False
            if name is None:
                wanted = text.strip() if catalogue.find(text) else card.name
                name = free_name(wanted, await rows.names_in_use(connection))
            return await rows.add_model(connection, name, card), True

    async def fetch(self, model: Model, progress: Progress = lambda _: None) -> Model:
        """Download what the model needs to run here; quick where it is there already."""
        self._check_size(model.card)
        with self._downloads.watch(model, progress) as seen, translated():
            context = await self._context(seen)
            await providers.adapter_for_card(model.card).fetch(model.card, context)
        async with self.store.write() as connection:
            return await rows.update_model(connection, model.id, fetched=True)

    def download(self, model: Model) -> DownloadState:
        """How far the download of a model's files is, as this process sees it."""
        return self._downloads.of(model)

    def start_download(self, model: Model) -> DownloadState:
        """Download in the background what a model needs to run here; a second call changes nothing."""
        state = self._downloads.of(model)
        if state.state in ("ready", "downloading"):
            return state
        return self._downloads.start(model, lambda: self.fetch(model))

    async def find(self, name_or_id: str | int) -> Model:
        """A model by its name or id. Raises NotFound."""
        async with self.store.read() as connection:
            model = await rows.find_model(connection, name=str(name_or_id))
            if model is None and str(name_or_id).isdecimal() and len(str(name_or_id)) < 19:
                model = await rows.get_model(connection, int(name_or_id))
            names = await rows.names_in_use(connection) if model is None else ()
        if model is None:
            raise NotFound(
                f"There is no model named {str(name_or_id)[:100]!r}.",
                hint=f"{did_you_mean(str(name_or_id), names)}`hubbridge model list` shows what is registered; "
                "`hubbridge model add URL` registers one.",
                code="model_not_registered",
            )
        return model

    async def get(self, model_id: int) -> Model:
        """A model by its id. Raises NotFound."""
        async with self.store.read() as connection:
            return await rows.get_model(connection, model_id)

    async def page(self, *, after: int = 0, most: int | None = None) -> list[Model]:
        async with self.store.read() as connection:
            return await rows.list_models(connection, after=after, most=most)

    async def set(self, model_id: int, *, name: str | None = None, threshold: float | None = None) -> Model:
        """Change a model's name or its default threshold."""
        if threshold is not None and not 0 <= threshold <= 1:
            raise InvalidRequest(f"A threshold lies between 0 and 1, not {threshold}.")
        if name is not None:
            check_name(name)
        values = {key: value for key, value in (("name", name), ("threshold", threshold)) if value is not None}
        async with self.store.write() as connection:
            if not values:
                return await rows.get_model(connection, model_id)
            return await rows.update_model(connection, model_id, **values)

    async def remove(self, model_id: int) -> None:
        """Forget a model. Its downloaded files stay in the cache, which other models may share."""
        async with self.store.write() as connection:
            await rows.remove_model(connection, model_id)
        self._downloads.forget(model_id)
        await self._memory.forget(model_id)  # its id may be given to the next model

    async def connect(self, kind: str, host: str, secret: str) -> Connection:
        """Keep an account's secret, encrypted; an earlier one for the same kind and host is replaced."""
        if not secret or not secret.isprintable():
            raise InvalidRequest("A secret must not be empty or hold control characters.")
        if kind == "https" and not host:
            raise InvalidRequest(
                "A key for model files belongs to one host, or anybody's address would be sent it.",
                hint="Name the host: --host models.example.com",
            )
        token, host = await asyncio.to_thread(self.secrets.encrypt, SecretStr(secret)), account_host(host)
        async with self.store.write() as connection:
            return await rows.put_connection(connection, kind, host, token)

    async def connections(self) -> Sequence[Connection]:
        async with self.store.read() as connection:
            return await rows.list_connections(connection)

    async def secret(self, kind: str, host: str) -> str | None:
        """The secret of an account at a host, stored or from the environment."""
        return (await self._context()).secret(kind, host)

    async def knows_secret(self, kind: str, host: str) -> bool:
        """Whether there is a key for this account, stored or from the environment."""
        return await self.secret(kind, host) is not None

    async def rotate_secrets(self) -> int:
        """Encrypt every stored secret with the first key; how many there are. Raises SecretsError, and changes none."""
        async with self.store.write() as connection:
            return await rows.replace_secrets(connection, self.secrets.rotate)

    async def disconnect(self, connection_id: int) -> None:
        """Forget an account and its secret. Raises NotFound."""
        async with self.store.write() as connection:
            await rows.remove_connection(connection, connection_id)

    @property
    def loaded(self) -> int:
        """How many predictors are in memory."""
        return len(self._memory)

    def loaded_card(self, model: Model) -> ModelCard | None:
        """The card of a model that is in memory, with what it computes with; None of one that is not."""
        return self._memory.card_of(model)

    @property
    def waiting(self) -> int:
        """Single predictions that wait for a turn."""
        return self._memory.waiting

    @property
    def weights_bytes(self) -> int:
        """Size of the weights in memory."""
        return self._memory.weights_bytes

    @property
    def hung(self) -> list[str]:
        """Names of the models that were given up because they hung, and were not loaded anew since."""
        return self._memory.hung

    @asynccontextmanager
    async def predictor(self, model: Model, progress: Progress = lambda _: None) -> AsyncIterator[Predictor]:
        """Lend the model's predictor, loading it where it is not in memory. Raises BridgeError where it cannot.

        Its calls wait for their turns among everybody's, behind those of ``batcher``.
        """
        async with self._lend(model, progress) as loaded:
            if not isinstance(loaded.model, Predictor):
                raise wants_a_person(model)
            yield LentPredictor(loaded.model, loaded.turns, self.observer)

    @asynccontextmanager
    async def batcher(self, model: Model) -> AsyncIterator[Batcher]:
        """Lend the model to somebody who asks for one frame and waits for the answer; otherwise as ``predictor``."""
        async with self._lend(model, lambda _: None, room_within_s=ROOM_WITHIN_S) as loaded:
            if loaded.batcher is None:
                raise wants_a_person(model)
            yield loaded.batcher

    @asynccontextmanager
    async def by_hand(self, model: Model, kind: type[M]) -> AsyncIterator[tuple[M, Turns]]:
        """Lend a model of ``adapters.promptable``, of the kind that is named, with its turns; as ``batcher`` else."""
        async with self._lend(model, lambda _: None, room_within_s=ROOM_WITHIN_S) as loaded:
            if not isinstance(loaded.model, kind):
                raise InvalidRequest(
                    f"{model.name} is a model for {model.card.task_type}.",
                    hint=f"Take one that is a {kind.__name__.lower()}.",
                    code="wrong_kind_of_model",
                )
            yield loaded.model, loaded.turns

    @asynccontextmanager
    async def _lend(
        self, model: Model, progress: Progress, *, room_within_s: float | None = None
    ) -> AsyncIterator[LoadedModel]:
        async def open_it() -> OpenModel:
            self._check_size(model.card)
            with self._downloads.watch(model, progress) as seen, translated():
                context = await self._context(seen)
                return await providers.adapter_for_card(model.card).open(model.card, context)

        async with self._memory.lend(model, open_it, room_within_s=room_within_s) as loaded:
            if not model.fetched:
                async with self.store.write() as connection:
                    await rows.update_model(connection, model.id, fetched=True)
            yield loaded

    async def close(self) -> None:
        """Close every predictor; downloads in the background end, and go on the next time."""
        await self._downloads.close()
        await self._memory.close()

    async def _resolve(self, parsed: Parsed, engine: str | None, run: str, may_download: bool = True) -> ModelCard:
        if run not in PLACES:
            raise InvalidRequest(f"A model cannot run {run[:50]!r}.", hint=f"Choose one of {', '.join(PLACES)}.")
        context = replace(await self._context(engine=engine), run=run, may_download=may_download)
        if parsed.secrets:  # a key that came with the URL counts before it is stored
            given = {(found.kind, found.host): found.value for found in parsed.secrets}
            known = context.secret
            context = replace(context, secret=lambda kind, host: given.get((kind, host)) or known(kind, host))
        if isinstance(parsed.reference, Cascade):
            names = dict.fromkeys(parsed.reference.registered)
            context = replace(context, registered={name: (await self.find(name)).card for name in names})
        with translated():
            card = await providers.adapter_for(parsed.reference).resolve(parsed.reference, context)
        self._check_size(card)
        return card

    def _check_size(self, card: ModelCard) -> None:
        if (card.weights_bytes or 0) > self.max_weights_bytes:
            raise TooLarge(
                f"{card.name} has {card.weights_bytes or 0:,} bytes of weights; "
                f"at most {self.max_weights_bytes:,} are taken.",
                hint="Choose a smaller variant, or raise max_weights_mb in [models] of config.toml.",
            )

    async def _context(self, progress: Progress = lambda _: None, engine: str | None = None) -> Context:
        async with self.store.read() as connection:
            encrypted = await rows.encrypted_secrets(connection)

        def secret(kind: str, host: str) -> str | None:
            token = encrypted.get((kind, host))
            usual = self._is_usual(kind, host)
            if token is None and (usual or self.http.trusts(f"https://{host}")):  # no host that somebody pasted
                token = encrypted.get((kind, ""))
            if token is None:
                return self.environment_secrets.get(kind) if usual else None
            return self.secrets.decrypt(token).get_secret_value()

        return Context(
            cache_dir=self.cache_dir,
            secret=secret,
            engine=engine or self.engine,
            openvino=self.openvino,
            precision=self.precision,
            endpoints=self.endpoints,
            progress=progress,
            offline=self.offline,
            http=self.http,
            max_bytes=self.max_weights_bytes,
        )

    def _is_usual(self, kind: str, host: str) -> bool:
        """Whether a key without a host is meant for this one: the vendor's own, or the one configured in its place."""
        configured = (urlsplit(url).netloc for name, url in self.endpoints.items() if name.startswith(kind))
        return bool(host) and host in {_DEFAULT_HOSTS.get(kind, host), *configured}


def _parse(text: str, hub_endpoint: str) -> Parsed:
    try:
        return parse_reference(catalogue.expanded(text), hub_endpoint=hub_endpoint)
    except PredictorError as error:
        raise from_predictor(error) from error


def wants_a_person(model: Model) -> InvalidRequest:
    """Of a model that annotates nothing by itself."""
    return InvalidRequest(
        f"{model.name} is a model for {model.card.task_type}: it answers clicks and boxes, and annotates no frames.",
        hint="Use it as an interactor, a tracker or for ReID in CVAT, or through POST /v1/models/ID/segment.",
        code="wrong_kind_of_model",
    )


async def with_models(registry: Registry) -> list[tuple[catalogue.CatalogueEntry, Model | None]]:
    """The catalogue, each entry with the newest registered model that comes from it."""
    models = (await registry.page())[::-1]
    return [
        (entry, next((model for model in models if entry.is_source_of(model.card.reference)), None))
        for entry in catalogue.catalogue()
    ]


def check_name(name: str) -> None:
    """Raises InvalidRequest where it cannot name a model or a profile."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:120]!r} cannot name a model.",
            hint="Use letters, digits, dots, dashes and underscores, 100 at most.",
        )


def free_name(wanted: str, taken: set[str]) -> str:
    """A slug of ``wanted`` that nobody has: rt-detr, rt-detr-2, rt-detr-3 ..."""
    slug = _SLUG.sub("-", wanted.lower()).strip("-")[:80] or "model"
    name, count = slug, 1
    while name in taken:
        count += 1
        name = f"{slug}-{count}"
    return name
