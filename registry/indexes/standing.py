"""An index as it stands against one state of its segment: what it finds, and what is searched exactly beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count as counting
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from registry.backends import LanceBackend
from registry.backends.base import chosen
from registry.index import FlatIndex, IndexCache, empty_hits, ids_array, merge, oriented, search_blocks
from registry.indexes.covering import Coverage, coverage, fresh_blocks
from registry.indexes.files import Fragments, Rows
from registry.indexes.making import core_of, parameters
from registry.vectors import Array, Metric

__all__ = ["OpenIndex", "Standing"]

_FEW_ROWS, _FEW_BYTES = 32768, 64 << 20  # that are better gathered and searched exactly than picked out of the index
_HELD_BYTES = 1 << 30
_SELECTIONS = 16
_WIDER = 8
_NUMBERS = counting()
_BY_HAND = 128
_MOST = (
    0.9  # of an index: with fewer, a graph is searched twice as wide as their share asks for, since they may lie apart
)


@dataclass(frozen=True)
class OpenIndex:
    """A memory-mapped index, how it is asked, and the rows that it covers."""

    id: str
    index: Any
    rows: Rows
    metric: Metric
    knob: int | None
    lossless: bool

    @cached_property
    def is_graph(self) -> bool:
        """Whether it is an HNSW graph."""
        return isinstance(core_of(self.index), faiss.IndexHNSW)

    @cached_property
    def _numbers(self) -> Array:
        found: Array = self.rows.ids.to_numpy()
        return found

    @cached_property
    def _text(self) -> tuple[Any, Any]:
        _, ends, text = self.rows.ids.buffers()
        return memoryview(ends).cast("q"), memoryview(text)

    def ids_at(self, positions: Array) -> Array:
        """The ids of rows at `positions`, whose shape they take; where one is -1 it is -1 or the empty text."""
        if self.rows.ids.type == pa.int64():
            found: Array = self._numbers[positions]
            found[positions < 0] = -1
            return found
        if positions.size > _BY_HAND:
            found = self.rows.ids.take(pa.array(np.maximum(positions, 0).ravel())).to_numpy(zero_copy_only=False)
            found = found.reshape(positions.shape)
            found[positions < 0] = ""
            return found
        ends, text = self._text  # for a few, Arrow's own way takes as long as the search
        found = np.empty(positions.size, dtype=object)
        found[:] = [
            str(text[ends[row] : ends[row + 1]], "utf-8") if row >= 0 else "" for row in positions.ravel().tolist()
        ]
        return found.reshape(positions.shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Selection:
    """The `count` rows of an index that count in a search, a `share` of all; None is all of them.

    If they are `few`, they are gathered under this number and searched exactly.
    """

    count: int
    bitmap: Array | None = None
    share: float = 1.0
    few: int | None = None


_Before = tuple[tuple[Any, ...], tuple[int, ...], Fragments]
"""Of the state before the key of its fresh rows, the fragments that these are in, and all fragments."""


class Standing:
    """An index against one state of its segment. What is found out of that state is kept; it is safe to share."""

    def __init__(
        self, opened: OpenIndex, stored: LanceBackend, kept: IndexCache, before: Standing | None = None
    ) -> None:
        self._opened = opened
        self._stored = stored
        self._kept = kept
        self._before: _Before | None = None if before is None else (before._key, before._found.fresh, before._fragments)
        self._fragments: Fragments = stored.fragments()
        self._found: Coverage = coverage(opened.rows, stored)
        self._selections: list[tuple[pa.Array | None, pa.Array | None, _Selection]] = []
        self._parameters: dict[tuple[int, int], Any] = {}
        self._lock = threading.Lock()

    def search(
        self, queries: Array, k: int, *, without: pa.Array | None, among: pa.Array | None
    ) -> tuple[Array, Array]:
        """The k closest rows to each query (q, d), prepared: ids (q, k) and scores (q, k); see `Backend.search`."""
        hits = self._indexed(queries, k, self._selection(without, among))
        if not self._found.fresh:
            return hits
        fresh = self._fresh()
        if fresh is None or without is not None or among is not None:
            return merge(hits, self._exactly(self._fresh_rows(fresh), queries, k, without, among))
        return merge(hits, fresh.search(queries, k)) if len(fresh.ids) else hits

    def _indexed(self, queries: Array, k: int, selection: _Selection) -> tuple[Array, Array]:
        opened = self._opened
        if selection.few is not None:
            key = ("few", opened.id, selection.few), self._stored.lance_version
            few = self._kept.get(key, lambda: self._gathered(selection))
            return few.search(queries, k) if len(few.ids) else self._nothing(len(queries), k)
        knob = self._knob(k, selection.share)
        scores, positions = opened.index.search(queries, k, params=self._parameters_of(selection, knob))
        if _is_whole(positions):
            return opened.ids_at(positions), oriented(scores, positions, opened.metric, whole=True)
        last = min(k, selection.count) - 1
        short = positions[:, last] < 0
        if short.any():  # a graph, or the nearest lists, may hold fewer than k of the rows that count
            wide = self._parameters_of(selection, min(65536, max(_WIDER * (knob or 1), 2 * k), self._widest()))
            scores[short], positions[short] = opened.index.search(queries[short], k, params=wide)
        hits = opened.ids_at(positions), oriented(scores, positions, opened.metric)
        short = positions[:, last] < 0
        if short.any():
            exact = self._exactly(self._picked(selection), queries[short], k, None, None)
            hits[0][short], hits[1][short] = exact
        return hits

    def _knob(self, k: int, share: float) -> int | None:
        """The knob that was tuned at build, turned up where more is asked for, or few rows of the index count."""
        knob = self._opened.knob
        if knob is None:
            return None
        if self._opened.is_graph:
            return int(min(65536, max(knob, k + k // 2) / share * (1 if share > _MOST else 2)))
        return max(knob, int(min(self._widest(), knob / share**0.5)))

    def _widest(self) -> int:
        core = core_of(self._opened.index)
        return int(core.nlist) if isinstance(core, faiss.IndexIVF) else 65536

    def _parameters_of(self, selection: _Selection, knob: int | None) -> Any:
        key = (id(selection), knob or 0)
        found = self._parameters.get(key)
        if found is None:
            selector = None
            if selection.bitmap is not None:
                n = len(self._opened.rows.addresses)
                selector = faiss.IDSelectorBitmap(n, faiss.swig_ptr(selection.bitmap))
            found = (parameters(self._opened.index, knob, selector), selector, selection)  # one refers to the next
            with self._lock:
                if len(self._parameters) > 4 * _SELECTIONS:
                    self._parameters.clear()
                self._parameters[key] = found
        return found[0]

    def _selection(self, without: pa.Array | None, among: pa.Array | None) -> _Selection:
        for left_out, wanted, known in self._selections:
            if left_out is without and wanted is among:
                return known
        made = self._selected(without, among)
        with self._lock:
            before = self._selections[0][0] if self._selections else None
            kept = [known for known in self._selections if known[0] is without or known[0] is before]
            self._selections = [(without, among, made), *kept[: _SELECTIONS - 1]]
        return made

    def _selected(self, without: pa.Array | None, among: pa.Array | None) -> _Selection:
        rows = self._opened.rows
        kept = chosen(rows.ids, without=_like(rows.ids, without), among=_like(rows.ids, among))
        live = self._found.live
        mask = kept if live is None else live if kept is None else kept & live
        n = len(rows.addresses)
        count = n if mask is None else int(mask.sum())
        if mask is None or count == n:
            return _Selection(n)
        bitmap = np.packbits(mask, bitorder="little")
        few = count <= _FEW_ROWS and count * self._opened.index.d * 4 <= _FEW_BYTES
        return _Selection(count, bitmap, count / n, next(_NUMBERS) if few else None)

    def _gathered(self, selection: _Selection) -> FlatIndex:
        """The rows of a selection in an exact index: out of the index if it holds them whole, else out of the segment."""
        few = FlatIndex(self._opened.index.d, self._opened.metric)
        core, positions = self._opened.index, np.flatnonzero(self._mask(selection))
        if self._opened.lossless and not isinstance(core, faiss.IndexIVF):
            if len(positions):
                few.add(self._opened.ids_at(positions), core.reconstruct_batch(positions))
            return few
        for ids, rows in self._picked(selection) if len(positions) else ():
            few.add(ids_array(ids), rows)
        return few

    def _nothing(self, queries: int, k: int) -> tuple[Array, Array]:
        return empty_hits(queries, k, string_ids=self._opened.rows.ids.type != pa.int64())

    def _mask(self, selection: _Selection) -> Array:
        n = len(self._opened.rows.addresses)
        if selection.bitmap is None:
            return np.ones(n, dtype=bool)
        return np.unpackbits(selection.bitmap, count=n, bitorder="little").astype(bool)

    def _picked(self, selection: _Selection) -> Iterator[tuple[pa.Array, Array]]:
        """Ids and vectors of the rows of a selection, out of the segment."""
        wanted = np.sort(self._opened.rows.addresses[self._mask(selection)])
        for ids, rows, addresses in self._stored.addressed_blocks():
            places = np.minimum(np.searchsorted(wanted, addresses), len(wanted) - 1)
            kept = wanted[places] == addresses
            if kept.any():
                yield ids.filter(pa.array(kept)), rows[kept]

    # Rows that the index does not have

    @property
    def _key(self) -> tuple[Any, ...]:
        return ("fresh", self._opened.id), self._stored.lance_version

    def _fresh(self) -> FlatIndex | None:
        """Them in an exact index, as long as that fits into memory."""
        many = self._stored.count() - self._found.covered
        if many * self._opened.index.d * 4 > _HELD_BYTES:
            return None
        return self._kept.get(self._key, self._read_fresh)

    def _read_fresh(self) -> FlatIndex:
        held, found = FlatIndex(self._opened.index.d, self._opened.metric), self._found
        if self._before is not None:  # what was fresh before mostly is still, and is here
            key, fresh, fragments = self._before
            known = self._kept.known(key)
            same = fresh == found.fresh[: len(fresh)] and all(fragments[n] == self._fragments[n] for n in fresh)
            if known is not None and same and len(known.ids):
                held.add(known.ids, known.rows())
                found = replace(found, fresh=found.fresh[len(fresh) :])
        for ids, rows in fresh_blocks(self._opened.rows, self._stored, found):
            held.add(ids_array(ids), rows)
        return held

    def _fresh_rows(self, fresh: FlatIndex | None) -> Iterator[tuple[pa.Array, Array]]:
        if fresh is None:
            yield from fresh_blocks(self._opened.rows, self._stored, self._found)
        elif len(fresh.ids):
            kind = pa.int64() if self._opened.rows.ids.type == pa.int64() else pa.string()
            yield pa.array(fresh.ids, kind), fresh.rows()

    def _exactly(
        self, blocks: Iterator[tuple[pa.Array, Array]], queries: Array, k: int,
        without: pa.Array | None, among: pa.Array | None,
    ) -> tuple[Array, Array]:  # fmt: skip
        def wanted() -> Iterator[tuple[Array, Array]]:
            for ids, rows in blocks:
                kept = chosen(ids, without=without, among=among)
                if kept is None:
                    yield ids_array(ids), rows
                elif kept.any():
                    yield ids_array(ids.filter(pa.array(kept))), rows[kept]

        strings = self._opened.rows.ids.type != pa.int64()
        return search_blocks(wanted(), queries, k, self._opened.metric, string_ids=strings)


def _is_whole(positions: Array) -> bool:
    """Whether no place is empty: FAISS leaves the last ones so."""
    if len(positions) == 1:
        return bool(positions[0, -1] >= 0)
    return bool((positions[:, -1] >= 0).all())


def _like(ids: pa.Array, some: pa.Array | None) -> pa.Array | None:
    return None if some is None else some.cast(ids.type)
