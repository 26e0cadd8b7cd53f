"""Up and down between revisions with rows in every table: what both revisions know stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import MetaData, inspect, select, text

from registry import connect
from registry.database import HEAD, Database
from registry.tables import Base
from registry.transforms import Prefix

NEWER = {"0001": {"canaries", "tokens", "operations", "webhooks", "deliveries"}}
NEWER["0002"] = NEWER["0001"] - {"canaries"}


def fill(reg, rows) -> None:
    """A row, at least, in every table."""
    reg.add_webhook("hook", "http://127.0.0.1:9/told", allowed=["127.0.0.1"])
    reg.register_version("m", dim=4, tags={"note": "kept"}, key="k1")
    reg.register_version("m", dim=2, parent="m/1")
    reg.set_alias("m", "live", 2)
    reg.add_canaries("m/1", ["a", "b"], rows(2, 4))
    reg.create_gallery("b", id_type="int", labels=["class"])
    label = np.arange(20) % 2
    for version, dim in (("m/1", 4), ("m/2", 2)):
        reg.append("b", version=version, ids=np.arange(20), vectors=rows(20, dim), labels={"class": label})
    reg.add_transform(Prefix(from_dim=4, to_dim=2), source="m/1", target="m/2")
    reg.add_anchors("a", gallery="b", ids=[1, 2])
    reg.evaluate("b")
    reg.create_token("ci", role="reader", models=["m"])


def stored(database: Database) -> dict[str, list[tuple]]:
    """All rows of all tables, by name."""
    with database.engine.connect() as connection:
        found = MetaData()
        found.reflect(connection)
        return {
            name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for name, table in found.tables.items()
            if name != "alembic_version"
        }


def without(columns: set[str], database: Database, table: str) -> list[tuple]:
    """The rows of a table without some columns."""
    names = [c["name"] for c in inspect(database.engine).get_columns(table) if c["name"] not in columns]
    with database.engine.connect() as connection:
        return sorted(map(tuple, connection.execute(text(f"SELECT {', '.join(names)} FROM {table}"))), key=repr)  # noqa: S608


@pytest.mark.parametrize("revision", ["0002", "0001"])
def test_back_to_an_earlier_release_and_up_again(home, database_url, rows, revision):
    with connect(home, database=database_url) as reg:
        fill(reg, rows)
        database = reg._home.database
        before = stored(database)
        assert set(before) == {table.name for table in Base.metadata.sorted_tables}
        assert all(before.values()), f"no rows in {[name for name, found in before.items() if not found]}"
        changes = without({"who"}, database, "changes")

        database.downgrade(revision)
        earlier = stored(database)
        assert set(earlier) == set(before) - NEWER[revision]
        for name, found in earlier.items():
            assert (found == before[name]) or name == "changes", name
        assert without(set(), database, "changes") == changes

    with connect(home, database=database_url) as reg:  # opening it is all that an upgrade takes
        assert reg.revision() == HEAD
        after = stored(reg._home.database)
        for name in set(before) - NEWER[revision] - {"changes"}:
            assert after[name] == before[name], name
        assert without({"who"}, reg._home.database, "changes") == changes
        assert {c.who for c in reg.changes()} == {None}
        assert reg.version("m@live").ref == "m/2"
        assert len(reg.search("b", rows(1, 4), version="m/1", k=3).ids[0]) == 3
        reg.append("b", version="m/1", ids=[100], vectors=rows(1, 4), labels={"class": [0]})
        assert reg.changes(limit=1)[0].who.endswith("(local)")
