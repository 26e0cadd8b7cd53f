"""Similarities of many rows to anchors, a block at a time, on the CPU or a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from align.anchors.base import Anchors
from align.devices import OnNumpy, OnTorch, full_precision, pick_device
from align.relative.building import Data, transform
from registry.errors import BadVector, InvalidInput
from registry.transforms import Relative
from registry.transforms.similarities import Similarity
from registry.vectors import Array, as_rows, check_finite
from registry.vectors import normalize as to_unit

__all__ = ["project"]

_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}  # of a block of rows: on the CPU it stays in the cache between its passes


def project(
    x: npt.ArrayLike,
    anchors: Anchors | npt.ArrayLike,
    similarity: Similarity = "cosine",
    *,
    data: Data | None = None,
    floor: float | None = None,
    quantum: float | None = None,
    normalize: bool = False,
    device: str | None = None,
    out: Array | None = None,
) -> Array:
    """Similarities (n, k), float32, of the rows of x (n, d) to k anchors; larger = closer.

    x: an array or memory map of float16, float32 or float64, read a block at a time. anchors: their vectors (k, d) in
    the version that wrote x, or an `Anchors` about the items of x themselves.

    * cosine: the cosine of row and anchor (Moschella et al., ICLR 2023, eq. 1): unchanged by rotation and scaling, not
      by a shift or any other linear map.
    * whitened: (x - mean)^T precision (a - mean) (arXiv 2605.30596), with the moments of `data`, by default x itself:
      unchanged by any invertible affine map, see `transform` on `floor`.
    * l2: 1 - |x - a| / s with s the mean distance between two anchors (of at most 256, evenly spaced): unchanged by
      rotation, scaling and shift.
    * product: (n, 4 k), cosine, l1, l2 and l-infinity side by side (Cannistraci et al., arXiv 2310.01211), the distances
      in the form 1 - d / s, each block of k scaled to length 1/2, so that none dominates and the cosine of two rows is
      the mean of the blocks' cosines. Unchanged as a whole by scaling only, where each of its blocks is; the blocks
      between them cover rotation (cosine, l2) and shift (the distances).

    `quantum` rounds similarities to its whole multiples, round(s / quantum) quantum, for product before the scaling; None
    or 0 is off. `normalize` is for spaces of directions: rows, and `data`, are scaled to length 1 first.

    `device`: None takes a GPU if there is one, else NumPy; "cpu" is NumPy, anything else a device of torch. `out`
    (n, width) float32, such as a memory map, is filled and returned instead of a new array; it holds the rows up to the
    bad one's block where one is refused.

    Raises:
        DimensionMismatch: x, anchors and data are of different widths.
        InvalidInput: a bad `similarity`, `floor`, `quantum` or `out`, data that does not vary, no anchors.
        BadVector: a row is not finite or only zeros, or for other than cosine too long or short for float32.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    >>> np.allclose(project(x, x[:10]), project(3 * x @ turn, 3 * x[:10] @ turn), atol=1e-6)
    True
    """
    rows = x if isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f" else as_rows(x, what="x")
    unit = normalize or similarity == "cosine"
    vectors = anchors.vectors(rows, unit=unit) if isinstance(anchors, Anchors) else anchors
    given = rows if data is None and similarity == "whitened" else data
    to = transform(vectors, similarity, data=given, floor=floor, quantum=quantum, normalize=normalize, device=device)
    as_rows(rows[:0], dim=to.source_dim, what="x")
    y = np.empty((len(rows), to.target_dim), dtype=np.float32) if out is None else out
    if not isinstance(y, np.ndarray) or y.shape != (len(rows), to.target_dim) or y.dtype != np.float32:
        raise InvalidInput(f"out must be an array ({len(rows)}, {to.target_dim}) of float32")
    where = pick_device(device)
    with full_precision(where):
        _fill(y, rows, to, where, unit=unit)
    return y


def _fill(out: Array, rows: Array, to: Relative, where: str, *, unit: bool) -> None:
    """Write the similarities of all rows into `out`, a block at a time."""
    ops: Any = OnNumpy() if where == "cpu" else OnTorch(where)
    measure: Any = to.similarities
    if where != "cpu":
        from align.relative.on_torch import measure_of

        measure = measure_of(to, where)
    step = max(1, _BYTES.get(where.split(":")[0], _BYTES["cuda"]) // (4 * max(to.source_dim, to.target_dim)))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        x = ops.load(block)
        squares = ops.squares(x)
        if not ops.usable(squares):
            x = ops.load(_mended(block, start, unit=unit))
            squares = ops.squares(x)
        lengths = squares**0.5
        if unit and to.similarity != "cosine":
            x, lengths = x / lengths[:, None], ops.ones(1)
        y = measure(x, lengths=lengths)
        out[start : start + step] = y if where == "cpu" else y.cpu().numpy()


def _mended(block: Array, start: int, *, unit: bool) -> Array:
    """Rows of an extreme length, scaled to length 1 where only directions count; else, and for bad rows, BadVector."""
    rows = as_rows(block, what="x")
    try:
        check_finite(rows, what="x")
    except BadVector as error:
        row = start + (error.row or 0)
        raise BadVector(
            f"x row {row} holds NaN, infinity or only zeros: such a vector has no direction to compare; remove or mend it",
            row=row,
        ) from None
    if not unit:
        lengths = np.sqrt(np.vecdot(rows.astype(np.float64), rows.astype(np.float64)))
        row = int(np.argmax(np.abs(np.log(lengths))))
        raise BadVector(
            f"x row {start + row} has length {lengths[row]:.3g}, too far from 1 for float32: scale it", row=start + row
        )
    return to_unit(rows)
