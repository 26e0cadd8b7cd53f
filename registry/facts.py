"""Copying the facts from one database into another, of either kind."""

from __future__ import annotations

from sqlalchemy import Connection, Table, func, insert, select, text
from sqlalchemy.orm import Session

from registry.tables import Base

__all__ = ["copy_facts"]

_ROWS = 1000


def copy_facts(source: Session, target: Connection) -> None:
    """Copy every row of a session's snapshot into a database that was just built; memory holds a few rows."""
    for table in Base.metadata.sorted_tables:
        # By primary key: a version comes after the parent that it refers to.
        statement = select(table).order_by(*table.primary_key)
        rows = source.execute(statement, execution_options={"yield_per": _ROWS}).mappings()
        for part in rows.partitions():
            target.execute(insert(table), [dict(row) for row in part])
        _count_on(target, table)


def _count_on(target: Connection, table: Table) -> None:
    """Let PostgreSQL number the next row after those that brought their numbers with them; SQLite does it by itself."""
    column = table.autoincrement_column
    if target.dialect.name != "postgresql" or column is None:
        return
    highest = target.execute(select(func.max(column))).scalar()
    if highest is not None:
        sequence = text("SELECT setval(pg_get_serial_sequence(:name, :column), :highest)")
        target.execute(sequence, {"name": table.name, "column": column.name, "highest": highest})
