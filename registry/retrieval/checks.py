"""What several metrics ask of their arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from registry.errors import InvalidInput
from registry.vectors import Array

__all__ = ["as_numbers", "as_row_numbers", "check_finite_numbers", "check_whole"]


def as_numbers(values: Any, what: str) -> Array:
    """`values` as a float64 array of any shape; NaN is let through.

    Raises:
        InvalidInput: not real numbers.
    """
    if np.ma.isMaskedArray(values):
        raise InvalidInput(f"{what} are masked: fill or drop the masked values first, or they would be taken for data")
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise InvalidInput(f"{what} must be real numbers, got {array.dtype}: convert them to float")
        return array.astype(np.float64)
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{what} must be an array of numbers: {error}") from error


def check_finite_numbers(values: Any, what: str) -> Array:
    """As `as_numbers`, and finite."""
    array = as_numbers(values, what)
    if not np.isfinite(array).all():
        raise InvalidInput(f"{what} must be finite, got {array[~np.isfinite(array)].flat[0]}: measure it first")
    return array


def as_row_numbers(values: Any, what: str) -> Array:
    """`values` as an int64 array of any shape.

    Raises:
        InvalidInput: not whole numbers, or of no one shape.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InvalidInput(f"{what} must be an array of row numbers: {error}") from error
    if array.dtype.kind not in "iu":
        raise InvalidInput(f"{what} must be row numbers, got {array.dtype}: convert them to int64")
    return array.astype(np.int64)


def check_whole(value: Any, what: str, low: int, high: int | None = None) -> int:
    """`value` as an int from `low` to `high`.

    Raises:
        InvalidInput: it is none.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        bounds = f"of {low} or more" if high is None else f"from {low} to {high}"
        raise InvalidInput(f"{what} must be a whole number {bounds}, got {value!r:.80}")
    return int(value)
