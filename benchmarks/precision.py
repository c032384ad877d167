"""What half precision costs: average precision of the example model on scenes that its training never saw.

python -m benchmarks.precision [--scenes 60]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from adapters import engine_choice, providers
from adapters.base import Context, PredictOptions
from adapters.frame import Frame
from adapters.graph_session import FAST, FULL
from adapters.references import LocalFolder
from benchmarks.local_models import STREET
from benchmarks.machine import Table, Watch
from tests.coco_quality import average_precision, load_truth

ENGINES = (("transformers", FULL), ("transformers", FAST), ("openvino", FULL), ("openvino", FAST))


async def measure(scenes: int) -> Table:
    sys.path.insert(0, str(STREET.parent))
    from scenes import write_scenes  # type: ignore[import-not-found]  # noqa: PLC0415  (an example, no package)

    # Half precision is taken whether it is faster or not: its cost is what is asked here.
    engine_choice._speed = lambda model: 1.0 + model.engine.half  # type: ignore[attr-defined]
    table = Table(f"Half precision: the example model on {scenes} unseen scenes", ("engine", "mAP", "mAP@50", "ran in"))
    watch = Watch().start()
    with tempfile.TemporaryDirectory() as held_out, tempfile.TemporaryDirectory() as cache:
        write_scenes(Path(held_out), scenes, seed=2)
        for engine, precision in ENGINES:
            context = Context(Path(cache), engine=engine, precision=precision)
            whole, half, ran = await _evaluate(Path(held_out), context)
            table.add(engine=f"{engine}, {precision}", mAP=whole, **{"mAP@50": half, "ran in": ran})
    table.others = watch.others
    return table


async def _evaluate(folder: Path, context: Context) -> tuple[float, float, str]:
    truth = load_truth(folder / "annotations.json")
    label_ids = {label["name"]: label["id"] for label in truth.dataset["categories"]}
    reference = LocalFolder(str(STREET))
    adapter = providers.adapter_for(reference)
    card = await adapter.resolve(reference, context)
    found = []
    async with await adapter.open(card, context) as model:  # type: ignore[union-attr]
        for image in truth.dataset["images"]:
            frame = Frame.from_file(image["file_name"], folder / image["file_name"])
            (answer,) = await model.predict([frame], PredictOptions())  # type: ignore[union-attr]
            for box, score, label in zip(answer.boxes, answer.scores, answer.label_ids, strict=True):
                x1, y1, x2, y2 = box.tolist()
                entry = {"image_id": image["id"], "category_id": label_ids[answer.labels[label]]}
                found.append({**entry, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": float(score)})
        ran = model.engine.name  # type: ignore[union-attr]
    return (*average_precision(truth, found), ran)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=int, default=60)
    asyncio.run(measure(parser.parse_args().scenes)).show()
