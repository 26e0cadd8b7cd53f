"""The transform from a version's space into a relative space."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from align.moments import Part, accumulate
from registry.errors import BadVector, InvalidInput
from registry.transforms import Relative
from registry.transforms.relative import checked_quantum
from registry.transforms.similarities import WIDTHS, Similarity
from registry.vectors import Array, as_rows, check_finite

__all__ = ["Data", "transform", "whitening"]

Data = Array | Iterable[Array]

_ENOUGH = 4  # rows for each dimension
_FLOOR = 1e-6  # of the covariance's eigenvalues, in units of their mean


def transform(
    anchor_vectors: npt.ArrayLike,
    similarity: Similarity = "cosine",
    *,
    data: Data | None = None,
    floor: float | None = None,
    quantum: float | None = None,
    normalize: bool | None = None,
    device: str | None = None,
) -> Relative:
    """The transform from a space into the relative space of the anchors whose vectors there are (k, d).

    `similarity` and `quantum` are those of `project`. `normalize` is for spaces of directions (metric cosine): rows are
    scaled to length 1 before the similarities are taken, and these are scaled to length 1; so it is by default for cosine
    alone.

    whitened needs `data`: rows (n, d) of the space, an array, a memory map or an iterator of chunks, read once for their
    mean and covariance, on `device` as `align.moments.accumulate` has it. The precision is the inverse of the covariance,
    whose eigenvalues are first raised to at least `floor` times their mean: directions in which the rows do not vary are
    not blown up, and where all vary more than that, the invariance is exact but for float32. The default floor is 1e-6.
    Below 4 d rows a UserWarning says that the covariance is poorly known, and the default is 1, which gives the exact
    invariance up for similarities that are not noise; up to some 10 d rows that can still find more.

    Raises:
        InvalidInput: a bad `similarity`, `floor` or `quantum`, missing or needless `data`, data that does not vary, no
            anchors, or for l2 and product only one.
        DimensionMismatch: anchors and data are of different widths.
        BadVector: a row is not finite or only zeros.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> to = transform(x[:10], "whitened", data=x, device="cpu")
    >>> to.source_dim, to.target_dim
    (4, 10)
    >>> transform(x[:10], "product").target_dim
    40
    """
    if not isinstance(similarity, str) or similarity not in WIDTHS:
        raise InvalidInput(f"similarity {similarity!r:.80} is not known: use one of {', '.join(WIDTHS)}")
    vectors = as_rows(anchor_vectors, what="anchors")
    if not vectors.size:
        raise InvalidInput(f"a relative space needs an anchor or more, got shape {vectors.shape}")
    # An anchor in the origin has no direction, but it has a distance, and a whitened product.
    vectors = check_finite(vectors, what="anchors", zeros=similarity in ("whitened", "l2"))
    moments: dict[str, Any] = {}
    report: dict[str, Any] = {"similarity": similarity, "anchors": len(vectors)}
    if similarity == "whitened":
        mean, precision, facts = whitening(data, floor, normalize=bool(normalize), device=device)
        moments = {"mean": mean, "precision": precision}
        report |= facts
        vectors = as_rows(vectors, dim=len(mean), what="anchors")
    elif data is not None:
        raise InvalidInput(f"data is read for whitened similarity only: leave it out for {similarity}")
    steps = checked_quantum(quantum)
    return Relative(
        anchors=vectors, similarity=similarity, quantum=steps, report=report | ({"quantum": steps} if steps else {}),
        normalize=similarity == "cosine" if normalize is None else normalize, **moments,
    )  # fmt: skip


def whitening(
    data: Data | None, floor: float | None = None, *, normalize: bool = False, device: str | None = None
) -> tuple[Array, Array, dict[str, float]]:
    """Mean (d,) and precision (d, d), float64, of rows, and for the report their number and the floor; see `transform`."""
    if data is None:
        raise InvalidInput("whitened similarity needs data: rows of the space, for their mean and covariance")
    number = isinstance(floor, int | float | np.floating) and not isinstance(floor, bool)
    if floor is not None and not (number and 0 < floor < np.inf):
        raise InvalidInput(f"floor must be a finite number above 0, got {floor!r:.80}")
    blocks = [data] if isinstance(data, np.ndarray) else data
    pairs = ((block, np.empty((len(block), 0), np.float32)) for block in blocks)
    parts: tuple[Part, ...] = ("xx",)
    try:
        m = accumulate(pairs, parts=parts, normalize=normalize, double=True, device=device)
    except BadVector as error:
        raise BadVector(
            str(error).replace("source row", "data row").replace("that pair", "it"), row=error.row
        ) from None
    d = len(m.mean_x)
    if m.n < 2 or not m.spread_x > 1e-12 * float(m.mean_x @ m.mean_x):
        raise InvalidInput(f"the {m.n} rows of data do not vary: a covariance needs at least two different ones")
    few = m.n < _ENOUGH * d
    if few:
        message = f"{m.n} rows say little about a covariance of {d} dimensions: give {_ENOUGH * d} or more"
        warnings.warn(message, UserWarning, stacklevel=3)
    if floor is None:
        floor = 1.0 if few else _FLOOR
    values, vectors = np.linalg.eigh(m.part("xx"))
    steadied = np.maximum(values, floor * m.spread_x / d)
    return m.mean_x, (vectors / steadied) @ vectors.T, {"rows": m.n, "floor": float(floor)}
