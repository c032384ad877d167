"""What a pasted text can name: one frozen type per source of models.

``canonical`` is text that ``parse_reference`` turns into an equal reference. It never holds a key: keys are taken out
of the text before any of these is made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from adapters.references.cascade import Cascade
from adapters.references.file_hints import Said, as_text
from adapters.references.hints import fragment

# The only revisions that hold a slash and are nevertheless written plainly, as the hub does.
PLAIN_REF = re.compile(r"refs/(?:pr/\d+|convert/[A-Za-z0-9_-]+)")
ROUTER = "https://router.huggingface.co/hf-inference/models/"
UNKNOWN = "unknown"  # in the place of a digest
ENDPOINT_DOMAIN = ".endpoints.huggingface.cloud"


@dataclass(frozen=True, slots=True)
class HuggingFaceModel:
    """A model repository of the hub.

    repo_id    ``org/name``, or a legacy id of one word
    revision   branch, tag, ``refs/pr/N`` or commit as it was written; None for the default branch, ``main``
    file       path in the repository of the .onnx or .xml file to run; None leaves the choice to the adapter
    """

    repo_id: str
    revision: str | None = None
    file: str | None = None

    @property
    def canonical(self) -> str:
        revision = self.revision
        if revision is None and self.file and "/" not in self.repo_id:
            revision = "main"  # hf://word/file would read as org/name
        text = f"hf://{self.repo_id}"
        if revision:
            text += "@" + quote(revision, safe="/" if PLAIN_REF.fullmatch(revision) else "")
        return f"{text}/{quote(self.file)}" if self.file else text


@dataclass(frozen=True, slots=True)
class HuggingFaceEndpoint:
    """A URL that answers as Hugging Face's hosted inference does: the router, or a dedicated endpoint.

    An endpoint does not say what it serves. ``model`` names it: a model's id on the hub. Where the hub has no such
    model, ``task`` (as the hub spells task types) and ``labels`` say it.
    """

    url: str
    model: str = ""
    task: str = ""
    labels: tuple[str, ...] = ()

    @property
    def repo_id(self) -> str | None:
        """The model behind a router URL; a dedicated endpoint does not say."""
        return self.url.removeprefix(ROUTER) if self.url.startswith(ROUTER) else None

    @property
    def canonical(self) -> str:
        host = urlsplit(self.url).hostname or ""
        known = self.repo_id is not None or host.endswith(ENDPOINT_DOMAIN)
        return (self.url if known else f"hf-endpoint+{self.url}") + fragment(self.model, self.task, self.labels)


@dataclass(frozen=True, slots=True)
class RoboflowVersion:
    """A version of a Roboflow project. ``workspace`` None: that of the key. ``version`` None: the newest trained one,
    which only a known workspace can be asked for."""

    workspace: str | None
    project: str
    version: int | None

    @property
    def canonical(self) -> str:
        parts = (self.workspace, self.project, self.version)
        return "roboflow://" + "/".join(str(part) for part in parts if part is not None)


@dataclass(frozen=True, slots=True)
class InferenceServerModel:
    """A Roboflow model served by a self-hosted inference server at ``base_url`` (scheme, host and port only).

    The server does not name the labels; ``labels`` does, for those who have no account that could be asked.
    """

    base_url: str
    project: str
    version: int
    labels: tuple[str, ...] = ()

    @property
    def canonical(self) -> str:
        return f"{self.base_url}/{self.project}/{self.version}{fragment(labels=self.labels)}"


@dataclass(frozen=True, slots=True)
class NuclioFunction:
    """A function behind the Nuclio dashboard at ``base_url``.

    function   its name; empty where a dashboard was named and no function of it, so that there is a choice to make;
               None where ``base_url`` is the function's own HTTP trigger, which is called directly
    labels     of a function that is called directly: nobody can be asked for them
    """

    base_url: str
    function: str | None
    labels: tuple[str, ...] = ()

    @property
    def canonical(self) -> str:
        if self.function is None:
            return f"nuclio+{self.base_url}{fragment(labels=self.labels)}"
        return f"{self.base_url}/api/functions/{self.function}".rstrip("/")


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder in Hugging Face layout. ``path`` starts with ``/``, ``./``, ``../`` or ``~`` and is not expanded."""

    path: str

    @property
    def canonical(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class LocalFile:
    """An .onnx file, or the .xml of an OpenVINO model. ``path`` as in LocalFolder."""

    path: str

    @property
    def canonical(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class HttpsFile:
    """An .onnx file on any https host, or an OpenVINO .xml with its .bin beside it, pinned by SHA-256 of the content.

    sha256, bin_sha256   64 lower-case hex digits; empty where nobody knows them, and the first download is to say them
    said                 what the file does not say of itself, as in ``MODEL.json`` beside a file here
    """

    url: str
    sha256: str
    bin_sha256: str = ""
    said: Said = ()

    @property
    def name(self) -> str:
        return unquote(urlsplit(self.url).path.rpartition("/")[2])

    @property
    def weights_url(self) -> str:
        """Where the weights of an OpenVINO model lie; empty for ONNX, which holds its own."""
        parts = urlsplit(self.url)
        if not parts.path.lower().endswith(".xml"):
            return ""
        return parts._replace(path=parts.path[: -len("xml")] + "bin").geturl()

    @property
    def is_pinned(self) -> bool:
        return bool(self.sha256) and (bool(self.bin_sha256) or not self.weights_url)

    @property
    def canonical(self) -> str:
        weights = f"&bin_sha256={self.bin_sha256}" if self.bin_sha256 else ""
        return f"{self.url}#sha256={self.sha256 or UNKNOWN}{weights}{as_text(self.said)}"


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A model that comes with the program and needs no weights."""

    name: str

    @property
    def canonical(self) -> str:
        return f"builtin://{self.name}"


Reference = (
    HuggingFaceModel
    | HuggingFaceEndpoint
    | RoboflowVersion
    | InferenceServerModel
    | NuclioFunction
    | LocalFolder
    | LocalFile
    | HttpsFile
    | Cascade
    | BuiltIn
)
