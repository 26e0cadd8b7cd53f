"""Paired rows that a learned fit draws its batches from, and those that it is judged by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from align.moments import Moments, Part, accumulate
from registry.errors import BadVector, DimensionMismatch, InvalidInput
from registry.transforms import Transform
from registry.vectors import Array, as_rows, check_finite, normalize

__all__ = ["Batches", "Rows", "Validation"]

Validation = float | Sequence[Array]
"""The share of the pairs to hold out, or held-out pairs themselves, in the form in which the pairs are given."""

_MOST_HELD = 4096  # more judge no better, and are applied after every epoch
_BLOCK_ROWS = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """x (m, dx) and y (m, dy), float32 and of length 1 where that is wanted; side (m, s) float32; labels (m,) int64."""

    x: Array
    y: Array
    side: Array | None = None
    labels: Array | None = None

    def __len__(self) -> int:
        return len(self.x)


class Batches:
    """Pairs x (n, dx), y (n, dy) in memory or mapped, with what else is known of each; some may be held out.

    `train` (k,) are the rows to learn from; `held` are the others, or those given as `validation`, read and checked. With
    `validation` None none are.
    """

    def __init__(
        self,
        x: Array,
        y: Array,
        *,
        side: Array | None = None,
        labels: Array | None = None,
        normalize: bool,
        validation: Validation | None = 0.1,
        seed: int = 0,
    ) -> None:
        self.normalize = normalize
        self._parts = _Parts.of(x, y, side, labels)
        n = len(self._parts.x)
        if validation is None or isinstance(validation, int | float):
            held = np.empty(0, np.int64) if validation is None else _draw(n, float(validation), seed)
            self.train = np.setdiff1d(np.arange(n), held, assume_unique=True)
            self.held = self._checked(self._parts, held, "held-out ")
        else:
            given = [*validation, *[None] * (4 - len(validation))]
            if labels is not None and side is None and len(validation) == 3:
                given = [*validation[:2], None, validation[2]]
            parts = _Parts.of(*given[:4], like=self._parts)  # type: ignore[arg-type]
            self.train = np.arange(n)
            self.held = self._checked(parts, np.arange(len(parts.x))[:_MOST_HELD], "validation ")
        if len(self.train) < 2 or (validation is not None and not len(self.held)):
            raise InvalidInput(f"a fit needs 2 pairs to learn from and 1 to be judged by, got {n} in all: give more")

    @property
    def nbytes(self) -> int:
        """Size of all pairs as float32."""
        p = self._parts
        widths = (p.x.shape[1], p.y.shape[1], 0 if p.side is None else p.side.shape[1])
        return 4 * len(p.x) * int(sum(widths))

    def rows(self, at: Array) -> Rows:
        """The rows at positions `at` (m,), best in ascending order: they may be read from disk."""
        return self._parts.take(at, normalize=self.normalize)

    def moments(self, parts: Sequence[Part] = ("xx", "xy")) -> Moments:
        """Moments of the pairs to learn from, all of which are checked on the way.

        Raises:
            BadVector: a row is not finite or only zeros; the message and `row` name its position among all pairs.
            InvalidInput: all rows of one side are equal.
        """
        try:
            m = accumulate(self._blocks(), parts=parts, normalize=self.normalize, device="cpu")
        except BadVector as error:
            row = int(self.train[error.row or 0])
            raise BadVector(str(error).replace(f"row {error.row} ", f"row {row} ", 1), row=row) from None
        if not m.varies:
            raise InvalidInput("all rows of the source or of the target are equal: one point says nothing about a map")
        return m

    def side_scale(self) -> tuple[Array, float]:
        """Mean (s,) of the side information, float64, and its root mean square deviation; every row is checked."""
        side = self._parts.side
        if side is None:
            raise InvalidInput("these pairs have no side information: give side")
        total, squares = np.zeros(side.shape[1]), 0.0
        for start in range(0, len(self.train), _BLOCK_ROWS):
            at = self.train[start : start + _BLOCK_ROWS]
            block = _finite(np.asarray(side[at], dtype=np.float64), at, "side ", zeros=True)
            total += block.sum(axis=0)
            squares += float(np.square(block).sum())
        mean = total / len(self.train)
        variance = squares / len(self.train) - float(mean @ mean)
        return mean, float(np.sqrt(max(variance, 0.0) / len(mean))) or 1.0

    def score(self, transform: Transform, spread: float) -> float:
        """How well a transform does on the held-out pairs, larger is better.

        The mean cosine where directions count, else 1 minus the share missed of `spread`, the target's variance.
        """
        mapped = transform.apply(self.held.x, self.held.side if transform.side_dim else None)
        if self.normalize:
            return float(np.vecdot(mapped, self.held.y).mean(dtype=np.float64))
        return 1 - float(np.square(mapped - self.held.y, dtype=np.float64).sum(axis=1).mean()) / spread

    def _blocks(self) -> Iterator[tuple[Array, Array]]:
        for start in range(0, len(self.train), _BLOCK_ROWS):
            at = self.train[start : start + _BLOCK_ROWS]
            yield self._parts.x[at], self._parts.y[at]

    def _checked(self, parts: _Parts, at: Array, what: str) -> Rows:
        for name, rows in (("source ", parts.x), ("target ", parts.y)):
            _finite(np.asarray(rows[at], dtype=np.float32), at, f"{what}{name}", zeros=False)
        if parts.side is not None:
            _finite(np.asarray(parts.side[at], dtype=np.float32), at, f"{what}side ", zeros=True)
        return parts.take(at, normalize=self.normalize)


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """What belongs together row by row, as it was given."""

    x: Array
    y: Array
    side: Array | None
    labels: Array | None

    @classmethod
    def of(cls, x: Array, y: Array, side: Array | None, labels: Array | None, *, like: _Parts | None = None) -> _Parts:
        given_side = None if side is None else _matrix(side, "side")
        if given_side is not None and not given_side.shape[1]:
            raise InvalidInput("side must be a matrix (n, s) of one column or more, got none: leave it out")
        codes = None if labels is None else _codes(labels)
        found = cls(_matrix(x, "source"), _matrix(y, "target"), given_side, codes)
        for name in ("y", "side", "labels"):
            other = getattr(found, name)
            if other is not None and len(other) != len(found.x):
                raise InvalidInput(f"{len(found.x)} source rows for {len(other)} of {name}: give one for each row")
        if like is not None:
            for name in ("x", "y", "side"):
                mine, theirs = getattr(found, name), getattr(like, name)
                if (mine is None) != (theirs is None) or (mine is not None and mine.shape[1] != theirs.shape[1]):
                    raise DimensionMismatch(f"validation pairs differ from the others in {name}: give the same form")
        return found

    def take(self, at: Array, *, normalize: bool) -> Rows:
        side = None if self.side is None else np.asarray(self.side[at], dtype=np.float32)
        labels = None if self.labels is None else self.labels[at]
        return Rows(_scaled(self.x[at], normalize), _scaled(self.y[at], normalize), side, labels)


def _draw(n: int, share: float, seed: int) -> Array:
    """Positions (m,), ascending, of a random share of n pairs: one at least, and no more than `_MOST_HELD`."""
    if not 0 < share < 1:
        raise InvalidInput(f"validation must be a share between 0 and 1, or held-out pairs, got {share!r}")
    count = min(max(1, round(share * n)), _MOST_HELD)
    return np.sort(np.random.default_rng(seed).choice(n, size=min(count, n), replace=False))


def _scaled(rows: Array, unit: bool) -> Array:
    return normalize(rows) if unit else np.asarray(rows, dtype=np.float32)


def _finite(rows: Array, at: Array, what: str, *, zeros: bool) -> Array:
    try:
        return check_finite(rows, zeros=zeros)
    except BadVector as error:
        row = int(at[error.row or 0])
        kind = "NaN or infinity" if zeros else "NaN, infinity or only zeros"
        raise BadVector(f"{what}row {row} holds {kind}: remove or mend that pair", row=row) from None


def _matrix(rows: Array, what: str) -> Array:
    """A matrix of floats as it stands: a memory map is not read here, nor copied."""
    if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.dtype.kind == "f":
        return rows
    return as_rows(rows, what=what)


def _codes(labels: Array) -> Array:
    """Labels (n,), integers or strings, as small integers."""
    listed = np.asarray(labels)
    if listed.ndim != 1 or listed.dtype.kind not in "iuUb":
        raise InvalidInput(f"labels must be integers or strings (n,), got {listed.dtype} of shape {listed.shape}")
    codes: Array = np.unique(listed, return_inverse=True)[1].astype(np.int64)
    return codes
