import pytest

from bridge.domain import Shape
from bridge.formats.document import Document, FileShapes, place
from tests.unit.bridge.annotated import frame

BOX = Shape("car", "rectangle", (1, 2, 3, 4))


def document(*names: str, suffixless: bool = False, **more: object) -> Document:
    return Document((), tuple(FileShapes(name, None, None, (BOX,), **more) for name in names), suffixless)


FRAMES = [frame(0, "a/1.jpg"), frame(1, "b/1.jpg"), frame(2, "b/c/2.jpg"), frame(3, "2.png")]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("a/1.jpg", 0),
        ("b\\1.jpg", 1),
        ("2.jpg", 2),
        ("images/train/2.jpg", 2),
        ("train/b/1.jpg", 1),
        ("1.jpg", None),
        ("3.jpg", None),
        ("x/1.jpg", None),
        ("", None),
        ("..", None),
    ],
)
def test_an_image_finds_its_frame_by_name_or_by_the_end_of_its_path(name: str, number: int | None) -> None:
    placed = place(document(name), FRAMES)
    assert list(placed.shapes) == ([] if number is None else [number])
    assert placed.unknown_files == ((name,) if number is None else ())


def test_names_without_a_suffix_find_their_frame_where_one_fits() -> None:
    placed = place(document("a/1", "c/2", "2", suffixless=True), FRAMES)
    assert list(placed.shapes) == [0, 2, 3]
    rivals = [frame(0, "1.jpg"), frame(1, "1.png")]
    assert place(document("1", suffixless=True), rivals).unknown_files == ("1",)


def test_two_images_of_one_frame_are_put_together() -> None:
    placed = place(document("b/c/2.jpg", "2.jpg"), FRAMES)
    assert len(placed.shapes[2]) == 2


def test_an_image_of_another_size_is_named_and_left_out() -> None:
    image = FileShapes("a/1.jpg", 80, 100, (BOX,))
    placed = place(Document((), (image,)), FRAMES)
    assert (placed.shapes, placed.wrong_size) == ({}, ("a/1.jpg",))


def test_shapes_are_clipped_and_those_outside_are_counted() -> None:
    shapes = (
        Shape("car", "rectangle", (-5, 10, 200, 30)),
        Shape("car", "rectangle", (110, 10, 120, 30)),
        Shape("car", "rectangle", (5, 5, 5, 9)),
        Shape("car", "polygon", (-5, 0, 50, 0, 50, 90)),
        Shape("car", "tag"),
    )
    placed = place(Document((), (FileShapes("a/1.jpg", 100, 80, shapes),)), FRAMES)
    assert [shape.points for shape in placed.shapes[0]] == [(0, 10, 100, 30), (0, 0, 50, 0, 50, 80), ()]
    assert placed.outside == {"a/1.jpg": 2}


def test_relative_points_are_scaled_to_the_frame() -> None:
    image = FileShapes("a/1.jpg", None, None, (Shape("car", "rectangle", (0.1, 0.25, 0.5, 1)),), relative=True)
    assert place(Document((), (image,)), FRAMES).shapes[0][0].points == (10, 20, 50, 80)
