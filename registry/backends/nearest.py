"""The nearest rows of a pgvector table: its own index asked with as much effort as k needs, and held to k."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from registry.backends.tables import Table
from registry.index import empty_hits
from registry.vectors import Array, Metric

__all__ = ["MOST_EF", "Distance", "Nearest", "literal"]

_OPERATORS: Mapping[str, str] = {"cosine": "<=>", "dot": "<#>", "l2": "<->"}
_QUERIES_AT_ONCE = 256
_EF, _PROBES, _SCANNED = 40, 1, 20_000  # pgvector's defaults
MOST_EF = 1000
"""Pgvector's bound of ef_search."""
_ITERATES = (0, 8)


@dataclass(frozen=True, slots=True)
class Distance:
    """How far the rows of a table are from a query, and which score that is; see `registry.index` for scores."""

    table: Table
    metric: Metric
    id_type: str

    @property
    def expression(self) -> sql.Composable:
        """The distance of a row's vector from the query `v`."""
        operator = sql.SQL("OPERATOR({}.{})").format(
            sql.Identifier(self.table.schema), sql.SQL(_OPERATORS[self.metric])
        )
        return sql.SQL("{} {} q.v").format(self.table.vector, operator)

    def scores(self, distances: Array) -> Array:
        """Cosine, inner product, or negated squared distance: larger is closer."""
        if self.metric == "cosine":
            return 1.0 - distances
        return -distances if self.metric == "dot" else -np.square(distances)


@dataclass(frozen=True, slots=True)
class Nearest:
    """The `k` nearest items, without some or among some, by at least this `effort`: settings of pgvector by name."""

    distance: Distance
    k: int
    without: Sequence[Any] | None
    among: Sequence[Any] | None
    effort: Mapping[str, int] = field(default_factory=dict)

    def search(self, connection: psycopg.Connection[Any], queries: Array) -> tuple[Array, Array]:
        """Ids (q, k) and scores (q, k) for queries (q, d), in one read-only transaction with these `settings`."""
        best = empty_hits(len(queries), self.k, string_ids=self.distance.id_type == "string")
        everything = np.arange(len(queries))
        if self.among is None:
            self._filled(connection, queries, everything, best)
            everything = np.flatnonzero(np.isneginf(best[1][:, -1]))
            if not len(everything) or int(np.isneginf(best[1]).sum(axis=1).max()) <= self.k - self._most(connection):
                return best
        # An index gave fewer than there are: all rows are looked at.
        self._look_at_all(connection)
        self._filled(connection, queries, everything, best)
        return best

    def exactly(self, connection: psycopg.Connection[Any], queries: Array) -> tuple[Array, Array]:
        """The same by a look at all rows, whatever indexes there are."""
        best = empty_hits(len(queries), self.k, string_ids=self.distance.id_type == "string")
        self._look_at_all(connection)
        self._filled(connection, queries, np.arange(len(queries)), best)
        return best

    @property
    def settings(self) -> dict[str, str]:
        """As many candidates as k needs; never fewer than the server is set to, or than was found to be needed."""
        table = self.distance.table
        wanted: dict[str, str | int] = {}
        iterates = table.extension >= _ITERATES
        if self.among is not None:
            return {}
        if "hnsw" in table.known:
            wanted["hnsw.ef_search"] = min(MOST_EF, max(_EF, 2 * self.k, self._least("hnsw.ef_search")))
            if iterates:
                scanned = max(_SCANNED, 20 * self.k, table.settings.get("hnsw.max_scan_tuples", 0))
                wanted |= {"hnsw.iterative_scan": "strict_order", "hnsw.max_scan_tuples": scanned}
        if "ivfflat" in table.known:
            wanted["ivfflat.probes"] = max(_PROBES, math.isqrt(table.lists), self._least("ivfflat.probes"))
            if iterates:
                wanted["ivfflat.iterative_scan"] = "relaxed_order"
        return {name: str(value) for name, value in wanted.items()}

    def _least(self, name: str) -> int:
        return max(self.distance.table.settings.get(name, 0), self.effort.get(name, 0))

    @staticmethod
    def _look_at_all(connection: psycopg.Connection[Any]) -> None:
        connection.execute("SELECT set_config('enable_indexscan', 'off', true)")

    def _most(self, connection: psycopg.Connection[Any]) -> int:
        """How many of the k there can be."""
        statement = sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {} WHERE {} LIMIT {}) AS chosen").format(
            self.distance.table.name, self._wanted(), sql.Literal(self.k)
        )
        row = connection.execute(statement, {"without": self.without, "among": self.among}).fetchone()
        return int(row[0]) if row else 0

    def _filled(
        self, connection: psycopg.Connection[Any], queries: Array, which: Array, best: tuple[Array, Array]
    ) -> None:
        """Put the hits of the queries `which` into `best`."""
        ids, scores = best
        statement = self._statement()
        for start in range(0, len(which), _QUERIES_AT_ONCE):
            part = which[start : start + _QUERIES_AT_ONCE]
            given = {"queries": [literal(queries[q]) for q in part], "without": self.without, "among": self.among}
            found = connection.cursor().execute(statement, given, binary=True).fetchall()
            if not found:
                continue
            numbers = np.array([row[0] for row in found]) - 1
            distances = np.array([row[2] for row in found], dtype=np.float64)
            there = np.flatnonzero(
                ~np.isnan(distances)
            )  # a zero vector has no cosine: NaN, which PostgreSQL sorts last
            place = (np.arange(len(found)) - np.searchsorted(numbers, numbers))[there]
            at = part[numbers[there]], place
            ids[at] = np.array([found[i][1] for i in there], dtype=ids.dtype)
            scores[at] = self.distance.scores(distances[there])

    def explained(self) -> sql.Composed:
        """What asks PostgreSQL how it would search."""
        return sql.SQL("EXPLAIN {}").format(self._statement())

    def _statement(self) -> sql.Composed:
        """All queries in one statement: PostgreSQL looks the index up for each.

        They are made vectors, of the type that the index was built for, as one array: elsewhere it would be done anew for each
        row.
        """
        table, distance = self.distance.table, self.distance.expression
        rows: sql.Composable = table.name
        if self.among is not None:
            rows = sql.SQL("chosen AS {}").format(sql.Identifier("t"))
        inner = sql.SQL("SELECT {} AS id, {} AS d FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
            table.id_out, distance, rows, self._wanted(), distance, sql.Literal(self.k)
        )
        some = sql.SQL("WITH chosen AS MATERIALIZED (SELECT * FROM {} WHERE {}) ").format(table.name, self._wanted())
        outer = sql.SQL(
            "SELECT q.n, t.id, t.d::float8 FROM unnest({}::text[]::{}[]) WITH ORDINALITY AS q(v, n) "
            "CROSS JOIN LATERAL ({}) AS t ORDER BY q.n, t.d"
        ).format(sql.Placeholder("queries"), table.vector_type, inner)
        return outer if self.among is None else some + outer

    def _wanted(self) -> sql.Composable:
        table = self.distance.table
        parts = [table.present]
        for given, condition in ((self.without, "{} <> ALL({}::{}[])"), (self.among, "{} = ANY({}::{}[])")):
            if given is not None:
                name = sql.Placeholder("without" if given is self.without else "among")
                parts.append(sql.SQL(condition).format(table.id, name, sql.SQL(table.id_sql)))
        return sql.SQL(" AND ").join(parts)


def literal(query: Array) -> str:
    """A query (d,) as pgvector reads it."""
    return "[" + ",".join(map(repr, query.tolist())) + "]"
