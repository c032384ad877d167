"""Drawn street scenes with exact boxes: the data that the demo model was trained on and is judged by.

Everything comes from a seed, so scene ``(seed, index)`` is the same picture on every machine with the same
Pillow. Training uses seed 1; the held-out scenes of the tests use seed 2; the example images use seed 3.

    python examples/street/scenes.py OUT_DIR --count 50 --seed 2     # JPEGs and annotations.json (COCO)
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 640, 480
LABELS = ("car", "bus", "truck", "person", "bicycle", "tree", "traffic light", "stop sign")
# Width over height of each label's box, and the range of the box's longer side as a share of the frame's height.
PROPORTIONS = {
    "car": (1.9, 2.5, 0.16, 0.62),
    "bus": (1.7, 2.4, 0.26, 0.75),
    "truck": (1.6, 2.2, 0.24, 0.70),
    "person": (0.32, 0.45, 0.18, 0.60),
    "bicycle": (1.4, 1.7, 0.16, 0.45),
    "tree": (0.55, 0.85, 0.25, 0.80),
    "traffic light": (0.30, 0.40, 0.16, 0.50),
    "stop sign": (0.42, 0.52, 0.18, 0.55),
}
SUPERSAMPLING = 2
VISIBLE_SHARE = 0.55  # an object that shows less of itself than this is left out of the truth, and not drawn

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """A picture and its truth: ``boxes`` are (x1, y1, x2, y2) in pixels, ``label_ids`` index ``LABELS``."""

    image: Image.Image
    boxes: np.ndarray
    label_ids: np.ndarray


class Pen:
    """Draws in unit coordinates ((0, 0) top left, (1, 1) bottom right) on a transparent sprite."""

    def __init__(self, width: int, height: int) -> None:
        self.sprite = Image.new("RGBA", (width, height), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.sprite)
        self._size = (width - 1, height - 1)
        self.stroke = max(2, min(width, height) // 24)

    def _points(self, flat: tuple[float, ...]) -> list[tuple[float, float]]:
        wide, high = self._size
        return [(flat[i] * wide, flat[i + 1] * high) for i in range(0, len(flat), 2)]

    def box(self, fill: Colour, *flat: float, radius: float = 0.0) -> None:
        self._draw.rounded_rectangle(self._points(flat), radius * min(self._size), fill=fill)

    def oval(self, fill: Colour, *flat: float) -> None:
        self._draw.ellipse(self._points(flat), fill=fill)

    def ring(self, colour: Colour, *flat: float) -> None:
        self._draw.ellipse(self._points(flat), outline=colour, width=self.stroke)

    def disc(self, fill: Colour, x: float, y: float, radius: float) -> None:
        """A true circle whose radius is a share of the sprite's height."""
        wide, high = self._size
        pixels = radius * high
        self._draw.ellipse((x * wide - pixels, y * high - pixels, x * wide + pixels, y * high + pixels), fill=fill)

    def line(self, colour: Colour, *flat: float, thickness: float = 1.0) -> None:
        self._draw.line(self._points(flat), fill=colour, width=max(1, round(self.stroke * thickness)), joint="curve")

    def polygon(self, fill: Colour, *flat: float) -> None:
        self._draw.polygon(self._points(flat), fill=fill)


def _paint(rng: np.random.Generator, low: int = 30, high: int = 235) -> Colour:
    red, green, blue = (int(v) for v in rng.integers(low, high, 3))
    return red, green, blue


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(min(255, max(0, channel * factor))) for channel in colour)
    return red, green, blue


GLASS: Colour = (150, 190, 210)
TYRE: Colour = (28, 28, 30)
HUB: Colour = (150, 150, 155)


def _wheels(pen: Pen, places: tuple[float, ...], y: float, radius: float) -> None:
    for x in places:
        pen.disc(TYRE, x, y, radius)
        pen.disc(HUB, x, y, radius * 0.45)


def draw_car(pen: Pen, rng: np.random.Generator) -> None:
    body = _paint(rng)
    pen.polygon(_shade(body, 0.85), 0.20, 0.48, 0.32, 0.04, 0.70, 0.04, 0.86, 0.48)
    pen.polygon(GLASS, 0.27, 0.45, 0.35, 0.12, 0.49, 0.12, 0.49, 0.45)
    pen.polygon(GLASS, 0.53, 0.45, 0.53, 0.12, 0.67, 0.12, 0.78, 0.45)
    pen.box(body, 0.0, 0.42, 1.0, 0.82, radius=0.16)
    pen.box((245, 235, 160), 0.93, 0.50, 1.0, 0.60)
    pen.box((200, 40, 40), 0.0, 0.50, 0.05, 0.60)
    _wheels(pen, (0.22, 0.78), 0.80, 0.195)


