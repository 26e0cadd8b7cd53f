"""What every backend must keep to, for tests of backends of your own; it needs no test framework.

    from registry.backends.conformance import check
    check(make)                                    # AssertionError names what does not hold

`make(ids, vectors, metric, labels)` gives a backend that holds these rows: ids (n,) of string or int64, vectors (n, d)
float32, labels a column `class` (n,) of strings. It is called once for each metric and type of ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import pyarrow as pa

from registry.backends.base import CAPABILITIES, Backend
from registry.errors import InvalidInput, NotFound
from registry.index import ids_array, search_blocks
from registry.vectors import Array, Metric

__all__ = ["CHECKS", "Make", "check", "rows_of"]

_ROWS, _DIM = 83, 8
_CLOSE = 2e-3  # what half precision or a recomputed length may move a score by
METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")


class Make(Protocol):
    """Makes a backend that holds some rows."""

    def __call__(self, ids: pa.Array, vectors: Array, metric: Metric, labels: Sequence[str]) -> Backend:
        """See the module."""


def rows_of(strings: bool, *, uuids: bool = False) -> tuple[pa.Array, Array, list[str]]:
    """Ids, vectors and labels to make a backend of; the same ones always."""
    made = np.random.default_rng(6)
    vectors = made.standard_normal((_ROWS, _DIM)).astype(np.float32)
    numbers = made.permutation(10 * _ROWS)[:_ROWS].astype(np.int64)
    named = [str(UUID(int=int(n) + (1 << 100))) if uuids else f"item é/{n}" for n in numbers]
    ids = pa.array(named, pa.string()) if strings else pa.array(numbers)
    return ids, vectors, [f"class {n % 3}" for n in numbers]


def check(
    make: Make, *, metrics: Sequence[Metric] = METRICS, strings: Sequence[bool] = (True, False), uuids: bool = False
) -> None:
    """Every check, by each metric and type of ids that the backend can have. AssertionError says what does not hold."""
    for kind in strings:
        for metric in metrics:
            ids, vectors, labels = rows_of(kind, uuids=uuids)
            backend = make(ids, vectors, metric, labels)
            for one in CHECKS:
                one(backend, _Rows(ids, vectors, labels, metric))


class _Rows:
    """What was put in, by id."""

    def __init__(self, ids: pa.Array, vectors: Array, labels: Sequence[str], metric: Metric) -> None:
        self.ids, self.vectors, self.metric = ids, vectors, metric
        self.of = dict(zip(ids.to_pylist(), vectors, strict=True))
        self.label = dict(zip(ids.to_pylist(), labels, strict=True))
        self.strings = ids.type == pa.string()

    def matrix(self, ids: pa.Array) -> Array:
        return np.stack([self.of[id] for id in ids.to_pylist()])

    def unknown(self) -> pa.Array:
        return pa.array([str(UUID(int=1)), "nobody"] if self.strings else [10**9, 10**9 + 1], self.ids.type)

    def nearest(self, queries: Array, k: int, kept: pa.Array) -> tuple[Array, Array]:
        blocks = [(ids_array(kept), self.matrix(kept))] if len(kept) else []
        return search_blocks(blocks, queries, k, self.metric, string_ids=self.strings)

    def are_nearest(self, found: tuple[Array, Array], queries: Array, k: int, kept: pa.Array, what: str) -> None:
        """Hold hits to the exact ones; items whose scores half precision cannot tell apart may change places."""
        (ids, scores), (wanted, exact) = found, self.nearest(queries, k, kept)
        _hold(ids.shape == wanted.shape == scores.shape, f"{what}: ids and scores are (q, k)")
        _hold(ids.dtype == wanted.dtype, f"{what}: ids are int64, or objects that hold str")
        empty = np.isneginf(exact)
        _hold(np.array_equal(np.isneginf(scores), empty), f"{what}: as many as there are, at the end -inf")
        _hold((ids[empty] == ("" if self.strings else -1)).all(), f"{what}: -1 or '' where there is no result")
        _hold(_close(scores[~empty], exact[~empty]), f"{what}: scores are exact, larger is closer")
        for row, query in enumerate(queries):
            hits = ids[row][~empty[row]]
            _hold(len(set(hits.tolist())) == len(hits), f"{what}: each item once")
            if len(hits):
                own = _scores(query, np.stack([self.of[hit] for hit in hits.tolist()]), self.metric)
                _hold(_close(own, scores[row][~empty[row]]), f"{what}: each id has its own score")


def _hold(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _same(given: Array, wanted: Array, metric: Metric, message: str) -> None:
    """Equal vectors; a store that compares by cosine may keep directions alone."""
    if metric == "cosine":
        given, wanted = (x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (given, wanted))
    _hold(np.allclose(given, wanted, atol=_CLOSE), message)


def is_whole(backend: Backend, rows: _Rows) -> None:
    """Its check passes, it counts its rows, and gives each id once in an order that stays."""
    backend.check()
    ids = backend.ids()
    _hold(backend.count() == len(rows.ids) == len(ids), "count and ids give every row")
    _hold(ids.type == rows.ids.type and set(ids.to_pylist()) == set(rows.of), "ids are those that were put in")
    _hold(backend.ids().equals(ids), "the order of ids stays")
    _hold(backend.capabilities <= set(CAPABILITIES), "capabilities are known ones")
    _hold(hash(backend.state) == hash(backend.state), "a state can be a key")


def pages(backend: Backend, rows: _Rows) -> None:
    """Pages follow the order of ids, each id once."""
    found: list[Any] = []
    while len(page := backend.page(found[-1] if found else None, 10)):
        _hold(len(page) <= 10, "a page has at most the rows that were asked for")
        found += page.to_pylist()
    _hold(found == backend.ids().to_pylist(), "pages give all ids in order")


def reads(backend: Backend, rows: _Rows) -> None:
    """Blocks give every row once, in order, in matrices of at most the rows that were asked for; or all of it is refused."""
    if "read" not in backend.capabilities:
        for do in (
            lambda: list(backend.blocks()),
            lambda: backend.rows(np.arange(2)),
            lambda: backend.take(rows.ids[:2]),
        ):
            _refuses(do, InvalidInput, "vectors that cannot be read are refused")
        return
    found = list(backend.blocks(20))
    _hold(
        all(0 < len(i) <= 20 and len(i) == len(x) for i, x in found),
        "blocks are of at most the rows that were asked for",
    )
    ids = pa.concat_arrays([i for i, _ in found])
    _hold(ids.equals(backend.ids()), "blocks are in the order of ids")
    vectors = np.concatenate([x for _, x in found])
    _hold(vectors.dtype in (np.float32, np.float16), "vectors are float32 or float16")
    _same(vectors, rows.matrix(ids), rows.metric, "vectors are those that were put in")


def finds(backend: Backend, rows: _Rows) -> None:
    """Ids are found, in the order asked for, repeated ones too; unknown ones are told."""
    asked = rows.ids.take(pa.array([5, 0, 7, 5]))
    known = backend.known(pa.concat_arrays([asked, rows.unknown()]).unique())
    _hold(sorted(known.to_pylist()) == sorted(set(asked.to_pylist())), "known gives those that are stored, each once")
    _hold(len(backend.known(asked.slice(0, 0))) == 0, "of no ids none is known")
    places = backend.places(pa.concat_arrays([asked, rows.unknown()]))
    _hold((places[-2:] == -1).all() and (places[:-2] >= 0).all(), "places are -1 for unknown ids alone")
    _hold(backend.ids_at(places[:-2]).equals(asked), "ids_at gives back what places found")
    if "read" in backend.capabilities:
        _same(backend.take(asked), rows.matrix(asked), rows.metric, "take gives vectors in the order of ids")
        _same(backend.rows(places[:-2]), rows.matrix(asked), rows.metric, "rows gives the vectors at places")
        _hold(backend.take(asked.slice(0, 0)).shape == (0, _DIM), "no ids give no rows")
        _refuses(lambda: backend.take(rows.unknown()), NotFound, "take names an unknown id")


def searches(backend: Backend, rows: _Rows) -> None:
    """The nearest rows, best first, larger scores closer; k beyond what there is gives empty places."""
    queries = np.random.default_rng(7).standard_normal((5, _DIM)).astype(np.float32)
    for k in (1, 10, len(rows.ids) + 5):
        rows.are_nearest(backend.search(queries, k, metric=rows.metric), queries, k, rows.ids, f"the {k} nearest")
    _hold(backend.search(queries[:0], 3, metric=rows.metric)[0].shape == (0, 3), "no queries have no hits")


def filters(backend: Backend, rows: _Rows) -> None:
    """Items may be left out, or be the only ones."""
    queries = np.random.default_rng(8).standard_normal((4, _DIM)).astype(np.float32)
    some, others = rows.ids.slice(0, 60), rows.ids.slice(60)
    asked = {"without": pa.concat_arrays([some, rows.unknown()])}, {"among": pa.concat_arrays([some, rows.unknown()])}
    for given, kept in zip(asked, (others, some), strict=True):
        found = backend.search(queries, 10, metric=rows.metric, **given)
        rows.are_nearest(found, queries, 10, kept, f"10 {next(iter(given))} some")
    none = rows.ids.slice(0, 0)
    nothing = backend.search(queries, 3, metric=rows.metric, among=none)
    rows.are_nearest(nothing, queries, 3, none, "3 among none")
    everything = backend.search(queries, 3, metric=rows.metric, without=none)
    rows.are_nearest(everything, queries, 3, rows.ids, "3 without none")


def tells_labels(backend: Backend, rows: _Rows) -> None:
    """Labels are told in the order asked for, or refused."""
    asked = rows.ids.take(pa.array([4, 2, 4]))
    if "labels" not in backend.capabilities:
        _refuses(lambda: backend.labels(asked, ["class"]), InvalidInput, "labels that there are not are refused")
        return
    found = backend.labels(asked, ["class"])
    _hold(
        found.to_pydict() == {"class": [rows.label[i] for i in asked.to_pylist()]}, "labels are those that were put in"
    )
    _refuses(lambda: backend.labels(asked, ["colour"]), InvalidInput, "an unknown label column is refused")


def _scores(query: Array, rows: Array, metric: Metric) -> Array:
    """The score (m,) of each row (m, d)."""
    if metric == "l2":
        distances: Array = np.square(rows - query).sum(1)
        return -distances
    products: Array = rows @ query
    return products / np.linalg.norm(rows, axis=1) / np.linalg.norm(query) if metric == "cosine" else products


def _close(given: Array, wanted: Array) -> bool:
    return np.allclose(given, wanted, rtol=_CLOSE, atol=_CLOSE)


def _refuses(do: Callable[[], Any], error: type[Exception], message: str) -> None:
    try:
        do()
    except error:
        return
    raise AssertionError(message)


CHECKS: tuple[Callable[[Backend, _Rows], None], ...] = (
    is_whole, pages, reads, finds, searches, filters, tells_labels,
)  # fmt: skip
"""All of them; each may be called alone."""
