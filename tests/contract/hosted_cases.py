"""The cases of models that run at their host: loopback servers that speak each host's wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adapters.base import Context
from adapters.errors import AccessDenied, InvalidReference, ModelNotFound, Unavailable, Unsupported
from adapters.network import HttpPolicy
from adapters.references import HuggingFaceEndpoint, InferenceServerModel, NuclioFunction, RoboflowVersion
from adapters.references.kinds import ROUTER
from tests import models
from tests.contract.cases import Case, Refusal, Setting
from tests.hub import TOKEN, Fault, HubServer, Repository
from tests.servers.hugging_face_inference import HuggingFaceInference
from tests.servers.inference_server import InferenceServer
from tests.servers.nuclio import Deployed, Nuclio
from tests.servers.roboflow import KEY, WORKSPACE, Roboflow

MANY_LABELS = tuple(f"surface {i}" for i in range(20))  # a class is one mask, however often it occurs
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


def _roboflow(folder: Path, kind: str) -> Iterator[Setting]:
    projects = {
        "signs": (kind, {1: True, 3: True, 4: False}),
        "untrained": (kind, {1: False}),
        "sam": ("promptable-segmentation", {1: True}),
    }
    with Roboflow(models.LABELS, projects) as host:
        context = Context(
            folder / "cache",
            secret=lambda kind, host: KEY if (kind, host) == ("roboflow", "roboflow.com") else None,
            endpoints={"roboflow": host.url, "roboflow-inference": host.url},
            http=HERE,
        )

        def version(project: str, number: int | None, workspace: str | None = WORKSPACE) -> RoboflowVersion:
            return RoboflowVersion(workspace, project, number)

        yield Setting(
            version("signs", 3),
            context,
            (
                Refusal("absent", version("nothing", 1), ModelNotFound, ("street-team/nothing",)),
                Refusal("no such version", version("signs", 9), ModelNotFound, ("version 9",)),
                Refusal("untrained version", version("signs", 4), Unsupported, ("no trained model",)),
                Refusal("nothing trained", version("untrained", None), Unsupported, ("trained",)),
                Refusal("wrong kind", version("sam", 1), Unsupported, ("promptable-segmentation",)),
            ),
            host.fail,
        )


def _inference_server(folder: Path, kind: str, labels: tuple[str, ...]) -> Iterator[Setting]:
    kinds = {"signs/3": kind, "sam/1": "promptable-segmentation", "unlisted/1": kind}
    projects = {"signs": (kind, {3: True})}
    with Roboflow(models.LABELS, projects) as cloud, InferenceServer(labels or models.LABELS, kinds) as host:
        context = Context(
            folder / "cache",
            secret=lambda kind, host: KEY if (kind, host) == ("roboflow", "roboflow.com") else None,
            endpoints={"roboflow": cloud.url},
            http=HERE,
        )
        yield Setting(
            InferenceServerModel(host.url, "signs", 3, labels),
            context,
            (
                Refusal("absent", InferenceServerModel(host.url, "signs", 9), ModelNotFound, ("signs/9",)),
                Refusal("wrong kind", InferenceServerModel(host.url, "sam", 1), Unsupported, ("promptable",)),
                Refusal("no labels", InferenceServerModel(host.url, "unlisted", 1), Unsupported, ("labels",)),
                Refusal("private", InferenceServerModel("http://10.1.2.3:9001", "p", 1), AccessDenied, ("plain http",)),
            ),
            host.fail,
        )


def _nuclio(folder: Path, shape: str, direct: bool) -> Iterator[Setting]:
    functions = {
        "onnx.street": Deployed(dict.fromkeys(models.LABELS, shape), sublabels=("head", "left", "right")),
        "pth.sam": Deployed({}, kind="interactor"),
        "pth.siam": Deployed({}, kind="tracker"),
        "broken": Deployed({"car": "any"}, state="error"),
    }
    with Nuclio(functions, login="me:s3cret") as host:
        context = Context(
            folder / "cache",
            secret=lambda kind, netloc: "me:s3cret" if (kind, netloc) == ("nuclio", host.url[7:]) else None,
            http=HERE,
        )
        refusals = [Refusal("private", NuclioFunction("http://10.1.2.3:8070", "f"), AccessDenied, ("plain http",))]
        if direct:
            reference = NuclioFunction(host.url, None, models.LABELS)
            refusals.append(Refusal("no labels", NuclioFunction(host.url, None), Unsupported, ("labels",)))
            yield Setting(reference, context, tuple(refusals), host.fail)
            return
        refusals += [
            Refusal("absent", NuclioFunction(host.url, "none"), ModelNotFound, ("no function none",)),
            Refusal("interactor", NuclioFunction(host.url, "pth.sam"), Unsupported, ("interactor",)),
            Refusal("tracker", NuclioFunction(host.url, "pth.siam"), Unsupported, ("tracker",)),
            Refusal("broken", NuclioFunction(host.url, "broken"), Unavailable, ("state error",)),
            Refusal("unnamed", NuclioFunction(host.url, ""), InvalidReference, ("2 detectors",)),
        ]
        yield Setting(NuclioFunction(host.url, "onnx.street"), context, tuple(refusals), host.fail)


HOSTED_CASES = (
    Case("nuclio-boxes", NuclioFunction, "hosted", lambda f: _nuclio(f, "rectangle", direct=False)),
    Case("nuclio-masks", NuclioFunction, "hosted", lambda f: _nuclio(f, "mask", direct=False)),
    Case("nuclio-direct", NuclioFunction, "hosted", lambda f: _nuclio(f, "rectangle", direct=True)),
    Case(
        "inference-server-boxes",
        InferenceServerModel,
        "hosted",
        lambda f: _inference_server(f, "object-detection", ()),
    ),
    Case(
        "inference-server-masks",
        InferenceServerModel,
        "hosted",
        lambda f: _inference_server(f, "semantic-segmentation", MANY_LABELS),
    ),
    Case("roboflow-boxes", RoboflowVersion, "hosted", lambda f: _roboflow(f, "object-detection")),
    Case("roboflow-polygons", RoboflowVersion, "hosted", lambda f: _roboflow(f, "instance-segmentation")),
    Case("roboflow-skeletons", RoboflowVersion, "hosted", lambda f: _roboflow(f, "keypoint-detection")),
    Case("hugging-face-router", HuggingFaceEndpoint, "hosted", lambda f: _hugging_face(f, True)),
    Case("hugging-face-endpoint", HuggingFaceEndpoint, "hosted", lambda f: _hugging_face(f, False)),
    Case(
        "hugging-face-segmentation",
        HuggingFaceEndpoint,
        "hosted",
        lambda f: _hugging_face(f, True, "image-segmentation"),
    ),
)
