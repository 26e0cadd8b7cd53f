"""A table of PostgreSQL that holds vectors: what its catalogue says, and the statements that read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from registry.attachments import Attachment
from registry.backends.attached import Writer
from registry.errors import BadVector, CorruptFile, DimensionMismatch, DuplicateId, InvalidInput, SamespaceError
from registry.vectors import Array

__all__ = ["VECTOR", "Table", "table_of", "table_problem"]

VECTOR = ""
"""Stands for the column of the vectors where columns are named."""

_INTS = ("int2", "int4", "int8")
_IDS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(_INTS, ("int", "int8")),
    **dict.fromkeys(("text", "varchar"), ("string", "text")),
    "uuid": ("string", "uuid"),
}
_LABELS = (*_INTS, "text", "varchar")
_LONGEST_ID = 512
_COLUMNS = """
    SELECT a.attname, t.typname, a.atttypmod, n.nspname
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
_UNIQUE = """
    SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1 AND i.indpred IS NULL
      AND i.indexprs IS NULL AND a.attname = %s
"""
_INDEX = """
    SELECT m.amname, array_to_string(c.reloptions, ',')
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = to_regclass(%s) AND i.indisvalid AND a.attname = %s AND m.amname IN ('hnsw', 'ivfflat')
"""

_EFFORT = "SELECT name, current_setting(name, true) FROM unnest(%s::text[]) AS s(name)"
EFFORTS = ("hnsw.ef_search", "hnsw.max_scan_tuples", "ivfflat.probes")
"""Settings of pgvector that the server, the database or the role may have raised."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is now: `id_sql` is the type of its keys, `type` the vectors', of pgvector in `schema` at `extension`.

    `known` are the vector indexes, by method, with their options; `settings` how much effort the server puts into them.
    """

    at: Attachment
    id_type: str
    id_sql: str
    type: str
    schema: str
    extension: tuple[int, ...]
    columns: Mapping[str, str]
    unique: bool
    known: Mapping[str, str]
    settings: Mapping[str, int]

    @property
    def facts(self) -> dict[str, Any]:
        """What must not change: the types of the columns that are read."""
        return {"columns": dict(self.columns)}

    @property
    def lists(self) -> int:
        """How many lists an index of kind ivfflat has."""
        options = (self.known.get("ivfflat") or "").split(",")
        return int(dict(o.split("=") for o in options if o).get("lists", "100"))

    @property
    def name(self) -> sql.Composable:
        """The table, quoted."""
        return quoted(self.at)

    @property
    def vector(self) -> sql.Composable:
        """The column of the vectors, quoted."""
        return sql.Identifier(self.at.vector or "")

    @property
    def id(self) -> sql.Composable:
        """The column of the ids, quoted."""
        return sql.Identifier(self.at.id or "")

    @property
    def id_out(self) -> sql.Composable:
        """The ids as they are given: text or int8."""
        return sql.SQL("{}::{}").format(self.id, sql.SQL("int8" if self.id_type == "int" else "text"))

    @property
    def vector_type(self) -> sql.Composable:
        """The type of the vectors, quoted."""
        return sql.Identifier(self.schema, self.type)

    @property
    def present(self) -> sql.Composable:
        """Which rows are items."""
        return sql.SQL("{} IS NOT NULL AND {} IS NOT NULL").format(self.vector, self.id)

    @property
    def any_width(self) -> bool:
        """Whether the column of the vectors was declared without a width."""
        return self.columns[self.at.vector or ""].endswith("(-1)")

    def of_schema(self, name: str) -> sql.Composable:
        """A function of pgvector, quoted."""
        return sql.Identifier(self.schema, name)

    def counted(self) -> sql.Composed:
        """How many items there are, and how many vectors without an id."""
        return sql.SQL(
            "SELECT count(*) FILTER (WHERE {}), count(*) FILTER (WHERE {} IS NOT NULL AND {} IS NULL) FROM {}"
        ).format(self.present, self.vector, self.id, self.name)

    def selected(self, *columns: str) -> sql.Composed:
        """All items in order: the id, and `columns`, see `VECTOR`."""
        return sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {}").format(
            self._listed(columns), self.name, self.present, self.id
        )

    def among(self, *columns: str) -> sql.Composed:
        """The items of the keys `ids`."""
        return sql.SQL("SELECT {} FROM {} WHERE {} AND {} = ANY({}::{}[])").format(
            self._listed(columns), self.name, self.present, self.id, sql.Placeholder("ids"), sql.SQL(self.id_sql)
        )

    def page(self, behind: bool) -> sql.Composed:
        """The first `limit` ids, or those behind the key `after`."""
        after = sql.SQL(" AND {} > {}::{}").format(self.id, sql.Placeholder("after"), sql.SQL(self.id_sql))
        return sql.SQL("SELECT {} FROM {} WHERE {}{} ORDER BY {} LIMIT {}").format(
            self.id_out, self.name, self.present, after if behind else sql.SQL(""), self.id, sql.Placeholder("limit")
        )

    def bytes_of(self, dim: int) -> int:
        """How long a vector is as PostgreSQL sends it."""
        return 4 + dim * (2 if self.type == "halfvec" else 4)

    def numbers(self, raw: Array) -> Array:
        """Vectors (m, d), of the bytes (m, b) behind their heads."""
        return raw.view(">f2").astype(np.float16) if self.type == "halfvec" else raw.view(">f4").astype(np.float32)

    def _listed(self, columns: tuple[str, ...]) -> sql.Composable:
        named = (sql.Identifier(c) if c else self.vector for c in columns)
        return sql.SQL(", ").join([self.id_out, *named])


