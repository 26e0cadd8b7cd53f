"""Vectors at the edge: shape, type and value checks, and the two conversions that every score needs."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from registry.errors import BadVector, DimensionMismatch, InvalidInput

__all__ = ["Array", "Metric", "as_rows", "check_finite", "normalize"]

Array = npt.NDArray[Any]
Metric = Literal["cosine", "dot", "l2"]
METRICS: tuple[str, ...] = ("cosine", "dot", "l2")

_SMALL = 1e-18  # lengths below it have squares that float32 cannot hold exactly
_LARGE = 1e38
_FLOATS = (np.float16, np.float32, np.float64)


def as_rows(vectors: npt.ArrayLike, *, dim: int | None = None, what: str = "vectors") -> Array:
    """Return `vectors` as a C-contiguous (n, d) float32 array, or float16 where they are that; n >= 0.

    Raises:
        InvalidInput: not two-dimensional, or not numbers.
        DimensionMismatch: d is not `dim`.
    """
    if np.ma.isMaskedArray(vectors):
        raise InvalidInput(f"{what} are masked: fill or drop the masked values first, or they would be taken for data")
    try:
        rows = np.asarray(vectors)
    except ValueError as error:
        raise InvalidInput(f"{what} must be a matrix (n, d): {error}") from error
    if rows.ndim != 2:
        raise InvalidInput(f"{what} must be a matrix (n, d), got shape {rows.shape}: one row for each item")
    if rows.dtype.type not in _FLOATS:
        if not np.issubdtype(rows.dtype, np.integer):
            raise InvalidInput(f"{what} must be floating-point numbers, got {rows.dtype}: convert them to float32")
        rows = rows.astype(np.float32)
    if dim is not None and rows.shape[1] != dim:
        raise DimensionMismatch(
            f"{what} have {rows.shape[1]} dimensions, the space has {dim}: were they made by another version?"
        )
    if rows.dtype.type is not np.float16:
        with np.errstate(over="ignore"):  # an overflow becomes infinity, which check_finite names by its row
            rows = rows.astype(np.float32, copy=False)
    return np.ascontiguousarray(rows)


def check_finite(rows: Array, *, what: str = "vectors", zeros: bool = False, start: int = 0) -> Array:
    """Return `rows` (n, d) if each is finite and, unless `zeros`, not all zeros; else `BadVector` names the first.

    Where they are a part of more rows, `start` is the number of the first.
    """
    if rows.dtype == np.float32:  # a quarter of the time; what overflows or vanishes in it is looked at again
        with np.errstate(all="ignore"):
            squares = np.vecdot(rows, rows)
        if np.isfinite(squares).all() and (zeros or squares.all()):
            return rows
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    bad = ~np.isfinite(squares) if zeros else ~np.isfinite(squares) | (squares == 0)
    if bad.any():
        row = int(np.argmax(bad))
        kind = "only zeros" if np.all(rows[row] == 0) else "NaN or infinity"
        raise BadVector(
            f"{what} row {start + row} holds {kind}: such a vector has no direction to compare; remove or mend it",
            row=start + row,
        )
    return rows


def normalize(rows: Array) -> Array:
    """L2-normalise the rows of (n, d), or a single (d,), as float32; a zero row stays zero."""
    x: Array = rows.astype(np.float32, copy=False)
    if x.ndim == 1:
        length = float(np.sqrt(x.dot(x)))
        if not _SMALL < length < np.inf:
            unit: Array = normalize(x[None])[0]
        else:
            unit = x / np.float32(length)
        return unit
    if len(x) == 1:  # a search for one query has little time
        row = x[0].astype(np.float64)
        length = row.dot(row) ** 0.5
        return x / np.float32(length) if _SMALL < length < _LARGE else _normalized(x)
    return _normalized(x)


def _normalized(x: Array) -> Array:
    lengths = np.sqrt(np.einsum("ij,ij->i", x, x))
    if not ((lengths > _SMALL) & (lengths < np.inf)).all():
        # The square of 1e20 overflows float32 and that of 1e-23 is zero; double precision costs three times as much.
        lengths = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64))
        lengths[lengths == 0] = 1
    directions: Array = (x / lengths[:, None]).astype(np.float32, copy=False)
    return directions
