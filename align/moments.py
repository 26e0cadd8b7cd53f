"""First and second moments of paired rows, in one pass over any number of them.

Every closed-form map, linear CKA and the Procrustes distance follow from the same few numbers: how many pairs there
are, both means, and the covariances Cxx, Cxy and Cyy. They take O(d^2) memory whatever the number of rows, and the
moments of two parts merge into those of the whole (Chan, Golub and LeVeque, 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from align.chunks import Chunks, chunks
from align.devices import OnNumpy, OnTorch, full_precision, pick_device
from registry.errors import BadVector, DimensionMismatch, InvalidInput
from registry.vectors import Array, check_finite

__all__ = ["Chunks", "Moments", "Part", "Progress", "accumulate", "chunks"]

Part = Literal["xx", "xy", "yy"]
Progress = Callable[[int, int | None], None]  # rows done, rows in all where that is known

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
    double: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> Moments:
    """Moments of the pairs (source[i], target[i]), reading each row once.

    source (n, dx) and target (n, dy) are arrays or memory maps of float16, float32 or float64; or source is an
    iterator of pairs of chunks, (m, dx) and (m, dy), and target is None. An array without a target is paired with rows
    of width 0: its own mean and covariance are what comes out. `normalize` scales each row to length 1 first.

    Products are summed in float32 within a block of rows, and the blocks in float64; all in float64, at half the speed, if
    `double`: for whoever inverts a covariance, which magnifies its rounding by its condition number. Where the mean of
    the rows so far outweighs their spread, it is taken off the rows that follow, so that a large mean does not swallow
    the covariance, and the first block need not be like the others.

    `device`: None takes a GPU if there is one, else NumPy; "cpu" is NumPy, anything else a device of torch.

    Raises:
        BadVector: a row is not finite, or only zeros, or too long or short for float32; `row` counts over all chunks.
        InvalidInput: no rows at all, or the two sides are of different lengths.
        DimensionMismatch: a chunk is of another width than those before it.
    """
    where = pick_device(device)
    total = len(source) if isinstance(source, np.ndarray) and source.ndim else None
    sums: _Sums | None = None
    with full_precision(where):
        for start, x, y in chunks(source, target, rows=_ROWS.get(where.split(":")[0], _ROWS["cuda"])):
            if sums is None:
                sums = _Sums(where, parts, normalize, double)
            sums.add(x, y, start)
            if progress is not None:
                progress(start + len(x), total)
    if sums is None:
        raise InvalidInput("there are no rows to take moments of: got an empty source")
    return sums.moments()


class _Sums:
    """Running sums about a shift, on NumPy or a device of torch; the arithmetic is written once for both."""

    def __init__(self, device: str, parts: Collection[Part], normalize: bool, double: bool) -> None:
        self.ops: OnNumpy | OnTorch = OnNumpy() if device == "cpu" else OnTorch(device)
        self.normalize = normalize
        self.double = double
        self.parts = parts
        self.shift: list[Any] = [None, None]  # of x and of y; None where nothing is taken off
        self.done: Moments | None = None  # of the rows before the shift last changed
        self._restart()

    def add(self, x: Array, y: Array, start: int) -> None:
        """Take in one block; `start` is the position of its first row."""
        ones = self.ops.ones(len(x))
        blocks = [self._checked(x, start, "source"), self._checked(y, start, "target")]
        sides = [self._side(*block, ones, shift) for block, shift in zip(blocks, self.shift, strict=True)]
        far = [self._far(i, side, len(x)) for i, side in enumerate(sides)]
        if any(offset is not None for offset in far):
            self.done = self.moments() if self.n else None
            self._restart()
            for i, offset in enumerate(far):
                if offset is not None:
                    self.shift[i] = offset if self.shift[i] is None else self.shift[i] + offset
                    sides[i] = self._side(*blocks[i], ones, self.shift[i])
        for i, (_, squares, total) in enumerate(sides):
            self.sums[i] = self.sums[i] + self.ops.wide(total)
            self.squares[i] = self.squares[i] + self.ops.wide(squares).sum()
        named = {"x": sides[0][0], "y": sides[1][0]}
        if self.double:
            named = {side: self.ops.wide(rows) for side, rows in named.items()}
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

        found = Moments(
            n=self.n,
            mean_x=means[0],
            mean_y=means[1],
            spread_x=spreads[0],
            spread_y=spreads[1],
            cxx=covariance("xx"),
            cxy=covariance("xy"),
            cyy=covariance("yy"),
        )
        return self.done.merge(found) if self.done else found

    def _restart(self) -> None:
        self.n = 0
        self.sums: list[Any] = [0.0, 0.0]
        self.squares: list[Any] = [0.0, 0.0]
        self.products: dict[str, Any] = dict.fromkeys(self.parts, 0.0)

    def _checked(self, block: Array, start: int, what: str) -> tuple[Any, Any]:
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

    def _side(self, rows: Any, squares: Any, ones: Any, shift: Any) -> tuple[Any, Any, Any]:
        """Rows (m, d) less the shift, their squared lengths (m,), and the sum (d,) of the rows."""
        if shift is not None:
            rows = rows - shift
            squares = self.ops.squares(rows)
        return rows, squares, ones @ rows

    def _far(self, i: int, side: tuple[Any, Any, Any], rows: int) -> Any:
        """The mean of all rows about the shift, this block's included, where it outweighs their spread; else None."""
        n = self.n + rows
        mean = (self.sums[i] + self.ops.wide(side[2])) / n
        length = float((mean * mean).sum())
        spread = float(self.squares[i] + self.ops.wide(side[1]).sum()) / n - length
        # Below this the mean costs at most two bits of the products, and a pass over the data is saved.
        return self.ops.load(self.ops.host(mean)) if length > 2 * spread else None


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
