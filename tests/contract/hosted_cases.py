"""The cases of models that run at their host: loopback servers that speak each host's wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adapters.base import Context
from adapters.errors import AccessDenied, ModelNotFound, Unsupported
from adapters.network import HttpPolicy
from adapters.references import HuggingFaceEndpoint
from adapters.references.kinds import ROUTER
from tests import models
from tests.contract.cases import Case, Refusal, Setting
from tests.hub import TOKEN, Fault, HubServer, Repository
from tests.servers.hugging_face_inference import HuggingFaceInference

HERE = HttpPolicy(frozenset({"127.0.0.1"}))


def _hugging_face(folder: Path, on_router: bool, task_type: str = "object-detection") -> Iterator[Setting]:
    model = models.write_config(folder / "model")
    repositories = {
        "street/detector": Repository(model, pipeline_tag=task_type, served="live"),
        "street/gated": Repository(model, gated="manual", served="live"),
        "street/depth": Repository(model, pipeline_tag="depth-estimation", served="live"),
        "street/cold": Repository(model),
    }
    tasks = {name: str(each.pipeline_tag) for name, each in repositories.items()}
    with HubServer(repositories) as hub, HuggingFaceInference(models.LABELS, tasks, task_type, key=TOKEN) as host:

        def go_down(kind: str) -> None:
            hub.faults = [Fault("", kind, times=10_000)]

        def reference(repo_id: str) -> HuggingFaceEndpoint:
            return HuggingFaceEndpoint(ROUTER + repo_id) if on_router else HuggingFaceEndpoint(host.url, repo_id)

        refusals = [
            Refusal("absent", reference("street/absent"), ModelNotFound, ("does not exist",)),
            Refusal("wrong task", reference("street/depth"), Unsupported, ("depth-estimation",)),
        ]
        if on_router:
            refusals.append(Refusal("not served", reference("street/cold"), Unsupported, ("does not serve",)))
        else:
            refusals += [
                Refusal("unsaid", HuggingFaceEndpoint(host.url), Unsupported, ("does not say",)),
                Refusal("plain http", HuggingFaceEndpoint("http://10.1.2.3"), AccessDenied, ("plain http",)),
                Refusal("private", HuggingFaceEndpoint("https://10.1.2.3"), AccessDenied, ("private address",)),
            ]
        context = Context(
            folder / "cache",
            secret=lambda kind, host: TOKEN if kind == "huggingface" else None,
            endpoints={"huggingface": hub.url, "huggingface-router": host.url},
            http=HERE,
        )
        yield Setting(reference("street/detector"), context, tuple(refusals), go_down)


HOSTED_CASES = (
    Case("hugging-face-router", HuggingFaceEndpoint, "hosted", lambda f: _hugging_face(f, True)),
    Case("hugging-face-endpoint", HuggingFaceEndpoint, "hosted", lambda f: _hugging_face(f, False)),
    Case(
        "hugging-face-segmentation",
        HuggingFaceEndpoint,
        "hosted",
        lambda f: _hugging_face(f, True, "image-segmentation"),
    ),
)