def quoted(at: Attachment) -> sql.Identifier:
    """The name of a table, or of one in a schema, quoted."""
    return sql.Identifier(*(at.table or "").split(".", 1))


def table_of(connection: psycopg.Connection[Any], at: Attachment, writer: Writer) -> Table:
    """What the catalogue says of the table, its columns and its indexes.

    Raises:
        CorruptFile: there is no such table or column.
        InvalidInput, DimensionMismatch: a column of a type that cannot be what it is said to be.
    """
    name = quoted(at).as_string(connection)
    found = {n: (t, mod, schema) for n, t, mod, schema in connection.execute(_COLUMNS, [name])}
    if not found:
        raise CorruptFile(f"there is no table {at.table!r:.120}: check its name, or detach it")
    for column in (at.id, at.vector, *at.labels.values()):
        if column not in found:
            raise CorruptFile(
                f"table {at.table} has no column {column!r:.80}: it has {', '.join(sorted(found))[:200]}; put it back"
            )
    kind, dim, schema = found[at.vector or ""]
    if kind not in ("vector", "halfvec"):
        raise InvalidInput(f"column {at.vector!r} of {at.table} is of type {kind}: vectors are of vector or halfvec")
    if dim not in (-1, writer.dim):
        raise DimensionMismatch(f"{at.table}.{at.vector} has {dim} dimensions, {writer.ref} has {writer.dim}")
    if (id_sql := found[at.id or ""][0]) not in _IDS:
        raise InvalidInput(f"column {at.id!r} of {at.table} is of type {id_sql}: ids are of {', '.join(_IDS)}")
    for label, column in at.labels.items():
        if (of := found[column][0]) not in _LABELS:
            raise InvalidInput(f"label {label!r} is column {column!r} of type {of}: labels are of {', '.join(_LABELS)}")
    version = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    unique = connection.execute(_UNIQUE, [name, at.id]).fetchone()
    read = (at.id, at.vector, *at.labels.values())
    return Table(
        at, _IDS[id_sql][0], _IDS[id_sql][1], kind, schema,
        tuple(int(n) for n in (version[0] if version else "0").split(".")[:2]),
        {c: f"{found[c][0]}({found[c][1]})" if c == at.vector else found[c][0] for c in read if c},
        bool(unique and unique[0]), dict(connection.execute(_INDEX, [name, at.vector]).fetchall()),
        {n: int(value) for n, value in connection.execute(_EFFORT, [list(EFFORTS)]) if value},
    )  # fmt: skip


def table_problem(connection: psycopg.Connection[Any], table: Table, writer: Writer, of: str) -> SamespaceError | None:
    """What is wrong with the rows of a table, the first of each kind of mistake."""
    say = "give each item one row"
    if not table.unique:
        twice = sql.SQL("SELECT {} FROM {} WHERE {} GROUP BY {} HAVING count(*) > 1 LIMIT 1").format(
            table.id_out, table.name, table.present, table.id
        )
        if (row := connection.execute(twice).fetchone()) is not None:
            return DuplicateId(f"{of} holds the id {row[0]!r:.80} more than once: {say}")
    bad = (
        sql.SQL("{} < 0")
        if table.id_type == "int"
        else sql.SQL("length({}::text) NOT BETWEEN 1 AND " + str(_LONGEST_ID))
    )
    if (row := _first(connection, table, bad.format(table.id))) is not None:
        return InvalidInput(f"{of} has the id {row!r:.80}: ids are from 0, or texts of 1 to {_LONGEST_ID} characters")
    if table.any_width:
        other = sql.SQL("{}({}) <> {}").format(table.of_schema("vector_dims"), table.vector, sql.Literal(writer.dim))
        if (row := _first(connection, table, other)) is not None:
            return DimensionMismatch(
                f"the vector of {row!r:.80} in {of} has not the {writer.dim} dimensions of {writer.ref}: mend it there, or remove it"
            )
    norm = table.of_schema("l2_norm" if table.type == "halfvec" else "vector_norm")
    if (row := _first(connection, table, sql.SQL("{}({}) = 0").format(norm, table.vector))) is not None:
        return BadVector(f"the vector of {row!r:.80} in {of} holds only zeros: mend it there, or remove it")
    for label, column in table.at.labels.items():
        if (row := _first(connection, table, sql.SQL("{} IS NULL").format(sql.Identifier(column)))) is not None:
            return InvalidInput(f"item {row!r:.80} of {of} has no label {label!r:.80}: fill column {column!r:.80}")
    return None


def _first(connection: psycopg.Connection[Any], table: Table, condition: sql.Composable) -> Any:
    statement = sql.SQL("SELECT {} FROM {} WHERE {} AND {} LIMIT 1").format(
        table.id_out, table.name, table.present, condition
    )
    row = connection.execute(statement).fetchone()
    return row and row[0]
