"""The first two principal components of vectors, however many rows and dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from registry.vectors import Array, Metric, normalize

__all__ = ["prepared", "principal"]

_BLOCK_BYTES = 16 << 20
_EXTRA, _PASSES = 8, 12


def prepared(vectors: Array, metric: Metric) -> Array:
    """Rows (n, d) float32 as they are compared: directions, where lengths do not count."""
    return normalize(vectors) if metric == "cosine" else vectors.astype(np.float32, copy=False)


def principal(spaces: Sequence[Array], seed: int) -> Array:
    """Coordinates (n, 2) float64 of n items along the two widest directions of their vectors, those of `spaces` side by side.

    Each space (n, d) is centred and scaled to a total variance of 1 first, so that none counts more for its width or its
    lengths. Subspace iteration from a seeded start (Halko, Martinsson and Tropp, 2011, algorithm 4.4) in blocks of rows:
    no matrix of dimensions by dimensions is held. Signs are such that the largest coordinate of each is positive.
    """
    shifts = [x.mean(axis=0, dtype=np.float64) for x in spaces]
    scales = [_scale(x, shift) for x, shift in zip(spaces, shifts, strict=True)]
    width = sum(x.shape[1] for x in spaces)
    basis = np.random.default_rng(seed).standard_normal((width, min(width, 2 + _EXTRA)))
    for _ in range(_PASSES):
        basis = np.linalg.qr(_through(spaces, shifts, scales, basis)[1])[0]
    along, _ = _through(spaces, shifts, scales, basis)
    directions = np.linalg.eigh(along.T @ along)[1][:, ::-1][:, :2]
    found = np.zeros((len(along), 2))
    found[:, : directions.shape[1]] = along @ directions
    signs = np.sign(np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0))
    return found * np.where(signs == 0, 1, signs)


def _scale(x: Array, shift: Array) -> float:
    """By what to multiply centred rows for a total variance of 1."""
    spread = sum(float(np.square(x[rows] - shift).sum()) for rows in _rows(len(x), x.shape[1]))
    return 1 / np.sqrt(spread / len(x)) if spread > 0 else 0.0


def _through(
    spaces: Sequence[Array], shifts: Sequence[Array], scales: Sequence[float], basis: Array
) -> tuple[Array, Array]:
    """Z b (n, m) and Z^T Z b (width, m), for the rows Z of all spaces side by side."""
    n = len(spaces[0])
    along, back = np.zeros((n, basis.shape[1])), np.zeros_like(basis)
    for rows in _rows(n, len(basis)):
        parts = [(x[rows] - shift) * scale for x, shift, scale in zip(spaces, shifts, scales, strict=True)]
        block = np.concatenate(parts, axis=1)
        along[rows] = block @ basis
        back += block.T @ along[rows]
    return along, back


def _rows(n: int, width: int) -> list[slice]:
    size = max(1, _BLOCK_BYTES // (8 * width))
    return [slice(start, start + size) for start in range(0, n, size)]
