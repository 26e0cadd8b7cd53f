"""Prototypes: the class means of an old model's embeddings, which stand for its classifier while a new one is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from align.encoders import Encoder
from registry.errors import InvalidInput
from registry.vectors import Array

__all__ = ["Kind", "Old", "class_means", "of_encoder"]

Kind = Literal["unit", "raw"]

_ROWS = 4096  # images embedded at a time


def class_means(features: Tensor, y: Tensor, *, classes: int) -> Tensor:
    """Means (classes, d) of unit features (n, d) by label y (n,) int64; see `of_encoder`.

    Rows are normalised first. A mean is not, so its length in [0, 1] says how close its class lies together: it is the
    mean cosine of the items to their own mean. A class without an item keeps a zero row.

    Raises:
        InvalidInput: a label is not below `classes`, or the lengths differ.
    """
    sums, counts = _sums(features, y, classes)
    return sums / counts.clamp(min=1)[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class Old:
    """What a training must know of an old model: its class means (c, d_old), and the embeddings if they are wanted.

    stored (n, d_old): unit rows, of the training images in their order, whose labels are y (n,); or None.
    """

    means: Tensor
    y: Tensor
    stored: Tensor | None = None


def of_encoder(
    old: Encoder, x: Array, y: Array, *, classes: int, stored: bool = False, device: str | None = None
) -> Old:
    """Class means (classes, d_old), float32, of what `old` makes of images x (n, c, h, w) with labels y (n,).

    Each image is embedded once, a block at a time, and no embedding is kept unless `stored`. Classes that the old model
    never saw get a mean like the others: that is OCA's frozen pseudo classifier (arXiv 2408.08793).
    """
    sums, counts = torch.zeros(classes, old.dim), torch.zeros(classes)
    kept: list[Tensor] = []
    for start in range(0, len(x), _ROWS):
        part = slice(start, start + _ROWS)
        features = torch.from_numpy(old.encode(x[part], device=device))
        some, count = _sums(features, torch.from_numpy(y[part]), classes)
        sums, counts = sums + some, counts + count
        kept += [features] if stored else []
    means = sums / counts.clamp(min=1)[:, None]
    return Old(means, torch.from_numpy(y), torch.cat(kept) if stored else None)


def _sums(features: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Sums (classes, d) of unit rows, and how many rows each class has."""
    if len(features) != len(y) or (len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes):
        raise InvalidInput(f"class means need one label below {classes} for each of {len(features)} rows, got {len(y)}")
    # Counted by a matrix product: index_add_ is not deterministic on CUDA.
    member = functional.one_hot(y, classes).to(features.dtype)
    return member.T @ functional.normalize(features), member.sum(0)
