"""Paired rows, from arrays, memory maps or an iterator, cut into blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from registry.errors import DimensionMismatch, InvalidInput
from registry.vectors import Array, as_rows

__all__ = ["Chunks", "chunks"]

Chunks = Iterable[tuple[Array, Array]]


def chunks(source: Array | Chunks, target: Array | None, *, rows: int) -> Iterator[tuple[int, Array, Array]]:
    """Cut pairs into blocks of at most `rows`: (position of the first row, x (m, dx), y (m, dy)).

    The arguments are those of `align.moments.accumulate`.

    Raises:
        InvalidInput: not pairs of matrices of numbers, or of different lengths.
        DimensionMismatch: a chunk is of another width than those before it.
    """
    done = 0
    widths: tuple[int, int] | None = None
    for left, right in _pairs(source, target):
        x, y = _matrix(left, "source"), _matrix(right, "target")
        if len(x) != len(y):
            raise InvalidInput(
                f"source has {len(x)} rows and target {len(y)}: row i of one belongs to row i of the other"
            )
        widths = widths or (x.shape[1], y.shape[1])
        if widths != (x.shape[1], y.shape[1]):
            raise DimensionMismatch(
                f"the chunk at row {done} is of widths {(x.shape[1], y.shape[1])}, those before of {widths}"
            )
        for start in range(0, len(x), rows):
            stop = min(start + rows, len(x))
            yield done + start, x[start:stop], y[start:stop]
        done += len(x)


def _pairs(source: Array | Chunks, target: Array | None) -> Iterator[tuple[Array, Array]]:
    if target is not None:
        yield source, target  # type: ignore[misc]
    elif isinstance(source, np.ndarray):
        yield source, np.empty((*source.shape[:1], 0), np.float32)
    elif isinstance(source, Iterable):
        for pair in source:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise InvalidInput(
                    f"chunks must be pairs (x, y) of matrices, got {type(pair).__name__}: or give a target"
                )
            yield pair[0], pair[1]
    else:
        raise InvalidInput(
            f"source must be a matrix (n, d) or an iterator of pairs of them, got {type(source).__name__}"
        )


def _matrix(rows: Array, what: str) -> Array:
    """A matrix of floats as it stands: a memory map is not read here, nor copied."""
    if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.dtype.kind == "f":
        return np.asarray(rows)
    return as_rows(rows, what=what)
