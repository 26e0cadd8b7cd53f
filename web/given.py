"""Vectors that a form brings: a small .npy, .json or .csv file, or numbers as text. Nothing of it is stored."""

from __future__ import annotations

import io
import json
import re
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from werkzeug.datastructures import FileStorage

from registry.errors import DimensionMismatch, InvalidInput
from registry.vectors import Array, as_rows, check_finite

__all__ = ["vector"]

_BETWEEN = re.compile(r"[\s,;]+")
_MAGIC = b"\x93NUMPY"
_MOST_NUMBERS = 65536
_HEADER_BYTES = 4096
_NO_HEADER = (ValueError, OverflowError, TypeError, SyntaxError, EOFError, RecursionError, MemoryError, TokenError)
"""What NumPy's reader of headers raises on any text; memory runs out where brackets are nested deep, and is there again."""


def vector(file: FileStorage | None, text: str, *, version: str, dim: int) -> Array | None:
    """The vector (dim,) float32 of a file or a text; None if there is neither.

    Raises:
        InvalidInput: what is no vector, or both of them.
        DimensionMismatch: one of another width than the version's.
    """
    data = file.read() if file is not None else b""
    if data and text.strip():
        raise InvalidInput(f"the query by {version} comes as a file and as text: give one of the two")
    if not data and not text.strip():
        return None
    what = f"the query by {version}"
    numbers = _npy(data, what) if data.startswith(_MAGIC) else _plain(data.decode("utf-8", "replace") or text, what)
    row = np.squeeze(numbers)
    if row.ndim != 1:
        raise InvalidInput(f"{what} has shape {numbers.shape}: give one vector, not several")
    if len(row) != dim:
        raise DimensionMismatch(
            f"{what} has {len(row)} dimensions, {version} has {dim}: was it made by another version?"
        )
    found: Array = check_finite(as_rows(row[None], dim=dim, what=what), what=what)[0]
    return found


def _npy(data: bytes, what: str) -> Array:
    """A NumPy file of numbers. Its header is held to what there is: it may claim a shape that fills all memory."""
    stream = io.BytesIO(data)
    try:
        version = npy.read_magic(stream)
        read: Any = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream, max_header_size=_HEADER_BYTES)
        if dtype.kind in "fiu" and all(n >= 0 for n in shape):
            count = int(np.prod([int(n) for n in shape], dtype=object)) if shape else 1
            if count * dtype.itemsize == len(data) - stream.tell():
                return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)
    except _NO_HEADER:
        pass
    raise InvalidInput(f"{what} is no NumPy file of one vector of numbers: save it with numpy.save(file, vector)")


def _plain(text: str, what: str) -> Array:
    """Numbers as JSON, or with commas, semicolons or spaces between them."""
    try:
        listed = json.loads(text) if text.lstrip().startswith("[") else [float(n) for n in _BETWEEN.split(text) if n]
        numbers = np.asarray(listed, dtype=np.float64)
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise InvalidInput(f"{what} is no list of numbers: give them with commas between, or as JSON") from None
    if not 0 < numbers.size <= _MOST_NUMBERS:
        raise InvalidInput(f"{what} has {numbers.size} numbers: give 1 to {_MOST_NUMBERS}")
    return numbers
