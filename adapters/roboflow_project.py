"""A Roboflow project as its API describes it, and which of its versions is meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from adapters.errors import BadOutput, ModelNotFound, Unsupported
from adapters.http_caller import HttpCaller, Request
from adapters.json_reading import as_list, as_object, as_text


@dataclass(frozen=True, slots=True)
class Project:
    """``kind``: Roboflow's word for what its models do. ``versions``: number -> whether a model was trained on it."""

    workspace: str
    project: str
    kind: str
    labels: tuple[str, ...]
    versions: Mapping[int, bool]


async def ask_project(caller: HttpCaller, key: str, workspace: str | None, project: str) -> Project:
    """Look a project up; without a workspace in that of the key. Raises PredictorError."""
    query = {"api_key": key}
    if workspace is None:
        answer = as_object(await caller.json(Request("/", query=query, subject="this key's workspace")), "answer")
        workspace = as_text(answer.get("workspace"), "workspace")
    path = f"/{quote(workspace, safe='')}/{quote(project, safe='')}"
    request = Request(path, "GET", query=query, subject=f"{workspace}/{project}")
    return parse_project(await caller.json(request), workspace, project)


def parse_project(answer: Any, workspace: str, project: str) -> Project:
    """Raises BadOutput. Labels are the classes' names: the numbers beside them are counts of annotations."""
    content = as_object(answer, "answer")
    about = as_object(content.get("project"), "project")
    versions: dict[int, bool] = {}
    for each in as_list(content.get("versions"), "versions"):
        version = as_object(each, "version")
        number = as_text(version.get("id"), "id").rpartition("/")[2]
        if not (number.isascii() and number.isdigit()) or len(number) > 9:
            raise BadOutput("The host answered a version whose id ends in no number.")
        versions[int(number)] = bool(version.get("model"))
    classes = as_object(about.get("classes"), "classes")
    labels = tuple(dict.fromkeys(name.strip() for name in classes if name.strip()))
    return Project(workspace, project, as_text(about.get("type"), "type"), labels, versions)


def chosen_version(project: Project, version: int | None) -> int:
    """The version that is meant; None: the newest with a trained model. Raises ModelNotFound or Unsupported."""
    name = f"{project.workspace}/{project.project}"
    trained = sorted(number for number, has_model in project.versions.items() if has_model)
    listed = ", ".join(map(str, trained)) or "none"
    if version is None:
        if not trained:
            raise Unsupported(
                f"No version of {name} has a trained model.", hint="Train one, or choose another project."
            )
        return trained[-1]
    if version not in project.versions:
        raise ModelNotFound(f"{name} has no version {version}.", hint=f"Versions with a model: {listed}.")
    if version not in trained:
        raise Unsupported(f"Version {version} of {name} has no trained model.", hint=f"Versions with one: {listed}.")
    return version
