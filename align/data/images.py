"""Image files, by Pillow: which formats and modes are read, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.errors import CorruptFile, InvalidInput, MissingExtra

__all__ = ["FORMATS", "pillow", "pixels", "shape"]

Array = npt.NDArray[Any]

FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP")
_CHANNELS = {"1": 1, "L": 1, "P": 3, "RGB": 3}


def pillow() -> Any:
    """The module PIL.Image; MissingExtra without Pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("images need Pillow: pip install 'samespace[align]'") from error
    return Image


def shape(path: Path) -> tuple[int, int, int]:
    """Channels (1 or 3), height and width of an image file, from its header alone.

    Raises:
        CorruptFile: it is no image of `FORMATS`.
        InvalidInput: its pixels have transparency or more than 8 bits, which eight grey or colour bits cannot keep.
    """
    try:
        with pillow().open(path, formats=FORMATS) as image:
            mode, (width, height) = image.mode, image.size
            transparent = "transparency" in image.info
    except MissingExtra:
        raise
    except Exception as error:  # whatever a damaged file makes a decoder raise
        raise CorruptFile(f"{path} is not an image that can be read ({', '.join(FORMATS)}): remove it") from error
    if mode not in _CHANNELS or transparent:
        raise InvalidInput(
            f"{path} has pixels of mode {mode}{' with transparency' if transparent else ''}: convert it to 8-bit grey "
            "(L) or colour (RGB)"
        )
    return _CHANNELS[mode], height, width


def pixels(path: Path, *, channels: int, size: tuple[int, int] | None) -> Array:
    """Raw values (channels, h, w) uint8 of an image file, grey images repeated where 3 channels are asked for.

    With `size` (h, w) it is stretched to that, by averaging over areas where it shrinks.
    """
    module = pillow()
    try:
        with module.open(path, formats=FORMATS) as image:
            plain = image.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # whatever a damaged file makes a decoder raise
        raise CorruptFile(
            f"{path} cannot be decoded ({(str(error) or repr(error)).splitlines()[0]:.200}): mend or remove it"
        ) from error
    if size is not None and plain.size != size[::-1]:
        plain = plain.resize(size[::-1], module.Resampling.BILINEAR)
    values = np.asarray(plain)
    return values[None] if channels == 1 else values.transpose(2, 0, 1)
