"""The database: its revision, its constraints (each one tried by raw SQL), its settings, and its secrets."""

# ruff: noqa: S608 - constraints are tried with SQL put together from constants

from __future__ import annotations

import sqlite3
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError, IntegrityError

from registry import connect
from registry.database import HEAD, Database, migrations_folder
from registry.errors import AlreadyExists, CorruptFile, InvalidInput, MigrationNeeded, Unavailable
from registry.tables import Base
from registry.transforms import Prefix


@pytest.fixture
def database(home, database_url):
    """An empty database of either kind, not migrated yet."""
    home.mkdir()
    made = Database(database_url or f"sqlite:///{home / 'registry.db'}")
    yield made
    made.close()


def run(database, statement):
    with database.engine.begin() as connection:
        return connection.execute(text(statement))


def schema(database):
    """Everything about the tables that a program could notice."""
    found = inspect(database.engine)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)],
            found.get_pk_constraint(table)["constrained_columns"],
            sorted((f["constrained_columns"], f["referred_table"]) for f in found.get_foreign_keys(table)),
            sorted(u["column_names"] for u in found.get_unique_constraints(table)),
            sorted(c["name"] for c in found.get_check_constraints(table)),
            sorted((i["name"], bool(i["unique"])) for i in found.get_indexes(table)),
        )
        for table in found.get_table_names()
        if table != "alembic_version"
    }


def test_head_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_up_down_and_up_again(database):
    assert database.revision() is None
    database.ensure()
    first = schema(database)
    assert (database.revision(), set(first)) == (HEAD, set(Base.metadata.tables))
    run(database, ADD_MODEL)
    run(database, version())
    database.downgrade("base")
    assert database.revision() is None
    assert schema(database) == {}
    database.ensure()
    database.ensure()
    assert schema(database) == first
    run(database, ADD_MODEL)
    run(database, version())
    with pytest.raises(DatabaseError, match="rows are immutable"):  # the triggers are back too
        run(database, "DELETE FROM versions")


def test_the_models_and_the_migrated_tables_do_not_differ(database):
    database.ensure()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    migrated = schema(database)
    database.downgrade("base")
    Base.metadata.create_all(database.engine)  # CHECK constraints, which the comparison above does not see
    assert schema(database) == migrated


def test_several_may_open_a_fresh_home_at_once(home, database_url):
    gate, errors = threading.Barrier(6), []

    def opened():
        gate.wait()
        try:
            with connect(home, database=database_url) as registry:
                registry.register_version("m", dim=4)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=opened) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with connect(home, database=database_url) as registry:
        assert [v.number for v in registry.versions("m")] == [1, 2, 3, 4, 5, 6]


