"""Relative spaces: an item is described by its similarities to anchors that every version knows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from align.anchors import Anchors
from align.moments import Part, accumulate
from registry.errors import InvalidInput
from registry.transforms import Relative
from registry.vectors import Array, as_rows, check_finite, normalize

__all__ = ["project", "transform"]

Similarity = Literal["cosine", "whitened"]
Data = Array | Iterable[Array]

_ROWS = 65536  # rows checked and projected at a time


def project(
    x: npt.ArrayLike,
    anchors: Anchors | npt.ArrayLike,
    similarity: Similarity = "cosine",
    *,
    data: Data | None = None,
    floor: float = 1e-6,
) -> Array:
    """Similarities (n, k), float32, of the rows of x (n, d) to k anchors.

    anchors: their vectors (k, d) in the version that wrote x, or an `Anchors` about the items of x themselves.

    * cosine: the cosine of row and anchor (Moschella et al., ICLR 2023, eq. 1): unchanged by rotation and scaling, not
      by a shift or any other linear map.
    * whitened: (x - mean)^T precision (a - mean) (arXiv 2605.30596), with the moments of `data`, by default x itself:
      unchanged by any invertible affine map, see `transform` on `floor`.

    Raises:
        DimensionMismatch: x, anchors and data are of different widths.
        InvalidInput: a bad `similarity` or `floor`, or data that does not vary.
        BadVector: a row is not finite or only zeros.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    >>> np.allclose(project(x, x[:10]), project(3 * x @ turn, 3 * x[:10] @ turn), atol=1e-6)
    True
    """
    rows = x if isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f" else as_rows(x, what="x")
    vectors = anchors.vectors(rows) if isinstance(anchors, Anchors) else anchors
    to = transform(vectors, similarity, data=rows if data is None and similarity == "whitened" else data, floor=floor)
    # Without the scaling to length 1 that `apply` would end with: these are the similarities themselves.
    raw = replace(to, normalize=False)
    out = np.empty((len(rows), to.target_dim), dtype=np.float32)
    for start in range(0, len(rows), _ROWS):
        part = check_finite(as_rows(rows[start : start + _ROWS], dim=to.source_dim, what="x"), what="x")
        out[start : start + len(part)] = raw.apply(normalize(part) if to.normalize else part)
    return out


def transform(
    anchor_vectors: npt.ArrayLike,
    similarity: Similarity = "cosine",
    *,
    data: Data | None = None,
    floor: float = 1e-6,
) -> Relative:
    """The transform from a space into the relative space of the anchors whose vectors there are (k, d).

    cosine: rows are scaled to length 1 before it and after it. whitened: neither, since the similarity itself takes
    care of scale; `data` is needed then: rows (n, d) of the space, an array, a memory map or an iterator of chunks,
    read once for their mean and covariance.

    The precision is the inverse of the covariance, whose eigenvalues are first raised to at least `floor` times their
    mean: directions in which the rows do not vary are not blown up, and where all vary more than that, the invariance
    is exact but for float32. A larger floor is steadier with few rows. Below 2 d rows a UserWarning says
    that the covariance is poorly known.

    Raises:
        InvalidInput: a bad `similarity` or `floor`, missing or needless `data`, data that does not vary.
        DimensionMismatch: anchors and data are of different widths.
        BadVector: a row is not finite or only zeros.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> to = transform(x[:10], "whitened", data=x)
    >>> to.source_dim, to.target_dim
    (4, 10)
    """
    if similarity not in ("cosine", "whitened"):
        raise InvalidInput(f"similarity {similarity!r} is not known: use 'cosine' or 'whitened'")
    if similarity == "cosine":
        if data is not None:
            raise InvalidInput("data is read for whitened similarity only: leave it out for cosine")
        vectors = check_finite(as_rows(anchor_vectors, what="anchors"), what="anchors")
        return Relative(anchors=vectors, report={"similarity": similarity, "anchors": len(vectors)})
    if data is None:
        raise InvalidInput("whitened similarity needs data: rows of the space, for their mean and covariance")
    if not (isinstance(floor, int | float | np.floating) and 0 < floor < np.inf):
        raise InvalidInput(f"floor must be a finite number above 0, got {floor!r}")
    mean, precision, n = _whitening(data, float(floor))
    vectors = as_rows(anchor_vectors, dim=len(mean), what="anchors")
    return Relative(
        anchors=vectors,
        similarity="whitened",
        mean=mean,
        precision=precision,
        normalize=False,
        report={"similarity": similarity, "anchors": len(vectors), "rows": n, "floor": float(floor)},
    )


def _whitening(data: Data, floor: float) -> tuple[Array, Array, int]:
    """Mean (d,) and precision (d, d), float64, of rows, and how many there were."""
    blocks = [data] if isinstance(data, np.ndarray) else data
    parts: tuple[Part, ...] = ("xx",)
    m = accumulate(((block, np.empty((len(block), 0), np.float32)) for block in blocks), parts=parts, device="cpu")
    d = len(m.mean_x)
    if m.n < 2 or not m.spread_x > 1e-12 * float(m.mean_x @ m.mean_x):
        raise InvalidInput(f"the {m.n} rows of data do not vary: a covariance needs at least two different ones")
    if m.n < 2 * d:
        warnings.warn(f"{m.n} rows say little about a covariance of {d} dimensions: give {2 * d} or more", stacklevel=4)
    values, vectors = np.linalg.eigh(m.part("xx"))
    steadied = np.maximum(values, floor * m.spread_x / d)
    return m.mean_x, (vectors / steadied) @ vectors.T, m.n
