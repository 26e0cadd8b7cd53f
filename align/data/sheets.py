"""Small colour images packed as JPEG sheets: 50x50 tiles of 32x32 pixels, row by row, the way CIFAR-100 lies here."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from align.data.images import pillow
from registry.errors import CorruptFile

__all__ = ["KEYS", "unpack"]

Array = npt.NDArray[Any]

KEYS = frozenset(f"{name}_{part}" for name in ("jpg", "off", "y") for part in ("train", "test")) | {"class_names"}
"""The arrays that say that an .npz file is packed so."""

_SIDE, _TILES = 32, 50
_TOTAL = _TILES * _TILES


def unpack(path: Path, arrays: Mapping[str, Array], part: str) -> Array:
    """The images (n, 3, 32, 32) uint8 of a part, n being the number of its labels.

    Sheet i is the bytes off[i] to off[i + 1] of `jpg`; the last one may have tiles to spare. One sheet is held at a time.

    Raises:
        CorruptFile: offsets that do not cut `jpg` into the sheets that the labels need, or a sheet that is none.
    """
    blob, offsets, n = arrays[f"jpg_{part}"], arrays[f"off_{part}"], len(arrays[f"y_{part}"])
    _check(path, part, blob, offsets, n)
    data = np.ascontiguousarray(blob).data
    out = np.empty((n, 3, _SIDE, _SIDE), dtype=np.uint8)
    for number, start in enumerate(range(0, n, _TOTAL)):
        tiles = _tiles(f"{path}: sheet {number} of jpg_{part}", bytes(data[offsets[number] : offsets[number + 1]]))
        out[start : start + _TOTAL] = tiles[: n - start]
    return out


def _check(path: Path, part: str, blob: Array, offsets: Array, n: int) -> None:
    bytes_ = blob.ndim == 1 and blob.dtype == np.uint8
    whole = offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) == -(-n // _TOTAL) + 1
    if not bytes_ or not whole or offsets[0] != 0 or offsets[-1] != len(blob) or (offsets[1:] <= offsets[:-1]).any():
        raise CorruptFile(
            f"{path}: off_{part} must cut jpg_{part} (bytes) into {-(-n // _TOTAL)} sheets of {_TILES}x{_TILES} tiles "
            f"for {n} labels, got {blob.dtype} {blob.shape} and {offsets.dtype} {offsets.shape}: pack it anew"
        )


def _tiles(what: str, data: bytes) -> Array:
    """The tiles (2500, 3, 32, 32) of one sheet."""
    try:
        with pillow().open(io.BytesIO(data), formats=["JPEG"]) as image:
            size = image.size
            pixels = np.asarray(image.convert("RGB")) if size == (_TILES * _SIDE,) * 2 else None
    except Exception as error:  # whatever damaged bytes make a decoder raise
        raise CorruptFile(f"{what} is not a JPEG image ({error!s:.200}): pack it anew") from error
    if pixels is None:
        raise CorruptFile(f"{what} has {size[0]}x{size[1]} pixels, not {_TILES * _SIDE} each way: pack it anew")
    cut = pixels.reshape(_TILES, _SIDE, _TILES, _SIDE, 3)
    return cut.transpose(0, 2, 4, 1, 3).reshape(_TOTAL, 3, _SIDE, _SIDE)