def test_a_database_of_a_newer_release_is_refused_and_left_alone(database, home, database_url):
    database.ensure()
    run(database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(MigrationNeeded, match=f"revision 9999, this release knows {HEAD}: upgrade samespace"):
        connect(home, database=database_url)
    assert database.revision() == "9999"


NOW = "'2026-01-01 00:00:00'"
ADD_MODEL = f"INSERT INTO models (name, created_at) VALUES ('m', {NOW})"


def version(model_id=1, number=1, dim=4, metric="cosine", dtype="float32", fingerprint="f", parent="NULL"):
    return (
        "INSERT INTO versions (model_id, number, dim, metric, normalized, dtype, method, fingerprint, facts, parent_id, created_at) "
        f"VALUES ({model_id}, {number}, {dim}, '{metric}', '1', '{dtype}', 'x', '{fingerprint}', '{{}}', {parent}, {NOW})"
    )


def evaluation(benchmark=1, query=1, gallery=1, role="self", low=0.1, value=0.2, high=0.3):
    return (
        "INSERT INTO evaluations (benchmark_id, query_id, gallery_id, label, metric, role, query_path, gallery_path, kinds, "
        "value, low, high, gain, gain_low, gain_high, queries, items, seed, measurement, created_at) VALUES "
        f"({benchmark}, {query}, {gallery}, 'c', 'map', '{role}', '', '', '[]', {value}, {low}, {high}, 0, 0, 0, 1, 1, 0, 'm', {NOW})"
    )


def segment(gallery=1, version=1, rows=0):
    return (
        f"INSERT INTO segments (gallery_id, version_id, rows, lance_version) VALUES ({gallery}, {version}, {rows}, 0)"
    )


def transform(id, digest, source="m/2", target="m/1"):
    return (
        "INSERT INTO transforms (id, digest, kind, source, target, source_dim, target_dim, report, created_at) VALUES "
        f"('{id}', '{digest}', 'affine', '{source}', '{target}', 4, 4, '{{}}', {NOW})"
    )


def gallery(name, id_type="int"):
    return (
        "INSERT INTO galleries (name, id_type, labels, items, items_version, created_at) VALUES "
        f"('{name}', '{id_type}', '[]', 0, 0, {NOW})"
    )


def anchors(name, gallery=1, quantum=0, size=2, dim=2):
    return (
        "INSERT INTO anchor_sets (name, gallery_id, similarity, quantum, size, dim, members, created_at) VALUES "
        f"('{name}', {gallery}, 'cosine', {quantum}, {size}, {dim}, '{{}}', {NOW})"
    )


def alias(model, name, version):
    return f"INSERT INTO aliases (model_id, name, version_id) VALUES ({model}, '{name}', {version})"


def tag(version, key):
    return f"INSERT INTO tags (version_id, key, value) VALUES ({version}, '{key}', 'x')"


GOOD = [
    ADD_MODEL,
    version(),
    gallery("g"),
    segment(),
    transform("t", "d"),
    anchors("w"),
    alias(1, "live", 1),
    tag(1, "k"),
    evaluation(),
]
BROKEN = {
    "model name twice": ADD_MODEL,
    "model without a name": f"INSERT INTO models (created_at) VALUES ({NOW})",
    "version number twice": version(fingerprint="other"),
    "fingerprint twice": version(number=2),
    "version number 0": version(number=0, fingerprint="x"),
    "dim 0": version(number=2, fingerprint="x", dim=0),
    "dim too large": version(number=2, fingerprint="x", dim=65537),
    "unknown metric": version(number=2, fingerprint="x", metric="hamming"),
    "unknown dtype": version(number=2, fingerprint="x", dtype="int8"),
    "version of no model": version(model_id=9),
    "parent that is not there": version(number=2, fingerprint="x", parent="9"),
    "gallery name twice": gallery("g"),
    "unknown id type": gallery("h", "uuid"),
    "segment twice": segment(),
    "segment of no gallery": segment(gallery=9),
    "segment of no version": segment(version=9),
    "segment of fewer than no rows": "UPDATE segments SET rows = -1",
    "transform id twice": transform("t", "other"),
    "transform digest twice": transform("other", "d"),
    "transform from a space to itself": transform("other", "e", target="m/2"),
    "anchor set twice": anchors("w"),
    "anchor set of no gallery": anchors("v", gallery=9),
    "quantum below 0": anchors("v", quantum=-0.1),
    "relative space narrower than its anchors": anchors("v", dim=1),
    "alias twice": alias(1, "live", 1),
    "alias of no model": alias(9, "x", 1),
    "alias of no version": alias(1, "x", 9),
    "tag twice": tag(1, "k"),
    "tag of no version": tag(9, "k"),
    "unknown role": evaluation(role="guess"),
    "value below its interval": evaluation(value=0.05),
    "value above its interval": evaluation(value=0.5),
    "evaluation of no benchmark": evaluation(benchmark=9),
    "evaluation of no query version": evaluation(query=9),
    "evaluation of no gallery version": evaluation(gallery=9),
    "model that versions belong to": "DELETE FROM models",
    "gallery that segments belong to": "DELETE FROM galleries",
}


def test_every_constraint_holds_against_raw_sql(database):
    database.ensure()
    for statement in GOOD:
        run(database, statement)
    passed = []
    for name, statement in BROKEN.items():
        try:
            run(database, statement)
        except IntegrityError:
            continue
        passed.append(name)
    assert passed == []


def test_sqlite_is_set_up_on_every_connection(lite):
    engine = lite._home.database.engine
    with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            settings = [
                connection.execute(text(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "foreign_keys", "synchronous")
            ]
            assert settings == ["wal", 1, 2]


def test_a_reader_is_not_held_up_by_a_writer_and_sees_no_half(lite, home):
    with lite._home.database.writing() as session:
        session.execute(text(ADD_MODEL))
        with connect(home) as other:
            assert other.models() == []


@pytest.mark.embedded
def test_a_reading_session_is_one_snapshot(reg):
    database = reg._home.database
    with database.reading() as session:
        assert session.execute(text("SELECT count(*) FROM models")).scalar() == 0
        reg.register_version("m", dim=4)
        assert session.execute(text("SELECT count(*) FROM models")).scalar() == 0
    with database.reading() as session:
        assert session.execute(text("SELECT count(*) FROM models")).scalar() == 1


def write(database, statements, *, then=None):
    with database.writing() as session:
        for statement in statements:
            session.execute(text(statement))
        if then:
            raise then


@pytest.mark.embedded
def test_a_failed_write_leaves_nothing(reg):
    database = reg._home.database
    with pytest.raises(KeyboardInterrupt):
        write(database, [ADD_MODEL], then=KeyboardInterrupt())
    assert reg.models() == []
    with pytest.raises(AlreadyExists):
        write(database, [ADD_MODEL, ADD_MODEL])
    assert reg.models() == []


# Addresses, and the secrets in them


def words_of(error):
    """The message of an error and of everything that it came from and that a traceback would show."""
    while error is not None:
        yield str(error)
        yield repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("postgresql://ann:sekret@127.0.0.1:1/db", Unavailable),
        ("postgresql+psycopg2://ann:sekret@127.0.0.1:1/db", Unavailable),
        ("mysql://ann:sekret@h/db", InvalidInput),
        ("postgres://ann:sekret@h/db", InvalidInput),
        ("postgresql//ann:sekret@h/db", InvalidInput),
        ("postgresql://ann:sekret@h:port/db", InvalidInput),
        ("sekret", InvalidInput),
    ],
)
def test_a_password_is_never_shown(home, address, error):
    with pytest.raises(error) as caught:
        connect(home, database=address)
    assert "sekret" not in "".join(words_of(caught.value))


