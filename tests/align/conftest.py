"""What tests of `align` share: matrices that must be refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

FLOATS = (np.float16, np.float32, np.float64)


@st.composite
def _broken_rows(draw, n, d):
    rows = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((n, d)).astype(draw(st.sampled_from(FLOATS)))
    row = draw(st.integers(0, n - 1))
    kind = draw(
        st.sampled_from(
            ["nan", "inf", "zeros", "empty", "flat", "deep", "point", "text", "complex", "object", "ragged"]
        )
    )
    if kind in ("nan", "inf"):
        rows[row, draw(st.integers(0, d - 1))] = float(kind)
    if kind == "zeros":
        rows[row] = 0
    return {
        "empty": rows[:0],
        "flat": rows[0],
        "deep": rows[None],
        "point": np.asarray(1.0),
        "text": rows.astype("U5"),
        "complex": rows.astype(np.complex64),
        "object": np.full((n, d), None),
        "ragged": [[1.0] * d, [1.0]],
    }.get(kind, rows)


@pytest.fixture(scope="session")
def broken_rows():
    """A strategy: (n, d) rows with a NaN, an infinity or a row of zeros, or no such matrix of numbers at all."""
    return _broken_rows
