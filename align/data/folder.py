"""Folders of images: one folder for each class.

Which files count, so that nothing is left out or let in unnoticed:

- `train` and `test`, if both hold folders, are the two parts, and other names beside them are not looked at. Otherwise
  each folder is a class, and half of its images, drawn by seed, is the test part.
- Names that begin with a dot are passed over everywhere, and files beside the class folders (a licence, a list).
- Inside a class folder every file must be an image (`images.FORMATS`), and a folder or a symbolic link, which could lead
  to anything, is refused by its name.
- Classes are numbered by the sorted names of both parts together, so a class of one part only has a number of its own.
  An item's id is its place among all files, sorted by part, class and name.
- All grey images make one channel; where one of them is in colour, all get three. Turning by EXIF is not applied.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from align.data import images
from align.data.dataset import Dataset
from align.data.pickles import refuse_pickle
from align.data.sampling import draw
from registry.errors import InvalidInput

__all__ = ["folder"]

Array = npt.NDArray[Any]
_Item = tuple[str, Path]
_MOST_PIXELS = 1 << 14


def folder(path: Path, *, seed: int, size: int | tuple[int, int] | None) -> Dataset:
    """The data set of a folder of images; see `load` and this module.

    Memory: the images themselves, once. Files are first looked at without decoding them, so that one of another size is
    named before the work begins.
    """
    wanted = _size(size)
    parts = [path / name for name in ("train", "test")]
    if not any(part.is_dir() and _folders(part) for part in parts):
        _refuse_original_cifar(parts)
        train, test = _items(path), []
    elif all(part.is_dir() and _folders(part) for part in parts):
        train, test = _items(parts[0]), _items(parts[1])
    else:
        raise InvalidInput(f"{path} has one of train and test with class folders in it: give both, or classes alone")
    items = [*train, *test]
    files = [file for _, file in items]
    names = sorted({name for name, _ in items})
    number = {name: label for label, name in enumerate(names)}
    y = np.array([number[name] for name, _ in items], dtype=np.int64)
    mask = np.arange(len(y)) < len(train) if test else _halves(path, y, names, seed)
    shape = _common_shape(files, wanted)
    fields: dict[str, Array] = {}
    for part, ids in (("train", np.flatnonzero(mask)), ("test", np.flatnonzero(~mask))):
        fields[f"x_{part}"] = _decoded([files[place] for place in ids], shape, resize=wanted is not None)
        fields |= {f"y_{part}": y[ids], f"ids_{part}": ids}
    return Dataset(name=path.resolve().name, class_names=tuple(names), **fields)


def _size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else size
    whole = isinstance(sides, tuple) and all(isinstance(s, int) and not isinstance(s, bool) for s in sides)
    if not whole or len(sides) != 2 or not all(0 < s <= _MOST_PIXELS for s in sides):
        raise InvalidInput(f"size must be pixels, one number or (h, w), each from 1 to {_MOST_PIXELS}, got {size!r}")
    return sides


def _refuse_original_cifar(parts: Iterable[Path]) -> None:
    """`cifar-100-python` and its like have pickled files called train and test."""
    for part in parts:
        if part.is_file():
            refuse_pickle(part)


def _entries(path: Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as found:
        return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _folders(path: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(path) if entry.is_dir()]


def _items(path: Path) -> list[_Item]:
    """(class, file) of all images below `path`, in order."""
    classes = _folders(path)
    if not classes:
        raise InvalidInput(f"{path} has no class folders: put the images of each class into a folder of its own")
    found: list[_Item] = []
    for entry in classes:
        _refuse_link(entry)
        files = _entries(Path(entry.path))
        if not files:
            raise InvalidInput(f"{entry.path} holds no images: remove the folder, or fill it")
        for file in files:
            _refuse_link(file)
            if not file.is_file():
                raise InvalidInput(f"{file.path} is no file: a class folder holds images alone; move it away")
            found.append((entry.name, Path(file.path)))
    return found


def _refuse_link(entry: os.DirEntry[str]) -> None:
    if entry.is_symlink():
        raise InvalidInput(f"{entry.path} is a symbolic link, which is not followed: put a copy there")


def _halves(path: Path, y: Array, names: list[str], seed: int) -> Array:
    """A mask of the training half of each class."""
    counts = np.bincount(y)
    if counts.min() < 2:
        raise InvalidInput(
            f"{path / names[int(np.argmin(counts))]} holds one image, and two halves need two: add one, or give train "
            "and test folders"
        )
    return draw(y, counts // 2, seed)


def _common_shape(files: list[Path], size: tuple[int, int] | None) -> tuple[int, int, int]:
    """Channels, height and width that all images get."""
    channels, first = 1, size
    for file in files:
        c, h, w = images.shape(file)
        channels = max(channels, c)
        first = first or (h, w)
        if size is None and (h, w) != first:
            raise InvalidInput(f"{file} is {h}x{w}, {files[0]} is {first[0]}x{first[1]}: pass size= to resize them all")
    height, width = first or (0, 0)
    return channels, height, width


def _decoded(files: list[Path], shape: tuple[int, int, int], *, resize: bool) -> Array:
    """All images as (n, c, h, w) uint8."""
    out = np.empty((len(files), *shape), dtype=np.uint8)
    for row, file in enumerate(files):
        out[row] = images.pixels(file, channels=shape[0], size=shape[1:] if resize else None)
    return out