def test_a_database_hides_its_password():
    database = Database("postgresql://ann:sekret@h/db")
    assert "ann:***@h/db" in repr(database)
    assert "sekret" not in repr(database)
    assert "sekret" not in repr(vars(database))


def test_a_file_that_is_no_database_is_refused(home):
    home.mkdir()
    (home / "registry.db").write_bytes(b"not a database, though long enough to be one" * 100)
    with pytest.raises(CorruptFile, match=r"registry\.db"):
        connect(home)


def test_a_home_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInput, match="cannot be a registry's home"):
            connect(home)
    with pytest.raises(InvalidInput, match="a server has its own database"):
        connect("http://host:1", database="sqlite://")


def test_the_registry_says_where_it_is_and_nothing_more(lite, home):
    assert repr(lite) == f"Registry({str(home)!r})"
    assert lite.home == str(home)


def test_a_backup_taken_while_open_is_a_registry(lite, home, tmp_path, rows):
    for d in (2, 4):
        lite.register_version("m", dim=d)
    lite.add_transform(Prefix(from_dim=4, to_dim=2), source="m/2", target="m/1")
    (tmp_path / "copy").mkdir()
    with sqlite3.connect(home / "registry.db") as source, sqlite3.connect(tmp_path / "copy" / "registry.db") as target:
        source.backup(target)
    with connect(tmp_path / "copy") as copy:
        assert (copy.versions(), copy.transforms()) == (lite.versions(), lite.transforms())
