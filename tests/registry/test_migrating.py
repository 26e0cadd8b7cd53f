"""Up and down between revisions with rows in every table: what both revisions know stays as it was."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import MetaData, Table, select

from registry import connect
from registry.database import HEAD, Database
from registry.tables import BackfillRow, Base, IndexRow, SegmentRow
from registry.transforms import Prefix

NEWER = {"0004": {"indexes", "calibrations", "backfills", "store"}}
NEWER["0003"] = NEWER["0004"] | {"studies", "encoder_checks"}
NEWER["0002"] = NEWER["0003"] | {"tokens", "operations", "webhooks", "deliveries"}
NEWER["0001"] = NEWER["0002"] | {"canaries"}
PREVIEWS = {"preview", "previews_version", "previews", "preview_url"}
COLUMNS = {"0004": {"segments": {"backend"}, "galleries": {"elsewhere"}}}
COLUMNS["0003"] = COLUMNS["0004"] | {"galleries": {"elsewhere"} | PREVIEWS}
COLUMNS["0002"] = COLUMNS["0003"] | {"changes": {"who"}}
COLUMNS["0001"] = COLUMNS["0002"]


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
    reg.study("m/1", "m/2")
    reg.verify_encoder("m/1", lambda texts: rows(len(texts), 4), record=True)
    reg.add_previews("b", [0], texts=["nought"])
    reg.set_preview_url("b", "https://pictures.example/{id}.png")
    reg.create_token("ci", role="reader", models=["m"])
    with reg._home.database.writing() as session:
        segment = session.scalars(select(SegmentRow)).first()
        index = {"compression": "none", "settings": {}, "lance_version": 1, "bytes": 1, "digest": "0", "recall": 1.0}
        session.add(IndexRow(id="i", segment_id=segment.id, kind="hnsw", rows=1, k=10, queries=1, seconds=1.0, **index))
        work = {"status": "planned", "settings": {}, "digest": "0", "total": 1, "predicted": [], "measured": []}
        session.add(BackfillRow(id="f", gallery_id=segment.gallery_id, version_id=segment.version_id, **work))


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
    with database.engine.connect() as connection:
        found = Table(table, MetaData(), autoload_with=connection)
        kept = select(*(column for column in found.columns if column.name not in columns))
        return sorted(map(tuple, connection.execute(kept)), key=repr)


def test_no_way_back_while_a_store_is_attached(home, database_url, tmp_path):
    table = pa.table({"id": ["a", "b"], "vector": [[1.0, 0.0], [0.0, 1.0]]})
    pq.write_table(table, tmp_path / "lent.parquet")
    with connect(home, database=database_url) as reg:
        reg.register_version("m", dim=2)
        reg.attach("lent", version="m/1", kind="parquet", where=str(tmp_path / "lent.parquet"))
        with pytest.raises(ValueError, match="the gallery lent has vectors in an attached store: detach them"):
            reg._home.database.downgrade("0004")
        assert reg.revision() == HEAD
        assert len(reg.fetch("lent", ids=["a"], into="m/1")) == 1
        reg.detach("lent", version="m/1")
        reg._home.database.downgrade("0004")


@pytest.mark.parametrize("revision", ["0004", "0003", "0002", "0001"])
def test_back_to_an_earlier_release_and_up_again(home, database_url, rows, revision):
    with connect(home, database=database_url) as reg:
        fill(reg, rows)
        database = reg._home.database
        before = stored(database)
        assert set(before) == {table.name for table in Base.metadata.sorted_tables}
        assert all(before.values()), f"no rows in {[name for name, found in before.items() if not found]}"
        lost = COLUMNS[revision]
        kept = {name: without(columns, database, name) for name, columns in lost.items()}

        database.downgrade(revision)
        earlier = stored(database)
        assert set(earlier) == set(before) - NEWER[revision]
        for name, found in earlier.items():
            assert found == (kept[name] if name in lost else before[name]), name

    with connect(home, database=database_url) as reg:  # opening it is all that an upgrade takes
        assert reg.revision() == HEAD
        after = stored(reg._home.database)
        for name in set(before) - NEWER[revision] - set(lost):
            assert after[name] == before[name], name
        assert {name: without(columns, reg._home.database, name) for name, columns in lost.items()} == kept
        assert ({c.who for c in reg.changes()} == {None}) == ("changes" in lost)
        gallery = reg.gallery("b")
        assert ((gallery.preview, gallery.previews, gallery.preview_url) == (None, 0, None)) == (
            lost.get("galleries", set()) >= PREVIEWS
        )
        assert (reg.studies() == reg.encoder_checks() == []) == ("studies" in NEWER[revision])
        assert reg.version("m@live").ref == "m/2"
        assert len(reg.search("b", rows(1, 4), version="m/1", k=3).ids[0]) == 3
        reg.append("b", version="m/1", ids=[100], vectors=rows(1, 4), labels={"class": [0]})
        assert reg.changes(limit=1)[0].who.endswith("(local)")
