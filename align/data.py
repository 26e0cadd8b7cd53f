"""Labelled images to train and measure on: scikit-learn's bundled digits, or arrays of the user's own."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, MissingExtra, NotFound

__all__ = ["Dataset", "load", "parse_classes"]

Array = npt.NDArray[Any]

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, split once into training and test parts.

    x_train (n, c, h, w) and x_test (m, c, h, w) are uint8 or float32; y_train (n,) and y_test (m,) are int64 positions
    in `class_names`. ids_train and ids_test, int64, name the items: an item keeps its id whatever the split, and the
    two never overlap.

    Raises:
        InvalidInput: arrays of other types, lengths that differ, labels that no class has, ids that repeat.
        DimensionMismatch: training and test images of different shapes.
    """

    name: str
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    class_names: tuple[str, ...]
    ids_train: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    ids_test: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            _check_part(self, part)
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise DimensionMismatch(
                f"{self.name}: training images are {self.x_train.shape[1:]}, test images {self.x_test.shape[1:]}: "
                "give both the same (c, h, w)"
            )
        if not self.ids_train.size and not self.ids_test.size:
            n, m = len(self.x_train), len(self.x_test)
            object.__setattr__(self, "ids_train", np.arange(n, dtype=np.int64))
            object.__setattr__(self, "ids_test", np.arange(n, n + m, dtype=np.int64))
        ids = np.concatenate([self.ids_train, self.ids_test])
        if len(self.ids_train) != len(self.x_train) or len(np.unique(ids)) != len(self.x_train) + len(self.x_test):
            raise InvalidInput(f"{self.name}: ids must be one for each item and never repeat, got {len(ids)} ids")

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, c, h, w = self.x_train.shape
        return int(c), int(h), int(w)

    def digest(self) -> str:
        """sha-256, hex, over all arrays and class names: equal digests mean equal data and an equal split."""
        sha = hashlib.sha256("\n".join(self.class_names).encode())
        for name in (*_ARRAYS, "ids_train", "ids_test"):
            a = np.ascontiguousarray(getattr(self, name))
            sha.update(f"{name} {a.dtype.str} {a.shape}".encode())
            sha.update(a.tobytes())
        return sha.hexdigest()

    def only(self, classes: str | list[int] | tuple[int, ...]) -> Dataset:
        """The items of `classes` ("0-4,7" or labels) in both parts; labels and class names keep their numbers.

        Raises:
            InvalidInput: no such class, or nothing left of the training part.
        """
        keep = parse_classes(classes, count=len(self.class_names))
        train, test = np.isin(self.y_train, keep), np.isin(self.y_test, keep)
        if not train.any():
            raise InvalidInput(f"{self.name} has no training item of the classes {classes!r}: choose others")
        arrays = {f"{a}_train": getattr(self, f"{a}_train")[train] for a in ("x", "y", "ids")}
        arrays |= {f"{a}_test": getattr(self, f"{a}_test")[test] for a in ("x", "y", "ids")}
        return replace(self, **arrays)


def parse_classes(classes: str | list[int] | tuple[int, ...], *, count: int) -> tuple[int, ...]:
    """Read a choice of labels below `count`: sorted, each once.

    >>> parse_classes("0-4,7", count=10)
    (0, 1, 2, 3, 4, 7)

    Raises:
        InvalidInput: it does not parse, is empty, or names a label that is not below `count`.
    """
    labels: set[int] = set()
    for item in classes.split(",") if isinstance(classes, str) else [str(c) for c in classes]:
        match = re.fullmatch(r"\s*(\d{1,9})(?:\s*-\s*(\d{1,9}))?\s*", item)
        if match is None:
            raise InvalidInput(f"classes {classes!r} do not parse at {item!r}: write labels and ranges, such as 0-4,7")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last or last >= count:
            raise InvalidInput(f"classes {item.strip()!r} are not within 0-{count - 1}, the labels of this data set")
        labels.update(range(first, last + 1))
    if not labels:
        raise InvalidInput(f"classes {classes!r} name no label: write labels and ranges, such as 0-4,7")
    return tuple(sorted(labels))