def draw_bus(pen: Pen, rng: np.random.Generator) -> None:
    body = _paint(rng)
    pen.box(body, 0.0, 0.0, 1.0, 0.88, radius=0.07)
    pen.box(_shade(body, 0.7), 0.0, 0.58, 1.0, 0.66)
    windows = int(rng.integers(4, 7))
    for i in range(windows):
        left = 0.05 + i * 0.78 / windows
        pen.box(GLASS, left, 0.14, left + 0.62 / windows, 0.46)
    pen.box(_shade(GLASS, 0.75), 0.86, 0.14, 0.97, 0.80)
    _wheels(pen, (0.20, 0.74), 0.87, 0.125)


def draw_truck(pen: Pen, rng: np.random.Generator) -> None:
    cargo, cab = _paint(rng, 110, 250), _paint(rng)
    pen.box(cargo, 0.0, 0.0, 0.68, 0.78)
    for i in range(1, 5):
        pen.line(_shade(cargo, 0.8), 0.68 * i / 5, 0.04, 0.68 * i / 5, 0.74, thickness=0.5)
    pen.polygon(cab, 0.71, 0.22, 0.88, 0.22, 1.0, 0.52, 1.0, 0.84, 0.71, 0.84)
    pen.polygon(GLASS, 0.78, 0.30, 0.87, 0.30, 0.95, 0.52, 0.78, 0.52)
    pen.box((60, 60, 62), 0.0, 0.78, 1.0, 0.86)
    _wheels(pen, (0.14, 0.34, 0.83), 0.865, 0.13)


def draw_person(pen: Pen, rng: np.random.Generator) -> None:
    skin = _shade((236, 196, 164), float(rng.uniform(0.4, 1.05)))
    shirt, trousers = _paint(rng), _paint(rng, 20, 140)
    stride = float(rng.uniform(0.06, 0.22))
    pen.line(trousers, 0.5, 0.55, 0.5 - stride - 0.08, 0.97, thickness=4.2)
    pen.line(trousers, 0.5, 0.55, 0.5 + stride + 0.08, 0.97, thickness=4.2)
    pen.line(skin, 0.32, 0.24, 0.08, 0.52, thickness=2.6)
    pen.line(skin, 0.68, 0.24, 0.92, 0.50, thickness=2.6)
    pen.box(shirt, 0.24, 0.19, 0.76, 0.60, radius=0.18)
    pen.disc(skin, 0.5, 0.095, 0.092)
    pen.polygon(_paint(rng, 10, 120), 0.24, 0.085, 0.34, 0.0, 0.66, 0.0, 0.76, 0.085)
    pen.box((40, 36, 34), 0.5 - stride - 0.20, 0.955, 0.5 - stride + 0.06, 1.0)
    pen.box((40, 36, 34), 0.5 + stride - 0.06, 0.955, 0.5 + stride + 0.20, 1.0)


def draw_bicycle(pen: Pen, rng: np.random.Generator) -> None:
    frame = _paint(rng)
    for left in (0.0, 0.60):
        pen.ring(TYRE, left, 0.38, left + 0.40, 1.0)
        pen.line((120, 120, 125), left + 0.06, 0.69, left + 0.34, 0.69, thickness=0.4)
        pen.line((120, 120, 125), left + 0.20, 0.46, left + 0.20, 0.92, thickness=0.4)
    pen.line(frame, 0.20, 0.69, 0.38, 0.28, 0.70, 0.26, 0.48, 0.70, 0.20, 0.69, thickness=1.3)
    pen.line(frame, 0.48, 0.70, 0.36, 0.16, thickness=1.3)
    pen.line(frame, 0.80, 0.69, 0.68, 0.06, 0.80, 0.02, thickness=1.3)
    pen.box(TYRE, 0.27, 0.09, 0.45, 0.17, radius=0.03)


def draw_tree(pen: Pen, rng: np.random.Generator) -> None:
    trunk = _shade((110, 75, 45), float(rng.uniform(0.6, 1.2)))
    leaves = (int(rng.integers(20, 120)), int(rng.integers(90, 180)), int(rng.integers(20, 80)))
    pen.polygon(trunk, 0.42, 1.0, 0.46, 0.50, 0.54, 0.50, 0.58, 1.0)
    if rng.random() < 0.4:  # a conifer
        for top, width in ((0.34, 0.5), (0.17, 0.40), (0.0, 0.28)):
            pen.polygon(_shade(leaves, 0.85 + top), 0.5, top, 0.5 - width, top + 0.42, 0.5 + width, top + 0.42)
        return
    pen.oval(leaves, 0.0, 0.16, 0.62, 0.62)
    pen.oval(_shade(leaves, 0.86), 0.36, 0.18, 1.0, 0.64)
    pen.oval(_shade(leaves, 1.15), 0.18, 0.0, 0.82, 0.46)


