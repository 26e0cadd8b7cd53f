"""First and second moments of paired rows, in one pass over any number of them.

Every closed-form map, linear CKA and the Procrustes distance follow from the same few numbers: how many pairs there
are, both means, and the covariances Cxx, Cxy and Cyy. They take O(d^2) memory whatever the number of rows, and the
moments of two parts merge into those of the whole (Chan, Golub and LeVeque, 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from align.devices import OnNumpy, OnTorch, full_precision, pick_device
from registry.errors import BadVector, DimensionMismatch, InvalidInput
from registry.vectors import Array, as_rows, check_finite

__all__ = ["Chunks", "Moments", "Part", "Progress", "accumulate", "chunks"]

Part = Literal["xx", "xy", "yy"]
Progress = Callable[[int, int | None], None]  # rows done, rows in all where that is known
Chunks = Iterable[tuple[Array, Array]]

_ROWS = {"cpu": 8192, "cuda": 65536}  # a CPU block should stay in the cache between its passes


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Moments of n pairs (x, y), all float64; `cxx`, `cxy` and `cyy` are None unless they were asked for.

    mean_x (dx,), mean_y (dy,); cxx (dx, dx), cxy (dx, dy), cyy (dy, dy): the mean over the pairs of
    (x - mean_x)(y - mean_y)^T and its like. spread_x, spread_y: the traces of Cxx and Cyy, always known.
    """

    n: int
    mean_x: Array
    mean_y: Array
    spread_x: float
    spread_y: float
    cxx: Array | None = None
    cxy: Array | None = None
    cyy: Array | None = None

    @property
    def varies(self) -> bool:
        """Whether the rows of each side differ by more than the rounding of float32."""
        sides = ((self.spread_x, self.mean_x), (self.spread_y, self.mean_y))
        return all(spread > 1e-12 * float(mean @ mean) for spread, mean in sides)

    def part(self, name: Part) -> Array:
        """Cxx, Cxy or Cyy, one that was asked for.

        Raises:
            InvalidInput: it was not.
        """
        found = {"xx": self.cxx, "xy": self.cxy, "yy": self.cyy}[name]
        if found is None:
            raise InvalidInput(f"these moments hold no {name}: accumulate them with {name!r} among the parts")
        return found

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of pairs together.

        Raises:
            DimensionMismatch: the two are of different widths.
        """
        mine, theirs = (len(self.mean_x), len(self.mean_y)), (len(other.mean_x), len(other.mean_y))
        if mine != theirs:
            raise DimensionMismatch(f"moments of widths {mine} and {theirs} do not merge: they are of other spaces")
        n = self.n + other.n
        a, b = self.n / n, other.n / n
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y

        def both(c: Array | None, d: Array | None, left: Array, right: Array) -> Array | None:
            return None if c is None or d is None else a * c + b * d + a * b * np.outer(left, right)

        return Moments(
            n=n,
            mean_x=self.mean_x + b * dx,
            mean_y=self.mean_y + b * dy,
            spread_x=a * self.spread_x + b * other.spread_x + a * b * float(dx @ dx),
            spread_y=a * self.spread_y + b * other.spread_y + a * b * float(dy @ dy),
            cxx=both(self.cxx, other.cxx, dx, dx),
            cxy=both(self.cxy, other.cxy, dx, dy),
            cyy=both(self.cyy, other.cyy, dy, dy),
        )


def accumulate(
    source: Array | Chunks,
    target: Array | None = None,
    *,
    parts: Collection[Part] = ("xx", "xy", "yy"),
    normalize: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> Moments:
    """Moments of the pairs (source[i], target[i]), reading each row once.

    source (n, dx) and target (n, dy) are arrays or memory maps of float16, float32 or float64; or source is an
    iterator of pairs of chunks, (m, dx) and (m, dy), and target is None. An array without a target is paired with rows
    of width 0: its own mean and covariance are what comes out. `normalize` scales each row to length 1 first.

    Products are summed in float32 within a block of rows, and the blocks in float64. Where the first block's mean
    outweighs its spread, it is taken off every row first, so that a large mean does not swallow the covariance.

    `device`: None takes a GPU if there is one, else NumPy; "cpu" is NumPy, anything else a device of torch.

    Raises:
        BadVector: a row is not finite, or only zeros, or too long or short for float32; `row` counts over all chunks.
        InvalidInput: no rows at all, or the two sides are of different lengths.
        DimensionMismatch: a chunk is of another width than those before it.
    """
    where = pick_device(device)
    total = len(source) if isinstance(source, np.ndarray) else None
    sums: _Sums | None = None
    with full_precision(where):
        for start, x, y in chunks(source, target, rows=_ROWS.get(where.split(":")[0], _ROWS["cuda"])):
            if sums is None:
                sums = _Sums(where, parts, normalize)
            sums.add(x, y, start)
            if progress is not None:
                progress(start + len(x), total)
    if sums is None:
        raise InvalidInput("there are no rows to take moments of: got an empty source")
    return sums.moments()


def chunks(source: Array | Chunks, target: Array | None, *, rows: int) -> Iterator[tuple[int, Array, Array]]:
    """Cut pairs into blocks of at most `rows`: (position of the first row, x (m, dx), y (m, dy)); see `accumulate`."""
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


class _Sums:
    """Running sums about a fixed shift, on NumPy or a device of torch; the arithmetic is written once for both."""

    def __init__(self, device: str, parts: Collection[Part], normalize: bool) -> None:
        self.ops: OnNumpy | OnTorch = OnNumpy() if device == "cpu" else OnTorch(device)
        self.normalize = normalize
        self.parts = parts
        self.n = 0
        self.shift: list[Any] = []  # of x and of y; None where none is taken off
        self.sums: list[Any] = [0.0, 0.0]
        self.squares: list[Any] = [0.0, 0.0]
        self.products: dict[str, Any] = dict.fromkeys(parts, 0.0)

    def add(self, x: Array, y: Array, start: int) -> None:
        """Take in one block; `start` is the position of its first row."""
        sides = [self._side(x, start, "source"), self._side(y, start, "target")]
        ones = self.ops.ones(len(x))
        if not self.shift:
            self.shift = [self._first_shift(rows, squares, ones) for rows, squares in sides]
        for i, (rows, squares) in enumerate(sides):
            if self.shift[i] is not None:
                rows = rows - self.shift[i]
                squares = self.ops.squares(rows)
                sides[i] = rows, squares
            self.sums[i] = self.sums[i] + self.ops.wide(ones @ rows)
            self.squares[i] = self.squares[i] + self.ops.wide(squares).sum()
        named = {"x": sides[0][0], "y": sides[1][0]}
        for part in self.parts:
            self.products[part] = self.products[part] + self.ops.wide(named[part[0]].T @ named[part[1]])
        self.n += len(x)

    def moments(self) -> Moments:
        """What the sums say."""
        offsets = [self.ops.host(s) / self.n for s in self.sums]
        means = [o if shift is None else o + self.ops.host(shift) for o, shift in zip(offsets, self.shift, strict=True)]
        spreads = [max(0.0, float(s) / self.n - float(o @ o)) for s, o in zip(self.squares, offsets, strict=True)]
        side = {"x": offsets[0], "y": offsets[1]}

        def covariance(part: Part) -> Array | None:
            if part not in self.products:
                return None
            return self.ops.host(self.products[part]) / self.n - np.outer(side[part[0]], side[part[1]])

        return Moments(
            n=self.n,
            mean_x=means[0],
            mean_y=means[1],
            spread_x=spreads[0],
            spread_y=spreads[1],
            cxx=covariance("xx"),
            cxy=covariance("xy"),
            cyy=covariance("yy"),
        )

    def _side(self, block: Array, start: int, what: str) -> tuple[Any, Any]:
        """One side's rows as float32, checked and normalised, with their squared lengths (m,)."""
        rows = self.ops.load(block)
        if not block.shape[1]:
            return rows, self.ops.squares(rows)
        squares = self.ops.squares(rows)
        if not self.ops.usable(squares):
            _refuse(block, start, what)
        if self.normalize:
            rows = rows * (squares**-0.5)[:, None]
            squares = self.ops.ones(len(rows))
        return rows, squares

    def _first_shift(self, rows: Any, squares: Any, ones: Any) -> Any:
        mean = (ones @ rows) / len(rows)
        length = float((mean * mean).sum())
        # Below this the means cost at most one bit of the products, and a pass over the data is saved.
        return mean if length > float(squares.mean()) - length else None


def _refuse(block: Array, start: int, what: str) -> None:
    """Raise for the first bad row of a block, by its position in the whole."""
    with np.errstate(over="ignore"):
        rows = block.astype(np.float32)
    try:
        check_finite(rows, what=what)
    except BadVector as error:
        row = start + (error.row or 0)
        raise BadVector(
            f"{what} row {row} holds NaN, infinity or only zeros: remove or mend that pair", row=row
        ) from None
    lengths = np.sqrt(np.vecdot(rows.astype(np.float64), rows.astype(np.float64)))
    row = int(np.argmax(np.abs(np.log(lengths))))
    raise BadVector(
        f"{what} row {start + row} has length {lengths[row]:.3g}, too far from 1 for float32: scale it", row=start + row
    )


def _pairs(source: Array | Chunks, target: Array | None) -> Iterator[tuple[Array, Array]]:
    if target is not None:
        yield source, target  # type: ignore[misc]
    elif isinstance(source, np.ndarray):
        yield source, np.empty((len(source), 0), np.float32)
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