def load(source: str | os.PathLike[str], *, seed: int = 0) -> Dataset:
    """Load `"digits"`, or an .npz file with the arrays x_train, y_train, x_test, y_test (and class_names if it has them).

    Digits are the 1,797 handwritten 8x8 images bundled with scikit-learn, values 0 to 16 as uint8, split half and half
    within each class by `seed`: they are so easy that a large test half, hence a narrow interval, is worth more than
    training images. An item's id is its position in scikit-learn's array, so it is the same for every split.

    Raises:
        NotFound: no such file, and no built-in set of that name.
        CorruptFile: the file is not an .npz file, or holds pickled objects.
        InvalidInput: an array is missing or does not fit the others.
        MissingExtra: scikit-learn is not installed.
    """
    if os.fspath(source) == "digits":
        return _digits(seed)
    path = Path(source)
    if not path.is_file():
        raise NotFound(f"no data set {os.fspath(source)!r}: use 'digits' or the path of an .npz file")
    return _npz(path)


def _digits(seed: int) -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("the digits need scikit-learn: pip install 'samespace[align]'") from error
    bunch = load_digits()
    x, y = bunch.images[:, None].astype(np.uint8), bunch.target.astype(np.int64)
    rng = np.random.default_rng(seed)
    train = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        items = rng.permutation(np.flatnonzero(y == label))
        train[items[: len(items) // 2]] = True
    return Dataset(
        name="digits",
        x_train=x[train],
        y_train=y[train],
        x_test=x[~train],
        y_test=y[~train],
        class_names=tuple(str(name) for name in bunch.target_names),
        ids_train=np.flatnonzero(train),
        ids_test=np.flatnonzero(~train),
    )


def _npz(path: Path) -> Dataset:
    try:
        # A pickled array could run code when it is read.
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # whatever a damaged archive makes NumPy raise
        raise CorruptFile(
            f"{path} is not an .npz file of plain arrays ({str(error).splitlines()[0]}): write it with numpy.savez"
        ) from error
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise InvalidInput(f"{path} lacks {', '.join(missing)}: an .npz data set holds {', '.join(_ARRAYS)}")
    labels = [arrays[name] for name in ("y_train", "y_test")]
    if not all(np.issubdtype(y.dtype, np.integer) for y in labels):
        raise InvalidInput(f"{path}: y_train and y_test must be integers, got {labels[0].dtype} and {labels[1].dtype}")
    arrays |= {name: arrays[name].astype(np.int64) for name in ("y_train", "y_test")}
    count = 1 + max((int(y.max()) for y in labels if y.size), default=-1)
    names = arrays.get("class_names", np.arange(count))
    return Dataset(
        name=path.stem, **{name: arrays[name] for name in _ARRAYS}, class_names=tuple(str(name) for name in names)
    )


def _check_part(data: Dataset, part: str) -> None:
    """One part of a data set: types, lengths, labels."""
    x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
    if x.ndim != 4 or x.dtype not in (np.uint8, np.float32) or not len(x):
        raise InvalidInput(
            f"{data.name}: x_{part} must be (n, c, h, w) uint8 or float32 with n > 0, got {x.shape} {x.dtype}"
        )
    if y.shape != (len(x),) or y.dtype != np.int64:
        raise InvalidInput(f"{data.name}: y_{part} must be ({len(x)},) int64, got {y.shape} {y.dtype}")
    if y.min() < 0 or y.max() >= len(data.class_names):
        raise InvalidInput(
            f"{data.name}: y_{part} holds labels {y.min()} to {y.max()}, but there are {len(data.class_names)} classes"
        )
    if x.dtype == np.float32 and not np.isfinite(x).all():
        raise InvalidInput(f"{data.name}: x_{part} holds NaN or infinity: remove or mend those images")
