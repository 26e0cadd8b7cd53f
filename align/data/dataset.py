"""`Dataset`: labelled images in a training and a test part, and the smaller sets that can be made of one."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from align.data.sampling import draw, even_counts
from registry.errors import DimensionMismatch, InvalidInput

__all__ = ["Array", "Dataset", "parse_classes"]

Array = npt.NDArray[Any]

_FIELDS = ("x", "y", "ids")
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, split once into training and test parts.

    x_train (n, c, h, w) and x_test (m, c, h, w) are uint8 or float32, n > 0; y_train (n,) and y_test (m,) are int64
    positions in `class_names`. ids_train and ids_test, int64, name the items: an item keeps its id whatever the split,
    and the two never overlap. Both parts count their classes alike, so where the test part is of classes that were
    never trained on (an open set, such as Omniglot) its labels are other numbers. The test part may be empty, since
    training does not look at it.

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
        _check_ids(self)

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, c, h, w = self.x_train.shape
        return int(c), int(h), int(w)

    def digest(self) -> str:
        """sha-256, hex, over all arrays and class names: equal digests mean equal data and an equal split."""
        sha = hashlib.sha256("\n".join(self.class_names).encode())
        for name in ("x_train", "y_train", "x_test", "y_test", "ids_train", "ids_test"):
            a = getattr(self, name)
            sha.update(f"{name} {a.dtype.str} {a.shape}".encode())
            rows = max(1, _BLOCK_BYTES // max(1, a[:1].nbytes))
            for start in range(
                0, len(a), rows
            ):  # a copy of the images, should they not be in one piece, would be large
                sha.update(np.ascontiguousarray(a[start : start + rows]).data)
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
        return replace(self, **self._part("train", train, "train"), **self._part("test", test, "test"))

    def take(self, n: int | None = None, *, per_class: int | None = None, seed: int = 0) -> Dataset:
        """Fewer training items, drawn by `seed`: `n` in all, in the classes' proportions, or `per_class` of each class.

        They keep their order, and the test part stays whole. With one seed, a smaller `per_class` draws a subset of
        what a larger one does.

        Raises:
            InvalidInput: neither or both counts, a count below 1, or more items than there are.
        """
        asked = n if per_class is None else per_class
        if (n is None) == (per_class is None) or isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
            raise InvalidInput(
                f"take needs n or per_class, a whole number from 1, got n={n!r}, per_class={per_class!r}"
            )
        have = np.bincount(self.y_train, minlength=len(self.class_names))
        if per_class is None:
            if asked > len(self.y_train):
                raise InvalidInput(f"{self.name} has {len(self.y_train)} training items, got n={n}: take fewer")
            counts = even_counts(have, asked)
        else:
            few = np.flatnonzero((have > 0) & (have < asked))
            if len(few):
                raise InvalidInput(
                    f"{self.name} has {have[few[0]]} training items of class {self.class_names[few[0]]!r}, "
                    f"got per_class={per_class}: take fewer"
                )
            counts = np.where(have > 0, asked, 0)
        return replace(self, **self._part("train", draw(self.y_train, counts, seed), "train"))

    def validation(self, fraction: float = 0.2, *, seed: int = 0, unseen: bool = False) -> Dataset:
        """The training part, split anew: what to choose options on, since the test part must not choose anything.

        About `fraction` of each class's items, drawn by `seed`, becomes the test part of the new set; with `unseen`
        all items of that fraction of the classes, as an open set needs. Items keep their ids, classes their numbers.

        Raises:
            InvalidInput: a fraction that is not between 0 and 1, or that leaves one of the two parts empty.
        """
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
            raise InvalidInput(f"fraction must be a number between 0 and 1, got {fraction!r}")
        have = np.bincount(self.y_train, minlength=len(self.class_names))
        if unseen:
            classes = np.flatnonzero(have)
            # One label for all classes: so many of them, at random.
            chosen = draw(np.zeros(len(classes), np.int64), np.array([round(fraction * len(classes))]), seed)
            held = np.isin(self.y_train, classes[chosen])
        else:
            held = draw(self.y_train, np.rint(fraction * have).astype(np.int64), seed)
        if held.all() or not held.any():
            what = f"{np.count_nonzero(have)} classes" if unseen else f"{len(held)} training items"
            raise InvalidInput(f"a fraction of {fraction} leaves a part empty, {self.name} has {what}: choose another")
        return replace(
            self,
            name=f"{self.name}-validation",
            **self._part("train", ~held, "train"),
            **self._part("train", held, "test"),
        )

    def _part(self, source: str, rows: Array, target: str) -> dict[str, Any]:
        """Rows of one part, named as the fields of another."""
        return {f"{name}_{target}": getattr(self, f"{name}_{source}")[rows] for name in _FIELDS}


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


def _check_part(data: Dataset, part: str) -> None:
    """One part of a data set: types, lengths, labels."""
    x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
    empty = part == "train" and not len(x)
    if x.ndim != 4 or x.dtype not in (np.uint8, np.float32) or not all(x.shape[1:]) or empty:
        raise InvalidInput(
            f"{data.name}: x_{part} must be (n, c, h, w) uint8 or float32 with n > 0, got {x.shape} {x.dtype}"
        )
    if y.shape != (len(x),) or y.dtype != np.int64:
        raise InvalidInput(f"{data.name}: y_{part} must be ({len(x)},) int64, got {y.shape} {y.dtype}")
    if len(y) and (y.min() < 0 or y.max() >= len(data.class_names)):
        raise InvalidInput(
            f"{data.name}: y_{part} holds labels {y.min()} to {y.max()}, but there are {len(data.class_names)} classes"
        )
    if x.dtype == np.float32 and not np.isfinite(x).all():
        raise InvalidInput(f"{data.name}: x_{part} holds NaN or infinity: remove or mend those images")


def _check_ids(data: Dataset) -> None:
    ids = np.concatenate([data.ids_train, data.ids_test])
    lengths = (len(data.ids_train), len(data.ids_test)) == (len(data.x_train), len(data.x_test))
    if not lengths or ids.ndim != 1 or ids.dtype != np.int64 or len(np.unique(ids)) != len(ids):
        raise InvalidInput(
            f"{data.name}: ids must be int64, one for each item, and never repeat, got {len(ids)} ids {ids.dtype}"
        )
