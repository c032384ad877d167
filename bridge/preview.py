"""Frames with their shapes drawn, for eyes.

Lines, dots and text grow with the picture, and a picture too small to read is enlarged first. Drawn at twice the size
and averaged down, which smooths slanted lines and leaves the picture's own pixels as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from bridge.domain import Shape
from bridge.masks import crop_mask
from bridge.outlines import box_of, mask_of, outlines_of

SMALLEST = 480  # pixels of the longer side, below which a picture is enlarged
SMOOTHED = 2400  # pixels of the longer side, up to which slanted lines are smoothed
_FALLBACK = "#e6194b"
_FILL = {"mask": 105, "polygon": 60, "ellipse": 60, "rectangle": 22}  # alpha of 255
_HALO = (0, 0, 0, 110)

Color = tuple[int, int, int]
Area = tuple[float, float, float, float]


def draw(pixels: NDArray[np.uint8], shapes: Sequence[Shape], colors: Mapping[str, str]) -> Image.Image:
    """The picture (RGB u8[h, w, 3]) with its shapes: outlines, translucent areas, dots, and label with score.

    ``colors`` maps labels to #rrggbb. Large shapes are drawn first, so that small ones are not covered. A mask that
    cannot be read is left out. The answer has the picture's size, or a multiple of it where that was too small.
    """
    height, width = pixels.shape[:2]
    enlarged = max(1, -(-SMALLEST // max(width, height)))
    smooth = 2 if enlarged * max(width, height) <= SMOOTHED else 1
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if enlarged > 1:
        picture = picture.resize((width * enlarged, height * enlarged), Image.Resampling.BICUBIC)
    if smooth > 1:
        picture = picture.resize((picture.width * smooth, picture.height * smooth), Image.Resampling.NEAREST)
    canvas = _Canvas(picture, (width, height), enlarged * smooth)
    placed = [(box, shape) for shape in shapes for box in [_box(shape, (width, height))]]
    placed.sort(key=lambda entry: -_extent(entry[0]))
    for box, shape in placed:
        canvas.shape(shape, box, _color(colors.get(shape.label, _FALLBACK)))
    for box, shape in placed:
        canvas.chip(_caption(shape), box, _color(colors.get(shape.label, _FALLBACK)))
    return picture.reduce(smooth) if smooth > 1 else picture


def contact_sheet(images: Sequence[Image.Image], columns: int, *, cell_width: int = 480, gap: int = 10) -> Image.Image:
    """The images side by side, ``columns`` in a row, each fitted into a cell of the first one's proportions.

    Raises ValueError without an image or with fewer than one column.
    """
    if not images or columns < 1:
        raise ValueError("a contact sheet needs at least one image and one column")
    columns = min(columns, len(images))
    cell_height = max(1, round(cell_width * images[0].height / images[0].width))
    rows = -(-len(images) // columns)
    size = (columns * (cell_width + gap) + gap, rows * (cell_height + gap) + gap)
    sheet = Image.new("RGB", size, "#f4f4f2")
    for number, image in enumerate(images):
        scale = min(cell_width / image.width, cell_height / image.height)
        fitted = image.convert("RGB").resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
        )
        left = gap + number % columns * (cell_width + gap) + (cell_width - fitted.width) // 2
        top = gap + number // columns * (cell_height + gap) + (cell_height - fitted.height) // 2
        sheet.paste(fitted, (left, top))
    return sheet


@dataclass
class _Canvas:
    """Draws on ``picture``, which shows a frame of ``size`` at ``scale``."""

    picture: Image.Image
    size: tuple[int, int]
    scale: int
    _taken: list[Area] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pen = ImageDraw.Draw(self.picture, "RGBA")
        side = (self.picture.width * self.picture.height) ** 0.5
        self._line = max(2, round(side / 260))
        self._font = ImageFont.load_default(size=max(10, round(side / 36)))

    def shape(self, shape: Shape, box: Area | None, color: Color) -> None:
        if box is None:
            return
        if shape.type == "mask":
            self._mask(shape, color)
        if shape.type in ("points", "skeleton"):
            self._dots(shape, color)
            return
        for outline in outlines_of(shape, self.size):
            points = [(x * self.scale, y * self.scale) for x, y in zip(outline[::2], outline[1::2], strict=True)]
            if shape.type != "mask":
                self._pen.polygon(points, fill=(*color, _FILL[shape.type]))
            self._outline(points, color)

    def _outline(self, points: list[tuple[float, float]], color: Color) -> None:
        closed = [*points, points[0], points[1]]
        self._pen.line(closed, fill=_HALO, width=self._line + max(2, self._line // 2), joint="curve")
        self._pen.line(closed, fill=(*color, 255), width=self._line, joint="curve")

    def _mask(self, shape: Shape, color: Color) -> None:
        crop = crop_mask(mask_of(shape, self.size))
        if crop is None:
            return
        left, top, bits = crop
        alpha = Image.fromarray(bits * np.uint8(_FILL["mask"]))
        alpha = alpha.resize((alpha.width * self.scale, alpha.height * self.scale), Image.Resampling.NEAREST)
        self.picture.paste(color, (left * self.scale, top * self.scale), alpha)

    def _dots(self, shape: Shape, color: Color) -> None:
        step = 3 if shape.type == "skeleton" else 2
        radius = self._line * 1.8
        for at in range(0, len(shape.points), step):
            x, y = (value * self.scale for value in shape.points[at : at + 2])
            if step == 3 and not shape.points[at + 2]:
                continue
            for reach, fill in ((radius + self._line * 0.7, (255, 255, 255, 230)), (radius, (*color, 255))):
                self._pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill)

    def chip(self, text: str, box: Area | None, color: Color) -> None:
        """Label and score on a ground of the label's colour: above the box, or where there is room near it."""
        left, top, right, bottom = self._pen.textbbox((0, 0), text, font=self._font)
        pad = max(3, round((bottom - top) * 0.35))
        ascent = self._pen.textbbox((0, 0), "Ag", font=self._font)
        width, height = right - left + 2 * pad, ascent[3] - ascent[1] + 2 * pad
        x, y = self._place(box, width, height)
        self._taken.append((x, y, x + width, y + height))
        self._pen.rounded_rectangle((x, y, x + width, y + height), pad, fill=(*color, 235))
        ink = (20, 20, 20, 255) if _is_light(color) else (255, 255, 255, 255)
        self._pen.text((x + pad - left, y + pad - ascent[1]), text, font=self._font, fill=ink)

    def _place(self, box: Area | None, width: float, height: float) -> tuple[float, float]:
        last_x, last_y = max(0.0, self.picture.width - width), max(0.0, self.picture.height - height)
        if box is None:  # tags stand in the corner, one below the other
            wanted = [(self._line * 2.0, self._line * 2 + step * height * 1.15) for step in range(50)]
        else:
            x1, y1, x2, y2 = (value * self.scale for value in box)
            edge = x1 - self._line / 2
            wanted = [(edge, y1 - height), (x1, y1), (x2 - width, y1 - height), (edge, y2), (x1, y2 - height)]
            wanted += [(x1, y1 + step * height) for step in range(1, 4)]
        spots = [(min(max(0.0, x), last_x), min(max(0.0, y), last_y)) for x, y in wanted]
        free = [
            spot
            for spot in spots
            if not any(_overlap((*spot, spot[0] + width, spot[1] + height), other) for other in self._taken)
        ]
        return (free or spots)[0]


def _overlap(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _box(shape: Shape, size: tuple[int, int]) -> Area | None:
    """Around a shape; None of a tag and of what cannot be drawn."""
    if shape.type == "points" and shape.points:
        xs, ys = shape.points[::2], shape.points[1::2]
        return min(xs), min(ys), max(xs), max(ys)
    try:
        return box_of(shape, size)
    except ValueError:
        return None


def _extent(box: Area | None) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) if box else float("inf")


def _caption(shape: Shape) -> str:
    return shape.label if shape.score is None else f"{shape.label} {shape.score:.2f}"


def _color(text: str) -> Color:
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError:
        return _color(_FALLBACK)
    return red, green, blue


def _is_light(color: Color) -> bool:
    """By the luminance of Rec. 709; above the middle, dark text is easier to read."""
    red, green, blue = color
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 140
