"""PP-OCR's text detector with its real weights, as the PyPI package rapidocr carries them (Apache-2.0).

Lines of text are drawn at known places; the model must find each, and what it finds equals what the package's own code
makes of the same file.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from adapters.base import Context, Detections, PredictOptions
from adapters.frame import Frame
from adapters.onnx_file import OnnxFile
from adapters.references import LocalFile

PACKAGE = importlib.util.find_spec("rapidocr")
pytestmark = pytest.mark.skipif(PACKAGE is None, reason="rapidocr, which carries the weights, is not installed")
LINES = (((50, 60), "Hello world", 40), ((200, 300), "STOP 42 km", 40), ((320, 180), "small print", 24))


def weights() -> Path:
    assert PACKAGE is not None
    assert PACKAGE.origin is not None
    (found,) = (Path(PACKAGE.origin).parent / "models").glob("*det*.onnx")
    return found


def page(width: int = 640, height: int = 480) -> tuple[Frame, list[tuple[float, float, float, float]]]:
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    places = []
    for place, text, size in LINES:
        font = ImageFont.load_default(size)
        draw.text(place, text, fill="black", font=font)
        places.append(draw.textbbox(place, text, font=font))
    return Frame("page", width, height, pixels=np.asarray(image)), places


async def detect(frame: Frame, folder: Path) -> Detections:
    model = folder / "text.onnx"
    shutil.copy(weights(), model)
    context = Context(folder / "cache")
    card = await OnnxFile().resolve(LocalFile(str(model)), context)
    assert (card.labels, card.shape_types, card.settings["layout"]) == (("text",), ("polygon",), "text")
    async with await OnnxFile().open(card, context) as predictor:
        (found,) = await predictor.predict([frame], PredictOptions(floor_score=0.5))
    return found


async def test_every_line_of_text_is_found_as_a_polygon(tmp_path: Path) -> None:
    frame, places = page()
    found = await detect(frame, tmp_path)
    assert len(found) == len(places)
    for x1, y1, x2, y2 in places:
        distances = np.abs(found.boxes - np.array([x1, y1, x2, y2])).max(axis=1)
        assert distances.min() < 12
    assert found.scores.min() > 0.7


async def test_an_empty_page_holds_no_text(tmp_path: Path) -> None:
    blank = Frame("blank", 300, 200, pixels=np.full((200, 300, 3), 255, np.uint8))
    assert len(await detect(blank, tmp_path)) == 0


async def test_boxes_equal_those_of_the_package(tmp_path: Path) -> None:
    utils = pytest.importorskip("rapidocr.ch_ppocr_det.utils")
    onnxruntime = pytest.importorskip("onnxruntime")
    frame, _ = page()
    found = await detect(frame, tmp_path)
    session = onnxruntime.InferenceSession(str(weights()))
    tensor = utils.DetPreProcess(736, "min")(np.ascontiguousarray(frame.pixels[:, :, ::-1]))
    heat = session.run(None, {session.get_inputs()[0].name: tensor})[0]
    read = utils.DBPostProcess(thresh=0.3, box_thresh=0.5, unclip_ratio=1.6, use_dilation=True)
    polygons, scores = read(heat, (frame.height, frame.width))
    expected = sorted((*each.min(axis=0).tolist(), *each.max(axis=0).tolist()) for each in polygons)
    ours = sorted(tuple(box) for box in found.boxes.tolist())
    np.testing.assert_allclose(np.array(ours), np.array(expected), atol=1.5)  # the package rounds to whole pixels
    np.testing.assert_allclose(sorted(found.scores), sorted(scores), atol=0.01)
