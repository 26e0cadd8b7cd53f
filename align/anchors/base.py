"""`Anchors`: weighted means of items, kept by the items' positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.errors import BadVector, InvalidInput
from registry.vectors import Array, as_rows, check_finite, normalize

__all__ = ["Anchors"]


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """k anchors, each the weighted mean of m items: the same items give its vector in every version.

    indices (k, m) int64, positions of items; weights (k, m) float32, each row summing to 1.
    """

    indices: Array
    weights: Array

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.shape != self.weights.shape or not self.indices.size:
            raise InvalidInput(f"indices and weights must be (k, m), got {self.indices.shape} and {self.weights.shape}")
        if self.indices.dtype.kind not in "iu" or self.indices.min() < 0:
            raise InvalidInput("indices must be whole numbers from 0, the positions of items")
        if not np.isfinite(self.weights).all():
            raise InvalidInput("weights must be finite numbers, got NaN or infinity")

    def __len__(self) -> int:
        return len(self.indices)

    def vectors(self, x: npt.ArrayLike, *, unit: bool = False) -> Array:
        """The anchors' vectors (k, d), float32, in the version that wrote x (n, d), the same items in the same order.

        A plain weighted mean of rows, so it follows any affine map of them. With `unit`, for a space of directions, rows
        are scaled to length 1 before the mean. Only the rows in use are read, which matters for a memory map.

        Raises:
            InvalidInput: x has fewer rows than the anchors refer to.
            BadVector: a row in use is not finite or only zeros; the message names it.

        >>> import numpy as np
        >>> Anchors(np.asarray([[0, 1]]), np.asarray([[0.75, 0.25]])).vectors([[4.0, 0.0], [0.0, 8.0]])
        array([[3., 2.]], dtype=float32)
        """
        rows = x if isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f" else as_rows(x, what="x")
        if self.indices.max() >= len(rows):
            raise InvalidInput(f"the anchors refer to item {int(self.indices.max())}, but x has only {len(rows)} rows")
        items, where = np.unique(self.indices, return_inverse=True)
        few = _checked(as_rows(rows[items], what="x"), items)
        few = normalize(few) if unit else few.astype(np.float32, copy=False)
        where = where.reshape(self.indices.shape)
        vectors = np.zeros((len(self), few.shape[1]), dtype=np.float32)
        for column, weights in zip(where.T, self.weights.T, strict=True):  # one gathered row an anchor, not m
            vectors += weights[:, None].astype(np.float32) * few[column]
        return vectors


def _checked(rows: Array, items: Array) -> Array:
    """The rows of `items`, if each has a direction."""
    try:
        return check_finite(rows, what="x")
    except BadVector as error:
        row = int(items[error.row or 0])
        raise BadVector(f"x row {row} holds NaN, infinity or only zeros, and an anchor needs it", row=row) from None
