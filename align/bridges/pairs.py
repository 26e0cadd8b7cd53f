"""Pairs of rows on their way to a fit: a share of them held out, the others streamed on, or kept on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO

import numpy as np

from align.chunks import Chunks, chunks
from registry.errors import BadVector, InvalidInput, Unavailable
from registry.vectors import Array, check_finite

__all__ = ["FEWEST", "MOST", "Block", "Rows", "Split", "checked", "spool", "widths"]

FEWEST = 10
"""Fewer held-out pairs say nothing about retrieval among them: then none is held out."""

MOST = 4096
"""More held-out pairs narrow the intervals little, and their scores grow with the square."""

_ROWS = 8192

Block = tuple[Array, Array, Array]
"""Positions among all pairs (m,), and the rows x (m, dx) and y (m, dy) that stand there."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Paired rows x (n, dx) and y (n, dy), and where each pair stood among all that were given, (n,)."""

    at: Array
    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.at)


class Split:
    """A stream of pairs without those that are held out, which are kept until its end.

    Each pair draws a number, and those below `share` are held out; beyond `most` of them only the lowest numbers stay, and
    the others join the stream again. So the choice is by the seed and a pair's position alone: neither the size of chunks
    nor knowing the number of pairs beforehand changes it. Where fewer than `fewest` come together, none is held out.
    """

    def __init__(self, share: float, *, seed: int, most: int = MOST, fewest: int = FEWEST) -> None:
        self.share, self.most, self.fewest = share, most, fewest
        self.held: Rows | None = None
        """What is held out, once the stream has ended; None if nothing is."""
        self._rng = np.random.default_rng(seed)
        self._kept: list[tuple[Array, Rows]] = []  # the numbers that were drawn, and the pairs
        self._at = np.empty(0, np.int64)
        self._passed = 0

    def stream(self, source: Array | Chunks, target: Array | None) -> Iterator[Block]:
        """The pairs to fit on, in blocks; see `align.moments.accumulate` for what they may be."""
        for start, x, y in chunks(source, target, rows=_ROWS):
            at = np.arange(start, start + len(x))
            keys = self._rng.random(len(x))
            out = keys < self.share
            if not out.any():
                yield self._pass(at, x, y)
                continue
            if not out.all():
                yield self._pass(at[~out], x[~out], y[~out])
            self._kept.append((keys[out], Rows(at[out], x[out], y[out])))
            if sum(len(drawn) for drawn, _ in self._kept) > 2 * self.most:
                yield from self._trim()
        yield from self._trim()
        if not self._kept:
            return
        rows = self._kept[0][1]
        if len(rows) < self.fewest:
            yield self._pass(rows.at, rows.x, rows.y)
        else:
            self._at = self._at[:0]  # what is refused from here on is named by its place already
            self.held = self._float32(rows)

    def named(self, error: BadVector) -> BadVector:
        """An error about a row of the stream, which counts only the rows that passed, about its place among all pairs."""
        row = (error.row or 0) - self._passed + len(self._at)
        if error.row is None or not 0 <= row < len(self._at):
            return error
        place = int(self._at[row])
        return BadVector(str(error).replace(f"row {error.row} ", f"row {place} ", 1), row=place)

    def _pass(self, at: Array, x: Array, y: Array) -> Block:
        self._at = at
        self._passed += len(at)
        return at, x, y

    def _trim(self) -> Iterator[Block]:
        """Bring what is kept together, and let those beyond the most go on."""
        if not self._kept:
            return
        keys = np.concatenate([drawn for drawn, _ in self._kept])
        at, x, y = (np.concatenate([getattr(rows, name) for _, rows in self._kept]) for name in ("at", "x", "y"))
        if len(keys) > self.most:
            order = np.argsort(keys, kind="stable")
            self.share = float(keys[order[self.most]])  # whoever draws more can no longer stay
            low, high = np.sort(order[: self.most]), np.sort(order[self.most :])
            yield self._pass(at[high], x[high], y[high])
            keys, at, x, y = keys[low], at[low], x[low], y[low]
        self._kept = [(keys, Rows(at, x, y))]

    @staticmethod
    def _float32(rows: Rows) -> Rows:
        """Checked, since no fit will do that; float16 rows would be compared coarsely."""
        sides = []
        for what, side in (("source", rows.x), ("target", rows.y)):
            with np.errstate(over="ignore"):  # becomes infinity, which is refused
                sides.append(checked(np.asarray(side, dtype=np.float32), rows.at, what))
        return Rows(rows.at, *sides)


def spool(blocks: Iterable[Block]) -> Rows:
    """Write blocks to nameless temporary files and map them: float32 rows in bounded memory, gone with the arrays.

    Raises:
        BadVector: a row is not finite or only zeros; the message names its place among all pairs.
        InvalidInput: no blocks at all.
        Unavailable: the temporary folder is full.
    """
    positions: list[Array] = []
    width: tuple[int, int] | None = None
    with tempfile.TemporaryFile() as left, tempfile.TemporaryFile() as right:
        for at, x, y in blocks:
            for file, side, what in ((left, x, "source"), (right, y, "target")):
                with np.errstate(over="ignore"):
                    rows = np.ascontiguousarray(side, dtype=np.float32)
                _write(file, checked(rows, at, what))
            positions.append(at)
            width = (x.shape[1], y.shape[1])
        if width is None:
            raise InvalidInput("there are no pairs to fit on: got an empty source")
        place = np.concatenate(positions)
        # A map keeps its file alive after it is closed, and the file has no name that could be left behind.
        x, y = (
            np.memmap(file, np.float32, "r", shape=(len(place), d))
            for file, d in zip((left, right), width, strict=True)
        )
    return Rows(place, x, y)


def _write(file: IO[bytes], rows: Array) -> None:
    try:
        file.write(rows.data)
        file.flush()
    except OSError as error:
        raise Unavailable(
            f"the pairs do not fit into {tempfile.gettempdir()}: {error.strerror}; set TMPDIR to a folder with more room"
        ) from error


def widths(source: Array | Chunks, target: Array | None) -> tuple[Array | Chunks, tuple[int, int]]:
    """The source, to be read from its start still, and the widths of both sides; 0 where a side is no matrix."""
    if target is not None:
        return source, (_width(source), _width(target))
    if isinstance(source, np.ndarray) or not isinstance(source, Iterable):
        raise InvalidInput("fit needs pairs: give source and target, or one iterator of pairs of chunks")
    rest = iter(source)
    first = list(islice(rest, 1))
    if not first:
        raise InvalidInput("fit needs pairs, and the iterator of chunks is empty")
    pair = first[0] if isinstance(first[0], tuple | list) and len(first[0]) == 2 else ((), ())
    return chain(first, rest), (_width(pair[0]), _width(pair[1]))  # what is no pair is refused when it is read


def _width(rows: object) -> int:
    return int((0, *np.shape(rows))[-1])  # type: ignore[call-overload]


def checked(rows: Array, at: Array, what: str) -> Array:
    """Rows (m, d) as they are; BadVector for the first that is not finite or only zeros, by its place `at` (m,)."""
    try:
        return check_finite(rows, what=what, zeros=not rows.shape[1])
    except BadVector as error:
        place = int(at[error.row or 0])
        raise BadVector(
            f"{what} row {place} holds NaN, infinity or only zeros: remove or mend that pair", row=place
        ) from None
