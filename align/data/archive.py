"""Data sets in .npz files: arrays as they are, or packed as JPEG sheets."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from align.data import sheets
from align.data.dataset import Dataset
from align.data.pickles import refuse_pickle
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput

__all__ = ["Layout", "archive"]

Array = npt.NDArray[Any]
Layout = Literal["nchw", "nhwc"]

_PLAIN = ("x_train", "y_train", "x_test", "y_test")
_OPTIONAL = ("class_names", "ids_train", "ids_test")
_MOST_CHANNELS = 4
_MOST_UNNAMED = 1_000_000


def archive(path: Path, *, layout: Layout | None) -> Dataset:
    """The data set of an .npz file; see `load`."""
    refuse_pickle(path)
    if layout is not None and layout not in get_args(Layout):
        raise InvalidInput(f"layout must be one of {', '.join(get_args(Layout))}, got {layout!r}")
    arrays = _read(path)
    packed = arrays.keys() >= sheets.KEYS
    if missing := [name for name in _PLAIN if name not in arrays and not packed]:
        raise InvalidInput(f"{path} lacks {', '.join(missing)}: an .npz data set holds {', '.join(_PLAIN)}")
    labels = [_labels(path, arrays[name]) for name in ("y_train", "y_test")]
    if not packed:
        images = _channels_first(path, arrays["x_train"], arrays["x_test"], layout)
    elif layout is None:
        images = [sheets.unpack(path, arrays, part) for part in ("train", "test")]
    else:
        raise InvalidInput(f"{path} holds JPEG sheets, which have no use for layout={layout!r}: leave it out")
    return Dataset(
        name=path.stem,
        x_train=images[0],
        y_train=labels[0],
        x_test=images[1],
        y_test=labels[1],
        class_names=_class_names(path, arrays, labels),
        **{name: arrays[name] for name in ("ids_train", "ids_test") if name in arrays},
    )


def _read(path: Path) -> dict[str, Array]:
    """The arrays that a data set may have; others are left alone."""
    if not zipfile.is_zipfile(path):
        raise CorruptFile(f"{path} is not an .npz file, which is a zip archive: write one with numpy.savez")
    try:
        # A pickled array could run code when it is read.
        with np.load(path, allow_pickle=False) as file:
            wanted = sheets.KEYS if set(file.files) >= sheets.KEYS else {*_PLAIN, *_OPTIONAL}
            return {name: file[name] for name in file.files if name in wanted}
    except Exception as error:  # whatever a damaged archive makes NumPy raise
        said = (str(error) or repr(error)).splitlines()[0]
        if "allow_pickle" in said:  # what NumPy recommends here is the very thing to avoid
            said = "it holds Python objects, and reading those can run any code"
        raise CorruptFile(
            f"{path} is not an .npz file of plain arrays ({said:.200}): write it with numpy.savez"
        ) from error


def _channels_first(path: Path, train: Array, test: Array, layout: Layout | None) -> list[Array]:
    """Both parts' images as (n, c, h, w), contiguous."""
    if train.shape[1:] != test.shape[1:]:
        raise DimensionMismatch(
            f"{path}: x_train is {train.shape}, x_test {test.shape}: give both the same axes and size"
        )
    if train.ndim == 3:
        if layout is not None:
            raise InvalidInput(f"{path}: x_train is {train.shape}, one channel, and has no use for {layout!r}")
        return [train[:, None], test[:, None]]
    if train.ndim != 4:
        raise InvalidInput(f"{path}: x_train must be (n, h, w), (n, c, h, w) or (n, h, w, c), got {train.shape}")
    if (layout or _layout(path, train.shape)) == "nchw":
        return [train, test]
    return [np.ascontiguousarray(x.transpose(0, 3, 1, 2)) for x in (train, test)]


def _layout(path: Path, shape: tuple[int, ...]) -> Layout:
    first, last = (0 < shape[axis] <= _MOST_CHANNELS for axis in (1, 3))
    if first == last:
        raise InvalidInput(
            f"{path}: x_train is {shape}, and {'both the second and the last' if first else 'neither'} axis could be the "
            f"channels (1 to {_MOST_CHANNELS}): say layout='nchw' or layout='nhwc'"
        )
    return "nchw" if first else "nhwc"


def _labels(path: Path, y: Array) -> Array:
    if y.ndim == 2 and y.shape[1] == 1:  # a column, as Keras gives labels
        y = y[:, 0]
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise InvalidInput(f"{path}: y_train and y_test must be integers, got {y.dtype} {y.shape}: one for each image")
    return y.astype(np.int64)


def _class_names(path: Path, arrays: Mapping[str, Array], labels: list[Array]) -> tuple[str, ...]:
    if "class_names" in arrays:
        names = arrays["class_names"]
        if names.ndim != 1 or names.dtype.kind not in "Uiu":
            raise InvalidInput(f"{path}: class_names must be texts (c,), got {names.shape} {names.dtype}")
        return tuple(str(name) for name in names)
    count = 1 + max((int(y.max()) for y in labels if y.size), default=-1)
    if count > _MOST_UNNAMED:
        raise InvalidInput(f"{path}: labels go up to {count - 1}: number the classes from 0, or give class_names")
    return tuple(str(label) for label in range(max(0, count)))
