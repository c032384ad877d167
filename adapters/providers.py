"""Reference kind -> adapter. The one table that says which sources of models this version has.

Adapters are imported when they are asked for: nobody pays for an engine or a client that is not used.
"""

from __future__ import annotations

from importlib import import_module

from adapters.base import Adapter, ModelCard
from adapters.errors import Unsupported
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
)

_HUGGING_FACE_LOCAL = "adapters.huggingface_local:HuggingFaceLocal"

# Reference kind -> the provider that its cards carry, and "module:class" of the adapter.
ADAPTERS: dict[type, tuple[str, str]] = {
    HuggingFaceModel: ("huggingface", "adapters.huggingface:HuggingFace"),
    HuggingFaceEndpoint: ("huggingface-hosted", "adapters.huggingface_hosted:HuggingFaceHosted"),
    RoboflowVersion: ("roboflow", "adapters.roboflow_hosted:RoboflowHosted"),
    InferenceServerModel: ("inference-server", "adapters.inference_server:InferenceServer"),
    NuclioFunction: ("nuclio", "adapters.nuclio_function:NuclioFunctions"),
    LocalFolder: ("local", _HUGGING_FACE_LOCAL),
    LocalFile: ("file", "adapters.onnx_file:OnnxFile"),
    BuiltIn: ("built-in", "adapters.built_in:BuiltIns"),
    HttpsFile: ("https", "adapters.https_file:HttpsFiles"),
    Cascade: ("cascade", "adapters.cascade:Cascades"),
}


def adapter_for(reference: Reference) -> Adapter:
    """The adapter of a parsed reference. Raises Unsupported, naming the kind, where this version has none."""
    if type(reference) in ADAPTERS:
        return _load(ADAPTERS[type(reference)][1])
    raise Unsupported(f"{reference.canonical} is a {type(reference).__name__}, which this version does not run.")


def adapter_for_card(card: ModelCard) -> Adapter:
    """The adapter that made the card. Raises Unsupported where this version has none for its provider."""
    for provider, place in ADAPTERS.values():
        if provider == card.provider:
            return _load(place)
    raise Unsupported(f"{card.name} comes from {card.provider}, which this version does not run.")


def _load(place: str) -> Adapter:
    module, name = place.split(":")
    adapter: Adapter = getattr(import_module(module), name)()
    return adapter
