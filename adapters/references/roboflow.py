"""Roboflow: versions in the cloud, and models on a self-hosted inference server."""

from __future__ import annotations

import re

from adapters.references.hints import hints_of
from adapters.references.kinds import InferenceServerModel, RoboflowVersion
from adapters.references.pasted import Pasted, refusal

PAGE_HOSTS = ("universe.roboflow.com", "app.roboflow.com")
INFERENCE_HOSTS = ("serverless", "detect", "outline", "classify", "segment", "infer")
PASTE_VERSION = "Paste WORKSPACE/PROJECT/3 or https://universe.roboflow.com/WORKSPACE/PROJECT/model/3."

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,126}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]{1,9}")
# Pages of a project that speak of one version where a number follows.
_VERSION_PAGES = ("model", "dataset", "deploy", "visualize", "versions", "generate", "train", "health")
_PROJECT_PAGES = ("browse", "images", "annotate", "upload", "overview", "analytics", "settings", "classes", "api-docs")
_ACCOUNT_PAGES = frozenset(
    ("login", "logout", "signup", "settings", "projects", "search", "query", "create", "account", "docs", "pricing")
)


def is_roboflow(host: str) -> bool:
    return host == "roboflow.com" or host.endswith(".roboflow.com")


def from_url(url: Pasted) -> RoboflowVersion:
    """A URL on one of Roboflow's hosts."""
    _refuse_workflow(url.segments)
    name = url.host.removesuffix(".roboflow.com")
    if url.host in PAGE_HOSTS:
        return _from_page(url.segments)
    if name in INFERENCE_HOSTS:
        return _from_inference(url.segments)
    if name == "api":
        return from_parts(url.segments)
    raise refusal("This page of Roboflow's is no model.", PASTE_VERSION)


def from_parts(parts: tuple[str, ...]) -> RoboflowVersion:
    """``WORKSPACE/PROJECT/3``, ``PROJECT/3`` (the key's workspace) or ``WORKSPACE/PROJECT``."""
    _refuse_workflow(parts)
    match parts:
        case (project, version) if _NUMBER.fullmatch(version):
            return _version(None, project, version)
        case (workspace, project):
            return _version(workspace, project, None)
        case (workspace, project, version):
            return _version(workspace, project, version)
        case (_,):
            raise refusal("The version is missing.", f"Add its number. {PASTE_VERSION}")
    raise refusal("This names no version of a Roboflow project.", PASTE_VERSION)


def on_server(url: Pasted) -> InferenceServerModel | None:
    """``http://host:9001/PROJECT/3``; None where the path is not of that form."""
    if url.segments:
        _refuse_workflow(url.segments)
    match url.segments:
        case (project, version) if _NUMBER.fullmatch(version):
            wanted = _version(None, project, version)
            assert wanted.version is not None
            return InferenceServerModel(url.base_url, wanted.project, wanted.version, hints_of(url).labels)
        case _ if url.port == 9001:  # the inference server's own
            raise refusal(
                "This is an inference server's address without a model's project and version.",
                f"Paste {url.base_url}/PROJECT/3.",
            )
    return None


def _from_page(segments: tuple[str, ...]) -> RoboflowVersion:
    if len(segments) < 2 or segments[0].lower() in _ACCOUNT_PAGES or segments[1].lower() in _ACCOUNT_PAGES:
        raise refusal("This page names no project.", f"Open the project and copy its address. {PASTE_VERSION}")
    workspace, project, *rest = segments
    match rest:
        case [] | ["models"]:
            return _version(workspace, project, None)
        case [version] if _NUMBER.fullmatch(version):
            return _version(workspace, project, version)
        case ["models", *slug]:
            return _version(workspace, project, _model_version(project, slug))
        case [page, version, *_] if page in _VERSION_PAGES and _NUMBER.fullmatch(version):
            return _version(workspace, project, version)
        case [page, *_] if page in _VERSION_PAGES or page in _PROJECT_PAGES:
            return _version(workspace, project, None)
    raise refusal("This page of a project names no version that we understand.", PASTE_VERSION)


def _model_version(project: str, slug: list[str]) -> str:
    """The number in ``PROJECT/3``, ``[WORKSPACE/]PROJECT-3`` or ``PROJECT-3-what-it-is``."""
    last = slug[-1]
    if _NUMBER.fullmatch(last):
        return last
    found = re.fullmatch(re.escape(project) + r"-([0-9]{1,9})(?:-.*)?", last)
    if not found:
        raise refusal("The name of this model holds no version.", PASTE_VERSION)
    return found[1]


def _from_inference(segments: tuple[str, ...]) -> RoboflowVersion:
    match segments:
        case (workspace, slug) if not _NUMBER.fullmatch(slug):
            # A slug is {project}-{version}-{what it is}; a project's name may hold numbers too.
            found = [*re.finditer(r"-([0-9]{1,9})(?=-[A-Za-z])", slug)]
            if len(found) != 1:
                raise refusal("The version cannot be read from this model's name.", PASTE_VERSION)
            return _version(workspace, slug[: found[0].start()], found[0][1])
    return from_parts(segments)


def _refuse_workflow(segments: tuple[str, ...]) -> None:
    if "workflows" in segments:
        raise refusal(
            "This is a workflow (a chain of steps), and only single models can annotate.",
            f"Paste the model that the workflow uses. {PASTE_VERSION}",
        )


def _version(workspace: str | None, project: str, version: str | None) -> RoboflowVersion:
    names = [project] if workspace is None else [workspace, project]
    if not all(_NAME.fullmatch(name) for name in names) or (workspace is not None and _NUMBER.fullmatch(project)):
        raise refusal(
            "The names of Roboflow's workspace and project hold letters, digits, - and _ only.", PASTE_VERSION
        )
    if version is None:
        return RoboflowVersion(workspace, project, None)
    if not _NUMBER.fullmatch(version) or int(version) == 0:
        raise refusal("A Roboflow version is a whole number from 1.", PASTE_VERSION)
    return RoboflowVersion(workspace, project, int(version))
