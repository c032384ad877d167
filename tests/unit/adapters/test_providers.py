"""The table from reference to adapter, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import get_args

import pytest

from adapters.base import ModelCard
from adapters.errors import Unsupported
from adapters.huggingface_local import HuggingFaceLocal
from adapters.providers import ADAPTERS, adapter_for, adapter_for_card
from adapters.references import (
    HuggingFaceModel,
    LocalFolder,
    Reference,
)

CARD = ModelCard("m", "huggingface", "hf://m", "1", "object-detection", ("a",), ("rectangle",), "onnxruntime")


@pytest.mark.parametrize("reference", [HuggingFaceModel("org/model"), LocalFolder("./model")])
def test_models_that_run_here_have_an_adapter(reference: Reference) -> None:
    assert isinstance(adapter_for(reference), HuggingFaceLocal)


def test_a_kind_without_an_adapter_is_refused_by_name() -> None:
    class Carrier:
        canonical = "pigeon://7"

    with pytest.raises(Unsupported, match="Carrier"):
        adapter_for(Carrier())  # type: ignore[arg-type]


def test_every_kind_of_reference_has_an_adapter() -> None:
    assert set(ADAPTERS) == set(get_args(Reference))


@pytest.mark.parametrize("provider", ["huggingface", "local"])
def test_a_card_finds_the_adapter_that_made_it(provider: str) -> None:
    assert isinstance(adapter_for_card(replace(CARD, provider=provider)), HuggingFaceLocal)


def test_a_card_of_another_provider_is_refused() -> None:
    with pytest.raises(Unsupported, match="elsewhere"):
        adapter_for_card(replace(CARD, provider="elsewhere"))


def test_finding_an_adapter_imports_no_engine_and_no_client() -> None:
    program = (
        "import sys; from adapters.providers import adapter_for; from adapters.references import LocalFolder; "
        "adapter_for(LocalFolder('./model')); "
        "print([name for name in ('torch', 'transformers', 'onnxruntime', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_predicting_with_onnx_runtime_imports_no_torch() -> None:
    program = (
        "import sys; import adapters.graph_local, adapters.huggingface_hub_client; "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
