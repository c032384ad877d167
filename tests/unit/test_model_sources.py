"""docs/model-sources.md cannot lie: its proofs are there, and what runs is in it. And ADDING.md, followed."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from adapters import providers
from adapters.base import Context, Detections, ModelCard, PredictOptions, Predictor
from adapters.frame import Frame
from adapters.local import LocalPredictor
from adapters.onnx_layouts import LAYOUTS
from adapters.readers import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "model-sources.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| source", "|---"))
]
TESTS = {path.stem: path for path in (ROOT / "tests").rglob("test_*.py")}
# What the page calls each provider's source.
WORDS = {
    "huggingface": "Hugging Face",
    "huggingface-hosted": "Hugging Face router",
    "roboflow": "Roboflow (",
    "inference-server": "Roboflow inference server",
    "nuclio": "Nuclio functions",
    "local": "local folder",
    "file": "a single ONNX file",
    "https": "an ONNX file on the web",
    "cascade": "a cascade",
}
ELSEWHERE = {"built-in"}  # it finds nothing on frames


@pytest.mark.parametrize("row", [row for row in ROWS if len(row) == 4], ids=lambda row: row[1][:40])
def test_every_row_names_a_proof_that_is_there(row: list[str]) -> None:
    proof = row[3]
    named = re.findall(r"`(?:tests/[\w/]*?)?(test_\w+?)(?:\.py)?`", proof)
    assert all(name in TESTS for name in named), named
    assert named or any(
        word in proof for word in ("contract suite", "as above", "as there", "as the router", "equal to the library")
    )


def test_every_source_stands_in_the_table() -> None:
    known = {provider for provider, _ in providers.ADAPTERS.values()}
    assert known == WORDS.keys() | ELSEWHERE
    sources = " ".join(row[0] for row in ROWS)
    assert all(word in sources or word in PAGE for word in WORDS.values())


def test_every_layout_is_listed_and_none_that_does_not_exist() -> None:
    listed = re.search(r"Layouts are (.*?)\.", PAGE, re.DOTALL)
    assert listed is not None
    assert set(re.split(r"[,\s]+(?:and\s+)?", listed[1].strip())) - {""} == set(LAYOUTS)


def test_every_task_type_that_runs_here_is_named() -> None:
    shown = {kind.task_type for kind in KINDS.values()} - {"mask-generation", "image-feature-extraction"}
    words = {"image-segmentation": "semantic"}
    assert all(task_type in PAGE or words.get(task_type, "-") in PAGE for task_type in shown)


# ADDING.md, literally: a reference kind, an adapter in a file of its own, a row. The contract suite asks for the case.


@dataclass(frozen=True, slots=True)
class Almanac:
    """1. A reference kind."""

    year: int

    @property
    def canonical(self) -> str:
        return f"almanac://{self.year}"


class AlmanacModel(LocalPredictor[int, float]):
    """ "Anything else derives from LocalPredictor and writes prepare, forward, finish.\""""

    def prepare(self, frame: Frame) -> int:
        return frame.width

    def forward(self, batch: list[int]) -> list[float]:  # type: ignore[override]
        return [float(width) for width in batch]

    def finish(self, raw: float, frame: Frame) -> Detections:
        return Detections(self.card.labels or (), [[0, 0, raw / 2, 9999]], [0.8], [0])


class Almanacs:
    """2. An adapter: resolve, fetch, open."""

    async def resolve(self, reference: Almanac, context: Context) -> ModelCard:
        return ModelCard(
            f"almanac {reference.year}", "almanac", reference.canonical, str(reference.year), "object-detection",
            ("day",), ("rectangle",), "paper",
        )  # fmt: skip

    async def fetch(self, card: ModelCard, context: Context) -> None:
        """Nothing to fetch."""

    async def open(self, card: ModelCard, context: Context) -> Predictor:
        return AlmanacModel(card)


async def test_a_source_is_added_as_the_guide_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (ROOT / "adapters" / "ADDING.md").read_text("utf-8")
    for named in re.findall(r"`([\w/]+\.py)`", guide):
        assert any((ROOT / base / named).exists() for base in ("", "adapters")), named
    for word in (
        "ADAPTERS",
        "KINDS",
        "PROCESSORS",
        "LAYOUTS",
        "HostedPredictor",
        "HttpCaller",
        "key_for",
        "LocalPredictor",
    ):
        assert f"`{word}" in guide
        assert any(re.search(rf"\b{word}\b", path.read_text("utf-8")) for path in (ROOT / "adapters").rglob("*.py")), (
            word
        )
    module = ModuleType("almanacs")
    module.Almanacs = Almanacs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "almanacs", module)
    monkeypatch.setitem(providers.ADAPTERS, Almanac, ("almanac", "almanacs:Almanacs"))  # 3. a row

    context = Context(tmp_path)
    card = await providers.adapter_for(Almanac(2026)).resolve(Almanac(2026), context)  # type: ignore[arg-type]
    adapter = providers.adapter_for_card(card)
    await adapter.fetch(card, context)
    async with await adapter.open(card, context) as predictor:
        assert isinstance(predictor, Predictor)
        frames = [Frame(f"{i}", 20 + i, 10, pixels=np.zeros((10, 20 + i, 3), np.uint8)) for i in range(3)]
        found = await predictor.predict(frames, PredictOptions())
    assert [each.boxes[0].tolist() for each in found] == [[0, 0, (20 + i) / 2, 10] for i in range(3)]

    from tests.contract import test_adapters  # noqa: PLC0415  (only here)

    with pytest.raises(AssertionError):  # 4. the suite fails as long as the row has no case
        test_adapters.test_every_adapter_has_a_case()