def draw_traffic_light(pen: Pen, rng: np.random.Generator) -> None:
    pen.box(_shade((90, 92, 96), float(rng.uniform(0.7, 1.3))), 0.42, 0.50, 0.58, 1.0)
    pen.box((32, 34, 36), 0.06, 0.0, 0.94, 0.64, radius=0.16)
    lit = int(rng.integers(0, 3))
    for i, colour in enumerate(((235, 50, 40), (245, 190, 40), (50, 215, 90))):
        pen.disc(colour if i == lit else _shade(colour, 0.28), 0.5, 0.115 + 0.205 * i, 0.088)


def draw_stop_sign(pen: Pen, rng: np.random.Generator) -> None:
    pen.box((140, 142, 146), 0.45, 0.45, 0.55, 1.0)
    edge = (0.29, 0.0, 0.71, 0.0, 1.0, 0.145, 1.0, 0.355, 0.71, 0.50, 0.29, 0.50, 0.0, 0.355, 0.0, 0.145)
    pen.polygon((240, 240, 240), *edge)
    inner = tuple(0.5 + (v - 0.5) * 0.88 if i % 2 == 0 else 0.25 + (v - 0.25) * 0.88 for i, v in enumerate(edge))
    pen.polygon(_shade((200, 28, 36), float(rng.uniform(0.8, 1.15))), *inner)
    pen.box((240, 240, 240), 0.18, 0.21, 0.82, 0.29)


DRAWERS: dict[str, Callable[[Pen, np.random.Generator], None]] = {
    "car": draw_car,
    "bus": draw_bus,
    "truck": draw_truck,
    "person": draw_person,
    "bicycle": draw_bicycle,
    "tree": draw_tree,
    "traffic light": draw_traffic_light,
    "stop sign": draw_stop_sign,
}


