"""One image as its source has it, and the one place where image files are decoded.

The usual raster formats are read: EXIF orientation is applied, 16-bit grey is scaled to 8 bits, CMYK and palettes
become RGB, transparency is laid on white, and of an animation the first picture counts.
"""

from __future__ import annotations

import functools
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from adapters.errors import BadFrame

MAX_PIXELS = 178_956_970  # of one image: a bound against decompression bombs, here an error and not a warning
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # odd metadata, which nobody here reads
_ORIENTATION = 0x0112
# What is opened. Pillow knows more: among them are formats that start other programs or hold no picture at all.
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "TGA", "JPEG2000", "PPM", "ICO")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Upright size in pixels, Pillow's format name, and the EXIF orientation (1: upright as stored)."""

    width: int
    height: int
    format: str
    orientation: int


def read_info(frame_id: str, source: bytes | Path) -> ImageInfo:
    """Size and form from the header alone. Raises BadFrame where it is no readable image."""
    with _opened(frame_id, source) as image:
        orientation = _orientation(image)
        width, height = image.size
        if orientation >= 5:
            width, height = height, width
        return ImageInfo(width, height, image.format or "", orientation)


def decode(frame_id: str, source: bytes | Path) -> Pixels:
    """The upright picture as RGB u8[h, w, 3]. Raises BadFrame, also where the file is cut short."""
    with _opened(frame_id, source) as image:
        try:
            image.load()
            # Pillow answers a copy also where there is nothing to do, which most pictures can be spared.
            upright = ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
            plain = upright.mode == "RGB" and "transparency" not in upright.info
            return np.asarray(upright if plain else _to_rgb(upright))
        except (OSError, ValueError, SyntaxError, MemoryError, EOFError) as error:
            raise BadFrame(frame_id, f"{frame_id} is damaged: {_reason(error)}.") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of ``_FORMATS`` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


class _opened:  # noqa: N801  (reads as a context manager)
    """Pillow's image of a source, with every way of failing turned into BadFrame."""

    def __init__(self, frame_id: str, source: bytes | Path) -> None:
        self._frame_id = frame_id
        self._source = source

    def __enter__(self) -> Image.Image:
        frame_id, source = self._frame_id, self._source
        try:
            opened = io.BytesIO(source) if isinstance(source, bytes) else source
            self._image = Image.open(opened, formats=_formats())
        except FileNotFoundError as error:
            raise BadFrame(frame_id, f"{frame_id} is missing.") from error
        except UnidentifiedImageError as error:
            empty = len(source) == 0 if isinstance(source, bytes) else source.stat().st_size == 0
            raise BadFrame(frame_id, f"{frame_id} is {'empty' if empty else 'not an image'}.") from error
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            raise BadFrame(frame_id, f"{frame_id} cannot be read: {_reason(error)}.") from error
        width, height = self._image.size
        if width * height > MAX_PIXELS:
            self._image.close()
            raise BadFrame(frame_id, f"{frame_id} is too large: {width} x {height} pixels.")
        return self._image

    def __exit__(self, *_: object) -> None:
        self._image.close()


def _reason(error: BaseException) -> str:
    return str(error).split("\n", 1)[0].rstrip(".") or type(error).__name__


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError):
        return 1  # broken EXIF is as good as none
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        values = np.asarray(image, np.float64)
        top = 65535.0 if image.mode.startswith("I") and values.max(initial=0) > 255 else 255.0
        grey = (values / top * 255).clip(0, 255).astype(np.uint8)
        return Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


class Frame:
    """One image of a task: an id, its upright size, and its picture as bytes, path or pixels.

    The form that the source does not have is made once, at the first use. Upright: ``encoded`` is the source's own
    file, re-encoded only where its EXIF orientation is not 1. Pickles; what was made on demand stays behind.
    """

    __slots__ = ("_encoded", "_path", "_pixels", "height", "id", "width")

    def __init__(
        self,
        id: str,  # noqa: A002  (the field's name)
        width: int,
        height: int,
        *,
        encoded: bytes | None = None,
        pixels: Pixels | None = None,
        path: Path | None = None,
    ) -> None:
        if encoded is None and pixels is None and path is None:
            raise ValueError("a frame needs encoded bytes, pixels or a path")
        if pixels is not None and (pixels.shape != (height, width, 3) or pixels.dtype != np.uint8):
            raise ValueError(f"pixels must be u8[{height}, {width}, 3]; got {pixels.dtype}{list(pixels.shape)}")
        self.id, self.width, self.height = id, width, height
        self._encoded, self._pixels, self._path = encoded, pixels, path

    @classmethod
    def from_file(cls, id: str, path: Path) -> Frame:  # noqa: A002
        info = read_info(id, path)
        return cls(id, info.width, info.height, path=path)

    @classmethod
    def from_bytes(cls, id: str, data: bytes) -> Frame:  # noqa: A002
        info = read_info(id, data)
        return cls(id, info.width, info.height, encoded=data)

    @classmethod
    def from_image(cls, id: str, image: Image.Image) -> Frame:  # noqa: A002
        """Of an image that somebody else has opened. Raises BadFrame where its file is damaged."""
        try:
            upright = _to_rgb(ImageOps.exif_transpose(image))
        except (OSError, ValueError, SyntaxError, MemoryError, EOFError) as error:
            raise BadFrame(id, f"{id} is damaged: {_reason(error)}.") from error
        return cls(id, upright.width, upright.height, pixels=np.asarray(upright))

    @property
    def pixels(self) -> Pixels:
        """RGB u8[h, w, 3], upright. Raises BadFrame, also where the picture is not of the size recorded."""
        if self._pixels is None:
            source = self._encoded if self._encoded is not None else self._path
            assert source is not None
            pixels = decode(self.id, source)
            if pixels.shape[:2] != (self.height, self.width):
                actual = f"{pixels.shape[1]} x {pixels.shape[0]}"
                raise BadFrame(self.id, f"{self.id} is {actual}, not {self.width} x {self.height} as recorded.")
            self._pixels = pixels
        return self._pixels

    @property
    def original(self) -> bytes | Path | None:
        """The source's own file, or where it is, whatever its orientation; None where there are only pixels.

        Before the first use of ``encoded``, which may replace it.
        """
        return self._path if self._path is not None else self._encoded

    @property
    def encoded(self) -> bytes:
        """The picture as an image file that every reader shows upright. Raises BadFrame."""
        if self._encoded is None and self._path is not None:
            try:
                self._encoded = self._path.read_bytes()
            except OSError as error:
                raise BadFrame(self.id, f"{self.id} cannot be read: {error.strerror}.") from error
        if self._encoded is None or read_info(self.id, self._encoded).orientation != 1:
            packed = io.BytesIO()
            Image.fromarray(self.pixels).save(packed, "JPEG", quality=95)
            self._encoded = packed.getvalue()
        return self._encoded

    def __getstate__(self) -> dict[str, object]:
        kept = {"id": self.id, "width": self.width, "height": self.height, "path": self._path}
        if self._path is None:
            kept["encoded" if self._encoded is not None else "pixels"] = self._encoded or self._pixels
        return kept

    def __setstate__(self, state: dict[str, object]) -> None:
        for name in self.__slots__:
            setattr(self, name, state.get(name.removeprefix("_")))

    def __repr__(self) -> str:
        return f"Frame({self.id!r}, {self.width}x{self.height})"
