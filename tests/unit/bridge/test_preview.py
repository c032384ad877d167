from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from bridge.domain import Shape
from bridge.preview import contact_sheet, draw
from tests.unit.bridge.annotated import ALL, LABELS, MASK, bits, rle

RED = {"car": "#ff0000", "person": "#00ff00"}


def grey(width: int = 100, height: int = 80, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def changed(image: Image.Image, base: int = 128) -> np.ndarray:
    return (np.abs(np.asarray(image).astype(int) - base) > 8).any(axis=2)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080), (480, 20), (3000, 500)])
def test_a_picture_of_readable_size_keeps_its_size_and_its_pixels(width: int, height: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3)).astype(np.uint8)
    assert (np.asarray(draw(pixels, [], {})) == pixels).all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (64, 64), (100, 80), (479, 10)])
def test_a_small_picture_is_enlarged_by_a_whole_number(width: int, height: int) -> None:
    image = draw(grey(width, height), [Shape("car", "rectangle", (0, 0, width, height), score=0.5)], RED)
    assert max(image.size) >= 480
    assert (image.width % width, image.width * height) == (0, image.height * width)


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.type)
@pytest.mark.parametrize("size", [(640, 480), (100, 80)])
def test_every_shape_leaves_a_mark_and_the_picture_around_it_stays(shape: Shape, size: tuple[int, int]) -> None:
    if shape.type == "mask":
        shape = MASK if size == (100, 80) else replace(MASK, rle=rle(np.kron(bits(), np.ones((6, 6), np.uint8))))
        size = (100, 80) if size == (100, 80) else (600, 480)
    image = draw(grey(*size), [shape], {label.name: label.color for label in LABELS})
    marks = changed(image)
    assert 0 < marks.mean() < 0.9
    assert not marks[-1, -1]


def test_the_line_of_a_box_is_its_labels_colour() -> None:
    image = draw(grey(640, 480), [Shape("car", "rectangle", (200, 200, 400, 300))], RED)
    assert image.getpixel((200, 250)) == pytest.approx((255, 0, 0), abs=3)
    assert image.getpixel((300, 300)) == pytest.approx((255, 0, 0), abs=3)
    assert image.getpixel((300, 250))[0] > 128 > image.getpixel((300, 250))[2]
    assert image.getpixel((100, 250)) == (128, 128, 128)


def test_a_mask_is_translucent_where_it_is_set_and_nowhere_else() -> None:
    image = draw(grey(500, 400), [Shape("car", "mask", rle=rle(np.kron(bits(), np.ones((5, 5), np.uint8))))], RED)
    red, green, _ = image.getpixel((250, 290))
    assert red > 160 > 60 < green < 100
    assert image.getpixel((250, 200)) == (128, 128, 128)


def test_labels_of_neighbours_do_not_cover_each_other() -> None:
    def chips(count: int) -> int:
        shapes = [Shape("car", "rectangle", (200, 200, 400, 300), score=0.5)] * count
        red, green, _ = np.moveaxis(np.asarray(draw(grey(640, 480), shapes, RED)).astype(int), 2, 0)
        return int(((red > 200) & (green < 60)).sum())

    assert chips(2) > chips(1) + 500
    assert chips(3) > chips(2) + 500


@pytest.mark.parametrize("box", [(0, 0, 640, 480), (0, 0, 5, 5), (635, 475, 640, 480), (-50, -50, 700, 600)])
def test_shapes_at_the_edges_are_drawn(box: tuple[float, ...]) -> None:
    image = draw(grey(640, 480), [Shape("a long name of a label " * 3, "rectangle", box, score=1)], RED)
    assert changed(image).any()


def test_a_mask_that_cannot_be_read_and_an_unknown_colour_do_not_stop_the_rest() -> None:
    shapes = [Shape("car", "mask", rle=b"what"), Shape("bus", "rectangle", (10, 200, 100, 300))]
    assert changed(draw(grey(640, 480), shapes, {"bus": "no colour"}))[250, 10]


def test_large_shapes_do_not_cover_small_ones() -> None:
    small, large = Shape("car", "rectangle", (300, 200, 320, 220)), Shape("person", "polygon", (0, 0, 640, 0, 640, 480))
    assert draw(grey(640, 480), [small, large], RED) == draw(grey(640, 480), [large, small], RED)


def test_a_contact_sheet_puts_images_side_by_side() -> None:
    images = [
        Image.new("RGB", size, color) for size, color in (((40, 30), "red"), ((30, 40), "blue"), ((80, 60), "lime"))
    ]
    sheet = contact_sheet(images, 2, cell_width=100, gap=10)
    assert sheet.size == (230, 180)
    assert sheet.getpixel((60, 40)) == (255, 0, 0)
    assert sheet.getpixel((170, 40)) == (0, 0, 255)
    assert sheet.getpixel((60, 130)) == (0, 255, 0)
    assert contact_sheet(images[:1], 5).width == 500


@pytest.mark.parametrize(("count", "columns"), [(0, 3), (1, 0)])
def test_a_contact_sheet_of_nothing_is_refused(count: int, columns: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([Image.new("RGB", (4, 4))] * count, columns)
