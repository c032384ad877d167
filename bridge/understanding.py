"""What a pasted text names, said in a sentence, before any host is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adapters.errors import PredictorError
from adapters.references import (
    BuiltIn,
    Cascade,
    HttpsFile,
    HuggingFaceEndpoint,
    HuggingFaceModel,
    InferenceServerModel,
    LocalFile,
    LocalFolder,
    NuclioFunction,
    Reference,
    RoboflowVersion,
    parse_reference,
)
from bridge import catalogue
from bridge.errors import from_predictor
from bridge.registry import Registry

Key = Literal["none", "optional", "required"]


@dataclass(frozen=True, slots=True)
class Understood:
    """A reference in words.

    kind          of source: huggingface, huggingface-endpoint, roboflow, inference-server, nuclio, local, https,
                  cascade or built-in
    reference     its canonical text, without any key
    account_kind, account_host    the connection that a key for it would be; None where it takes none
    key           whether it needs one; ``optional``: only where the model is private or gated
    key_known     whether there is one already, stored, from the environment, or in the text itself
    """

    kind: str
    summary: str
    reference: str
    account_kind: str | None
    account_host: str | None
    key: Key
    key_known: bool


async def understand(text: str, registry: Registry) -> Understood:
    """Read a pasted text; nothing is asked and nothing is kept. Raises InvalidRequest for what names no model."""
    try:
        parsed = parse_reference(catalogue.expanded(text), hub_endpoint=registry.endpoints.get("huggingface", ""))
    except PredictorError as error:
        raise from_predictor(error) from error
    kind, summary, key = _described(parsed.reference)
    account_kind, account_host = parsed.account
    known = bool(parsed.secrets)
    if key != "none" and account_kind and not known:
        known = await registry.knows_secret(account_kind, account_host)
    takes_key = key != "none" and bool(account_kind)
    return Understood(
        kind=kind,
        summary=summary,
        reference=parsed.reference.canonical,
        account_kind=account_kind if takes_key else None,
        account_host=account_host if takes_key else None,
        key=key if takes_key else "none",
        key_known=known,
    )


def _described(reference: Reference) -> tuple[str, str, Key]:  # noqa: PLR0911 (one line for each kind)
    """(kind, a sentence without its full stop, whether it needs a key)."""
    match reference:
        case HuggingFaceModel():
            file = f", file {reference.file}" if reference.file else ""
            text = f"Hugging Face model {reference.repo_id}, revision {reference.revision or 'main'}{file}"
            return "huggingface", text, "optional"
        case HuggingFaceEndpoint():
            what = reference.repo_id or reference.model
            text = f"Hugging Face inference endpoint {reference.url}" + (f", serving {what}" if what else "")
            return "huggingface-endpoint", text, "required"
        case RoboflowVersion():
            where = f"{reference.workspace}/{reference.project}" if reference.workspace else reference.project
            version = "newest trained version" if reference.version is None else f"version {reference.version}"
            return "roboflow", f"Roboflow project {where}, {version}", "required"
        case InferenceServerModel():
            text = f"Roboflow model {reference.project}, version {reference.version}, at {reference.base_url}"
            return "inference-server", text, "optional"
        case NuclioFunction(function=None):
            return "nuclio", f"Nuclio function called directly at {reference.base_url}", "optional"
        case NuclioFunction():
            name = reference.function or "(none chosen)"
            return "nuclio", f"Nuclio function {name} at {reference.base_url}", "optional"
        case LocalFolder():
            return "local", f"Folder {reference.path} on the server", "none"
        case LocalFile():
            return "local", f"File {reference.path} on the server", "none"
        case HttpsFile():
            return "https", f"File {reference.url}, pinned by its hash", "optional"
        case Cascade():
            parts = " and ".join(
                [*(each.attribute for each in reference.attributes), *(["poses"] * bool(reference.pose))]
            )
            return "cascade", f"{reference.detector}, with {parts} of what it finds by further models", "none"
        case BuiltIn():
            return "built-in", f"{reference.name}, which comes with Hubbridge", "none"
