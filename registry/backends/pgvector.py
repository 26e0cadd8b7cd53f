"""A table of PostgreSQL with a column of pgvector: searched by its own index, read in blocks, never written.

Rows without an id or a vector are no items. The order of rows is that of their ids.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from registry.backends.attached import Attached, Seen, is_uuid, label_column
from registry.backends.base import BLOCK_ROWS, Capability
from registry.backends.nearest import Distance, Nearest
from registry.backends.postgres import Pool
from registry.backends.tables import VECTOR, Table, table_of, table_problem
from registry.backends.tuning import sampled, tuned
from registry.batches import id_type
from registry.errors import InvalidInput
from registry.vectors import Array, Metric

__all__ = ["PgvectorBackend"]

_TOLD_S = 10  # what changes meanwhile is told by the statement that meets it
_LOOK_MS = 3_600_000  # all of a large table is read once
_IDS_AT_ONCE = 100_000


class PgvectorBackend(Attached):
    """Vectors in a table of PostgreSQL."""

    capabilities: frozenset[Capability] = frozenset({"read", "search", "labels"})
    kind: ClassVar[str] = "pgvector"

    @property
    def state(self) -> Hashable:
        """Rows come and go without notice."""
        return None

    @cached_property
    def pool(self) -> Pool:
        """Connections to the table's server."""
        return self.engines.get((self.kind, self.at.where), lambda: Pool(self.at.where))

    @cached_property
    def table(self) -> Table:
        """The table as its server's catalogue tells of it, asked again after some seconds."""
        told = self._told
        key = (self.writer, self.at.table, self.at.id, self.at.vector, tuple(self.at.labels.items()))
        if (before := told.get(key)) is not None and time.monotonic() - before[0] < _TOLD_S:
            return before[1]
        found = self.pool.ask(lambda connection: table_of(connection, self.at, self.writer), self.at.name)
        told[key] = time.monotonic(), found
        return found

    @property
    def _told(self) -> dict[Any, tuple[float, Table]]:
        return self.engines.get((self.kind, self.at.where, "tables"), dict)

    def check(self) -> None:
        """The table is there, with the columns and the types that were seen; its rows may change."""
        facts = self.table.facts
        for name, was in self.seen.get("columns", {}).items():
            if (now := facts["columns"].get(name)) != was:
                raise self.changed(f"column {name!r} is {now or 'gone'}, it was {was}")

    def look(self) -> Seen:
        """In a few statements that read the table once each; then its index is tuned, see `registry.backends.tuning`."""
        self._told.clear()  # an index may be new
        table = self.table

        def looked(connection: psycopg.Connection[Any]) -> Seen:
            rows = connection.execute(table.counted()).fetchone()
            assert rows is not None  # noqa: S101 - a count has one row
            count, unnamed = rows
            if unnamed:
                raise InvalidInput(
                    f"{self.at.name} has {unnamed} rows with a vector and no id: give them ids, or remove them"
                )
            if wrong := table_problem(connection, table, self.writer, self.at.name):
                raise wrong
            return Seen(int(count), table.id_type, table.facts)

        self.id_type = table.id_type
        seen = self.pool.ask(looked, self.at.name, timeout_ms=_LOOK_MS)
        ids = pa.array([row[0] for row in self._fetched(sampled(table))], id_type(self.id_type))
        nearest = Nearest(Distance(table, self.writer.metric, self.id_type), 1, None, None)
        effort = tuned(self.pool, self.at.name, nearest, ids, self.take(ids))
        return seen if effort is None else replace(seen, facts={**seen.facts, "effort": asdict(effort)})

    def count(self) -> int:
        """Counted now."""
        return int(self._fetched(self.table.counted())[0][0])

    def ids(self) -> pa.Array:
        """In order."""
        blocks = self._streamed(self.table.selected(), _IDS_AT_ONCE)
        found = [pa.array([row[0] for row in rows], id_type(self.id_type)) for rows in blocks]
        return pa.concat_arrays(found) if found else pa.array([], id_type(self.id_type))

    def page(self, after: str | int | None, limit: int) -> pa.Array:
        """By the index of the ids."""
        rows = self._fetched(self.table.page(after is not None), {"after": after, "limit": limit})
        return pa.array([row[0] for row in rows], id_type(self.id_type))

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[pa.Array, Array]]:
        """By a cursor of the server, all of one state."""
        for block in self._streamed(self.table.selected(VECTOR), rows):
            yield self._parsed(block)

    def rows(self, places: Array) -> Array:
        """By the ids that stand there."""
        return self.take(self.ids_at(places))

    def known(self, ids: pa.Array) -> pa.Array:
        """By the index of the ids."""
        found: list[Any] = []
        for some in self._keys(ids):
            found += [row[0] for row in self._fetched(self.table.among(), {"ids": some})]
        return pa.array(found, id_type(self.id_type))

    def take(self, ids: pa.Array) -> Array:
        """By the index of the ids."""
        parts = [self._parsed(self._fetched(self.table.among(VECTOR), {"ids": some})) for some in self._keys(ids)]
        if not any(len(part) for part, _ in parts):
            empty = np.empty((0, self.writer.dim), dtype=np.float32)
            return self.ordered(ids, pa.array([], id_type(self.id_type)), empty)
        return self.ordered(ids, pa.concat_arrays([p for p, _ in parts]), np.concatenate([x for _, x in parts]))

    def labels(self, ids: pa.Array, columns: Sequence[str]) -> pa.Table:
        """By the index of the ids."""
        if any(name not in self.at.labels for name in columns):
            return super().labels(ids, columns)
        rows: list[Any] = []
        for some in self._keys(ids):
            rows += self._fetched(self.table.among(*(self.at.labels[name] for name in columns)), {"ids": some})
        found = pa.array([row[0] for row in rows], id_type(self.id_type))
        order = pa.array(self.ordered(ids, found, np.arange(len(rows))))
        return pa.table(
            {n: label_column(n, [row[i] for row in rows], self.at.name).take(order) for i, n in enumerate(columns, 1)}
        )

    def search(
        self, queries: Array, k: int, *, metric: Metric, without: pa.Array | None = None, among: pa.Array | None = None
    ) -> tuple[Array, Array]:
        """By the table's own index, with as much effort as k needs; where that gives too few, by a look at all rows."""
        distance = Distance(self.table, metric, self.id_type)
        excluded = None if without is None or not len(without) else [k for some in self._keys(without) for k in some]
        chosen = None if among is None else [key for some in self._keys(among) for key in some]
        known = self.seen.get("effort")
        nearest = Nearest(distance, k, excluded, chosen, {known["setting"]: known["value"]} if known else {})
        return self.pool.ask(lambda c: nearest.search(c, queries), self.at.name, settings=nearest.settings)

    def _fetched(self, statement: sql.Composed, given: dict[str, Any] | None = None) -> list[Any]:
        return self.pool.ask(lambda c: c.cursor().execute(statement, given, binary=True).fetchall(), self.at.name)

    def _streamed(self, statement: sql.Composed, rows: int) -> Iterator[list[Any]]:
        with self.pool.transaction(self.at.name) as connection, connection.cursor(name="samespace") as cursor:
            cursor.itersize = rows
            cursor.execute(statement, binary=True)
            while found := cursor.fetchmany(rows):
                yield found

    def _parsed(self, rows: Sequence[Any]) -> tuple[pa.Array, Array]:
        """Ids and vectors of rows (id, vector as PostgreSQL sends it: two int16, then the numbers, all big-endian)."""
        ids = pa.array([row[0] for row in rows], id_type(self.id_type))
        size = self.table.bytes_of(self.writer.dim)
        for id, raw in rows:
            if len(raw) != size:
                raise self.changed(f"the vector of {id!r:.80} has not {self.writer.dim} dimensions")
        raw = np.frombuffer(b"".join(row[1] for row in rows), np.uint8).reshape(len(rows), size)
        return ids, self.clean(ids, self.table.numbers(np.ascontiguousarray(raw[:, 4:])))

    def _keys(self, ids: pa.Array) -> Iterator[list[Any]]:
        """Ids as keys of the table, so many at once; what can be no key of it is left out."""
        for start in range(0, len(ids), _IDS_AT_ONCE):
            some = ids.slice(start, _IDS_AT_ONCE).to_pylist()
            yield [id for id in some if is_uuid(id)] if self.table.id_sql == "uuid" else some
