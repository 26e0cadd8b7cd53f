"""`db check`: everything acknowledged is there, whole, or it is said what is not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import update

from registry.checking import check
from registry.database import Database, address_in
from registry.layout import Layout
from registry.tables import SegmentRow
from registry.transforms import Prefix

pytestmark = pytest.mark.embedded  # it looks into the home


@pytest.fixture
def held(reg, home, database_url, rows):
    """A registry with something of each kind, and how to check it: (layout, database, problems)."""
    reg.register_version("m", dim=4)
    reg.register_version("m", dim=2)
    reg.create_gallery("g")
    reg.append("g", version="m/1", ids=["a", "b"], vectors=rows(2, 4))
    reg.delete("g", ["b"])
    reg.add_canaries("m/1", ["one"], rows(1, 4))
    reg.add_transform(Prefix(from_dim=4, to_dim=2), source="m/1", target="m/2")
    layout, database = Layout(home), Database(database_url or address_in(home / "registry.db"))
    yield layout, database, lambda: [f for f in check(database, layout) if f.level != "ok"]
    database.close()


def one(problems):
    """The one problem, which says how to mend it."""
    (found,) = problems()
    assert found.level == "problem" and found.mend
    return f"{found.what}: {found.found}"


def test_what_is_in_order(held, reg):
    layout, database, problems = held
    assert problems() == []
    told = []
    check(database, layout, progress=lambda *done: told.append(done))
    assert told == [("checking", 1, 2), ("checking", 2, 2)]


def test_a_dataset_that_is_not_as_the_facts_say(held):
    _, database, problems = held
    with database.writing() as session:
        session.execute(update(SegmentRow).values(rows=7))
    assert "has 1 rows at version" in one(problems) and "the facts say 7" in one(problems)
    with database.writing() as session:
        session.execute(update(SegmentRow).values(rows=1, lance_version=99))
    assert "cannot be read at version 99" in one(problems)


@pytest.mark.parametrize("kind", ["data/*.lance", "_deletions/*", "_versions/*"])
def test_a_file_of_a_dataset_that_is_gone(held, kind):
    layout, _, problems = held
    for file in Path(layout.segment_of("g", "m/1")).glob(kind):
        file.unlink()
    assert one(problems).startswith("g/m-1.lance: ")


def test_a_file_of_a_dataset_that_was_cut(held):
    layout, _, problems = held
    file = next(Path(layout.segment_of("g", "m/1")).glob("data/*"))
    file.write_bytes(file.read_bytes()[:-1])
    assert "missing or cut short" in one(problems)


@pytest.mark.parametrize("folder", ["transforms", "canaries"])
def test_a_file_that_is_damaged_or_gone(held, folder):
    layout, _, problems = held
    file = next((layout.root / folder).iterdir())
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(b"" if folder == "transforms" else bytes(data))
    assert one(problems).startswith(folder.removesuffix("s") if folder == "transforms" else folder)
    file.unlink()
    assert "is gone" in one(problems)


def test_a_write_while_it_is_checked_is_no_problem(held, reg, rows, monkeypatch):
    from registry import checking

    _, _, problems = held
    real, calls = checking.fault, []

    def fault(stored):
        calls.append(stored)
        if len(calls) == 1:  # as if what it stood for had been cleared away after the facts were read
            reg.append("g", version="m/1", ids=["new"], vectors=rows(1, 4, 9))
            return "cannot be read"
        return real(stored)

    monkeypatch.setattr(checking, "fault", fault)
    assert problems() == []
    assert len(calls) == 3


def spoil_index(file):
    with sqlite3.connect(file) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'ix_changes_at'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    data = bytearray(file.read_bytes())
    data[page * size - 30 : page * size] = b"\x01" * 30
    file.write_bytes(data)


def refer_to_nothing(file):
    with sqlite3.connect(file) as connection:
        connection.execute("INSERT INTO tags VALUES (99, 'key', 'value')")


def overwrite(file):
    file.write_bytes(b"not a database, though long enough to be one" * 100)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [(spoil_index, "ix_changes_at"), (refer_to_nothing, "row of versions"), (overwrite, "is no database")],
)
def test_a_damaged_sqlite_file(lite, home, spoil, says):
    lite.register_version("m", dim=4)
    lite.close()
    spoil(home / "registry.db")
    database = Database(address_in(home / "registry.db"))
    problems = [f for f in check(database, Layout(home)) if f.level != "ok"]
    database.close()
    assert problems and all(f.what == "database" and "db restore" in f.mend for f in problems)
    assert any(says in f.found for f in problems), problems


def test_another_revision(lite, home):
    database = Database(address_in(home / "registry.db"))
    database.downgrade("0002")
    (found,) = check(database, Layout(home))
    assert found.level == "problem" and "revision 0002" in found.found and "db upgrade" in found.mend
    database.close()
