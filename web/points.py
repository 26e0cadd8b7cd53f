"""The items of a study as the browser draws them: a line of JSON, and behind it columns of numbers.

The line ends with a newline and holds the counts, the ids as strings, and of each column its name, its type and the byte
at which it begins, counted behind that line, whose length is a multiple of four as is every beginning. All numbers are
little-endian, so that a browser looks at them where they lie.

- `x_old`, `y_old`, `x_new`, `y_new` (n,) int16: coordinates in 32767ths of `extent`, a hundredth of a pixel of a map;
- `overlap` (n,) uint8: in 200ths, 255 where it is unknown;
- `label.<column>` (n,) uint8, uint16 or uint32: places in the column's `values`, the most frequent value first;
- `query` (q,) uint32: the places of the items that were queries, and for each of these
- `ap_<stage>` (q,) float32, and `hit_<stage>` (q,) uint8: whether the first result was right.
"""

from __future__ import annotations

import gzip
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from flask import current_app

from registry.types import STAGES, Study
from registry.vectors import Array

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FORM", "OVERLAP_PARTS", "Kept", "Points", "encode", "kept"]

FORM = 1
"""The form described above; a page that reads another one says so."""

OVERLAP_PARTS = 200
_UNKNOWN = 255
_LARGEST = 32767
_ALIGNED = 4
_COORDINATES = ("x_old", "y_old", "x_new", "y_new")
_FASTEST = 1  # a higher level of gzip takes thrice as long for a fortieth fewer bytes
_KEPT_BYTES = 32 << 20  # in each process
_KEY = "samespace.points"


@dataclass(frozen=True, slots=True)
class Points:
    """The whole answer, as it is and by gzip."""

    plain: bytes
    packed: bytes


class Kept:
    """The answers that were asked for last, up to `most` bytes: making one of 50,000 items takes a tenth of a second."""

    def __init__(self, most: int = _KEPT_BYTES) -> None:
        self._most, self._lock = most, Lock()
        self._found: OrderedDict[str, Points] = OrderedDict()

    def get(self, id: str, make: Callable[[], Points]) -> Points:
        """The one of a study, made where it is not kept."""
        with self._lock:
            if id in self._found:
                self._found.move_to_end(id)
                return self._found[id]
        made = make()
        with self._lock:
            self._found[id] = made
            while len(self._found) > 1 and self._bytes() > self._most:
                self._found.popitem(last=False)
        return made

    def _bytes(self) -> int:
        return sum(len(p.plain) + len(p.packed) for p in self._found.values())


def kept() -> Kept:
    """Those of the current application."""
    return cast("Kept", current_app.extensions.setdefault(_KEY, Kept()))


def encode(study: Study, items: pa.Table) -> Points:
    """The items (n rows) of `study`, as `Registry.study_items` gives them."""
    queries = np.flatnonzero(~np.isnan(_floats(items, "ap_today")))
    extent, coordinates = _coordinates(items)
    labels = {n: _codes(items.column(n)) for n in items.column_names if n.startswith("label.")}
    columns = {**coordinates, "overlap": _overlaps(items), **{n: codes for n, (_, codes) in labels.items()}}
    columns.update(_of_queries(items, queries))
    head = {
        "form": FORM,
        "old": study.old,
        "new": study.new,
        "benchmark": study.benchmark,
        "label": study.label,
        "k": study.overlap.k,
        "items": items.num_rows,
        "queries": len(queries),
        "extent": extent,
        "labels": [{"name": n.removeprefix("label."), "values": values} for n, (values, _) in labels.items()],
        "ids": items.column("id").cast(pa.string()).to_pylist(),
    }
    whole = b"".join(_written(head, columns))
    return Points(whole, gzip.compress(whole, _FASTEST, mtime=0))


def _written(head: dict[str, Any], columns: dict[str, Array]) -> Iterator[Buffer]:
    at, places = 0, []
    for name, values in columns.items():
        places.append({"name": name, "dtype": values.dtype.name, "length": len(values), "at": at})
        at += -(-values.nbytes // _ALIGNED) * _ALIGNED
    line = json.dumps({**head, "columns": places}, ensure_ascii=False, separators=(",", ":")).encode()
    yield line + b" " * (-(len(line) + 1) % _ALIGNED) + b"\n"
    for values in columns.values():
        yield values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        yield b"\0" * (-values.nbytes % _ALIGNED)


def _coordinates(items: pa.Table) -> tuple[float, dict[str, Array]]:
    """The largest coordinate, and all of them as parts of it."""
    found = {name: _floats(items, name) for name in _COORDINATES}
    extent = max((float(np.abs(x).max(initial=0)) for x in found.values()), default=0.0) or 1.0
    return extent, {name: np.rint(x * (_LARGEST / extent)).astype(np.int16) for name, x in found.items()}


def _overlaps(items: pa.Table) -> Array:
    shares = _floats(items, "overlap")
    parts = np.rint(np.nan_to_num(shares) * OVERLAP_PARTS)
    return np.where(np.isnan(shares), _UNKNOWN, parts).astype(np.uint8)


def _codes(column: pa.ChunkedArray) -> tuple[list[Any], Array]:
    """The values of a label column, the most frequent first, and the place of each item's among them (n,)."""
    coded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    values, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(-np.bincount(codes, minlength=len(values)), kind="stable")
    place = np.empty(len(values), np.uint32)
    place[order] = np.arange(len(values))
    kind = np.min_scalar_type(max(len(values) - 1, 0))
    return [None if values[i] is None else str(values[i]) for i in order], place[codes].astype(kind)


def _of_queries(items: pa.Table, queries: Array) -> Iterator[tuple[str, Array]]:
    """What was measured of the items that were queries, at the stages that there are."""
    yield "query", queries.astype(np.uint32)
    for stage in STAGES:
        precision = _floats(items, f"ap_{stage}")[queries]
        if not np.isnan(precision).all():
            yield f"ap_{stage}", precision.astype(np.float32)
            yield f"hit_{stage}", (_floats(items, f"hit_{stage}")[queries] > 0).astype(np.uint8)


def _floats(items: pa.Table, name: str) -> Array:
    """A column (n,) of numbers, missing ones as NaN."""
    values: Array = pc.fill_null(items.column(name).cast(pa.float32()), float("nan")).to_numpy()
    return values
