"""How much effort a table's own index needs: measured with some of its own rows, against a look at all of them."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from registry.backends.nearest import MOST_EF, Nearest
from registry.backends.postgres import Pool
from registry.backends.tables import Table
from registry.errors import Unavailable
from registry.index import ids_array
from registry.types import Effort
from registry.vectors import Array

__all__ = ["sampled", "tuned"]

_QUERIES, _K, _WANTED = 100, 10, 0.95
_EXACT_S = 60  # for a look at all rows, a few queries at a time; those that were answered by then are compared
_AT_ONCE = 4


def sampled(table: Table) -> sql.Composed:
    """The ids of some items: always the same ones, whatever order they are stored in."""
    return sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY hashtext({}::text), {} LIMIT {}").format(
        table.id_out, table.name, table.present, table.id, table.id, sql.Literal(_QUERIES)
    )


def tuned(pool: Pool, of: str, nearest: Nearest, ids: pa.Array, rows: Array) -> Effort | None:
    """The least effort by which the index finds 0.95 of the 10 nearest other items of each row, or the most that there is.

    Recall@10: the share of the exact nearest that are found, or others as near. It doubles from what would be asked anyway.
    None without an index, or where not even a few exact searches are answered in time.

    Args:
        pool: connections to the table's server.
        of: what is searched, for errors.
        nearest: how it is searched.
        ids: items of it (q,).
        rows: their vectors (q, d).
    """
    name, values = _efforts(nearest.distance.table)
    if not name:
        return None
    nearest = replace(nearest, k=_K + 1)
    exact = _exact(pool, of, nearest, rows)
    if not len(exact[0]):
        return None
    own, rows = ids_array(ids)[: len(exact[0])], rows[: len(exact[0])]
    recall, value = 0.0, 0
    for value in values:
        asked = replace(nearest, effort={name: value})
        recall = _recall(own, exact, pool.ask(partial(asked.search, queries=rows), of, settings=asked.settings))
        if recall >= _WANTED:
            break
    return Effort(name, value, recall, len(own))


def _efforts(table: Table) -> tuple[str, list[int]]:
    """The setting of the table's index, and the values that are tried."""
    if "hnsw" in table.known:
        name, least, most = "hnsw.ef_search", 40, MOST_EF
    elif "ivfflat" in table.known:
        name, least, most = "ivfflat.probes", math.isqrt(table.lists), table.lists
    else:
        return "", []
    least = min(most, max(1, least, table.settings.get(name, 0)))
    doublings = math.ceil(math.log2(most / least))
    return name, [min(most, least << n) for n in range(doublings + 1)]


def _exact(pool: Pool, of: str, nearest: Nearest, rows: Array) -> tuple[Array, Array]:
    """The nearest to as many rows as there is time for, of all."""
    found = []
    end = time.monotonic() + _EXACT_S
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        try:
            found.append(pool.ask(partial(nearest.exactly, queries=part), of, timeout_ms=1000 * _EXACT_S))
        except Unavailable as error:
            if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
                raise
            break
        if time.monotonic() > end:
            break
    if not found:
        return np.empty((0, nearest.k)), np.empty((0, nearest.k))
    return np.concatenate([ids for ids, _ in found]), np.concatenate([scores for _, scores in found])


def _recall(own: Array, exact: tuple[Array, Array], found: tuple[Array, Array]) -> float:
    wanted, given = _others(own, *exact), _others(own, *found)
    there = np.isfinite(wanted)
    last = np.where(there, wanted, np.inf).min(axis=1, keepdims=True)
    near = np.isfinite(given) & (given >= last - 1e-6 * np.abs(last))
    return float(np.minimum(near.sum(axis=1), there.sum(axis=1)).sum() / max(1, there.sum()))


def _others(own: Array, ids: Array, scores: Array) -> Array:
    """The scores (q, 10) without that of the row itself."""
    order = np.argsort(ids == own[:, None], axis=1, kind="stable")[:, :_K]
    return np.take_along_axis(scores, order, 1)
