"""The items that anchors are learned from, and their vectors in each version."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from registry.errors import BadVector, InvalidInput
from registry.vectors import Array, as_rows, check_finite
from registry.vectors import normalize as to_unit

__all__ = ["read"]


def read(spaces: Sequence[npt.ArrayLike], *, most: int, seed: int, normalize: bool) -> tuple[Array, list[Array]]:
    """Positions (m,) of the items that are used, in random order, and their rows (m, d) in each version.

    Raises:
        InvalidInput: fewer than two versions, of different lengths, or too few items.
        BadVector: a row that is read is not finite or only zeros.
    """
    if len(spaces) < 2:
        raise InvalidInput(
            "learned anchors need a list of two versions' rows or more: use align.anchors.select for one"
        )
    matrices = [_matrix(space, f"version {i}") for i, space in enumerate(spaces, start=1)]
    lengths = [len(rows) for rows in matrices]
    if len(set(lengths)) > 1 or lengths[0] < 4:
        raise InvalidInput(f"versions must have the same items, 4 or more, row by row, got {lengths} rows")
    picked = np.random.default_rng(seed).permutation(lengths[0])[:most]
    return picked, [_picked(m, picked, f"version {i}", unit=normalize) for i, m in enumerate(matrices, start=1)]


def _matrix(space: npt.ArrayLike, what: str) -> Array:
    """A matrix as it stands: a memory map is not read here."""
    return (
        space
        if isinstance(space, np.ndarray) and space.ndim == 2 and space.dtype.kind == "f"
        else as_rows(space, what=what)
    )


def _picked(rows: Array, picked: Array, what: str, *, unit: bool) -> Array:
    """The rows of the picked items, in their order, as float32; read in the order in which they lie."""
    order = np.argsort(picked)
    few = np.empty((len(picked), rows.shape[1]), dtype=np.float32)
    few[order] = as_rows(rows[picked[order]], what=what)
    try:
        check_finite(few, what=what)
    except BadVector as error:
        row = int(picked[error.row or 0])
        raise BadVector(
            f"{what} row {row} holds NaN, infinity or only zeros: remove or mend that item", row=row
        ) from None
    return to_unit(few) if unit else few
