"""Small PNG pictures of a data set's images, for people to look at."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from align.data.images import pillow
from registry.errors import InvalidInput

__all__ = ["Range", "range_of", "thumbnail"]

Array = npt.NDArray[Any]
Range = tuple[float, float]
"""The values that are drawn black and white."""

_SMALLEST, _LARGEST = 32, 96  # pixels of the longer side; of noise in colour, 96x96 still are 28 kB
_CHANNELS = (1, 3)


def range_of(x: Array) -> Range:
    """The range of values that images x (n, c, h, w) are drawn in: that of bytes, or of what they hold.

    Images of bytes begin at 0 and are as bright as they are, unless all of them are dark: the digits end at 16.
    """
    low, high = float(x.min()), float(x.max())
    if x.dtype == np.uint8:
        return 0.0, 255.0 if high > 127 else max(high, 1.0)
    return low, high if high > low else low + 1.0


def thumbnail(image: Array, values: Range) -> bytes:
    """A PNG file of an image (c, h, w): small ones enlarged by whole factors to 32 pixels or more, large ones shrunk to 96.

    Raises:
        InvalidInput: an image that is neither grey (1 channel) nor in colour (3).
    """
    channels, height, width = image.shape
    if channels not in _CHANNELS:
        raise InvalidInput(f"only images of 1 or 3 channels can be drawn, got {channels}: give pictures of your own")
    low, high = values
    spread = (image.astype(np.float32) - low) * (255 / (high - low))
    pixels = np.rint(np.clip(spread, 0, 255)).astype(np.uint8)
    module = pillow()
    drawn = module.fromarray(pixels[0] if channels == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    longer = max(height, width)
    if longer < _SMALLEST:
        factor = math.ceil(_SMALLEST / longer)
        drawn = drawn.resize((width * factor, height * factor), module.Resampling.NEAREST)
    elif longer > _LARGEST:
        drawn.thumbnail((_LARGEST, _LARGEST))
    file = io.BytesIO()
    drawn.save(file, format="PNG", optimize=True)
    return file.getvalue()