def draw_background(rng: np.random.Generator) -> Image.Image:
    """Sky, houses, a road and clutter that is none of the labels."""
    top, bottom = np.array(_paint(rng, 40, 250)), np.array(_paint(rng, 90, 255))
    ramp = np.linspace(0, 1, HEIGHT)[:, None, None]
    image = Image.fromarray(np.broadcast_to(top * (1 - ramp) + bottom * ramp, (HEIGHT, WIDTH, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    horizon = int(HEIGHT * rng.uniform(0.35, 0.62))
    left = -20
    while left < WIDTH and rng.random() < 0.92:  # houses
        wide, high = int(rng.integers(50, 150)), int(rng.integers(40, max(60, horizon)))
        wall = _paint(rng, 60, 220)
        draw.rectangle((left, horizon - high, left + wide, horizon), fill=wall)
        for y in range(horizon - high + 10, horizon - 14, 26):
            for x in range(left + 8, left + wide - 14, 24):
                draw.rectangle((x, y, x + 11, y + 14), fill=_shade(wall, float(rng.choice((0.5, 1.4)))))
        left += wide + int(rng.integers(0, 40))
    draw.rectangle((0, horizon, WIDTH, HEIGHT), fill=_paint(rng, 60, 190))
    road = int(rng.uniform(horizon, HEIGHT * 0.8))
    draw.rectangle((0, road, WIDTH, HEIGHT), fill=_shade((105, 105, 110), float(rng.uniform(0.5, 1.4))))
    for x in range(int(rng.integers(-60, 0)), WIDTH, 90):
        draw.rectangle((x, (road + HEIGHT) // 2, x + 46, (road + HEIGHT) // 2 + 6), fill=(225, 220, 200))
    for _ in range(int(rng.integers(3, 14))):  # bins, crates, stones, puddles
        x, y = int(rng.integers(0, WIDTH)), int(rng.integers(horizon - 40, HEIGHT))
        wide, high = int(rng.integers(6, 60)), int(rng.integers(6, 40))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x, y, x + wide, y + high), fill=_paint(rng))
    return image


def draw_object(label: str, rng: np.random.Generator) -> Image.Image:
    """One object as an RGBA sprite whose transparent margin is cut off."""
    low, high, least, most = PROPORTIONS[label]
    aspect = rng.uniform(low, high)
    longer = HEIGHT * np.exp(rng.uniform(np.log(least), np.log(most)))
    wide, tall = (longer, longer / aspect) if aspect >= 1 else (longer * aspect, longer)
    pen = Pen(max(8, round(wide * SUPERSAMPLING)), max(8, round(tall * SUPERSAMPLING)))
    DRAWERS[label](pen, rng)
    sprite = pen.sprite.reduce(SUPERSAMPLING)
    if rng.random() < 0.5:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.4:
        sprite = sprite.rotate(float(rng.uniform(-8, 8)), Image.Resampling.BICUBIC, expand=True)
    return sprite.crop(sprite.getchannel("A").getbbox())


def make_scene(seed: int, index: int) -> Scene:
    """Scene ``index`` of series ``seed``: 2 to 9 objects, later ones in front of earlier ones."""
    rng = np.random.default_rng((seed, index))
    image = draw_background(rng)
    placed: list[tuple[int, Image.Image, int, int]] = []
    visible: list[np.ndarray] = []  # of each object placed so far, the pixels that still show
    areas: list[int] = []
    for _ in range(int(rng.integers(2, 10))):
        label_id = int(rng.integers(len(LABELS)))
        sprite = draw_object(LABELS[label_id], rng)
        wide, high = sprite.size
        x = int(rng.integers(-wide // 6, max(1, WIDTH - wide * 5 // 6)))
        y = int(np.clip(rng.normal(HEIGHT * 0.58, HEIGHT * 0.16) - high / 2, -high // 8, HEIGHT - high * 7 // 8))
        cover = np.zeros((HEIGHT, WIDTH), bool)
        alpha = np.asarray(sprite.getchannel("A")) > 127
        x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + wide, WIDTH), min(y + high, HEIGHT)
        cover[y1:y2, x1:x2] = alpha[y1 - y : y2 - y, x1 - x : x2 - x]
        left = [earlier & ~cover for earlier in visible]
        hides = any(rest.sum() < VISIBLE_SHARE * area for rest, area in zip(left, areas, strict=True))
        if hides or cover.sum() < VISIBLE_SHARE * alpha.sum():
            continue
        visible = [*left, cover]
        areas.append(int(alpha.sum()))
        placed.append((label_id, sprite, x, y))
    for _, sprite, x, y in placed:
        image.paste(sprite, (x, y), sprite)
    boxes = [
        (max(x, 0), max(y, 0), min(x + sprite.width, WIDTH), min(y + sprite.height, HEIGHT))
        for _, sprite, x, y in placed
    ]
    return Scene(
        _weather(image, rng),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([label_id for label_id, *_ in placed], np.int32),
    )


def _weather(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light, blur, sensor noise and JPEG artefacts."""
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.6))))
    pixels = np.asarray(image, np.float32)
    pixels = (pixels - 128) * rng.uniform(0.6, 1.15) + 128 * rng.uniform(0.65, 1.25)
    pixels += rng.standard_normal(pixels.shape, np.float32) * rng.uniform(0, 14)
    noisy = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    packed = io.BytesIO()
    noisy.save(packed, "JPEG", quality=int(rng.integers(70, 96)))
    return Image.open(packed).convert("RGB")


def coco(scenes: list[tuple[str, Scene]]) -> dict[str, object]:
    """The truth of named scenes as a COCO instances document."""
    annotations = []
    for image_id, (_, scene) in enumerate(scenes, 1):
        for box, label_id in zip(scene.boxes.tolist(), scene.label_ids.tolist(), strict=True):
            wide, high = box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label_id + 1,
                    "bbox": [box[0], box[1], wide, high],
                    "area": wide * high,
                    "iscrowd": 0,
                }
            )
    return {
        "images": [
            {"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT} for i, (name, _) in enumerate(scenes, 1)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(LABELS, 1)],
        "annotations": annotations,
    }


def write_scenes(folder: Path, count: int, seed: int) -> Path:
    """Write ``count`` JPEGs and ``annotations.json`` into ``folder``; the path of the latter is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    named = []
    for index in range(count):
        scene = make_scene(seed, index)
        name = f"street_{index:04d}.jpg"
        scene.image.save(folder / name, quality=90)
        named.append((name, scene))
    truth = folder / "annotations.json"
    truth.write_text(json.dumps(coco(named)))
    return truth


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw street scenes with their boxes as a COCO file.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    print(f"{args.count} scenes, truth in {write_scenes(args.folder, args.count, args.seed)}")


if __name__ == "__main__":
    main()
