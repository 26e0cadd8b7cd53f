"""The database: engines, transactions, and its revision. SQLite in the home by default, PostgreSQL by address."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from registry.errors import AlreadyExists, CorruptFile, InvalidInput, MigrationNeeded, Unavailable

__all__ = ["HEAD", "Database", "address_in", "migrations_folder"]

HEAD = "0005"
"""The revision that this release reads and writes; a test holds it equal to the newest migration."""

_BUSY_TIMEOUT_S = 60
_CONNECT_TIMEOUT_S = 10  # a server that is gone would otherwise hold each thread that asks for minutes
_UPGRADE_LOCK = 7_366_517  # any number, the same in every process: PostgreSQL's advisory lock for upgrades


class Database:
    """One engine and its two kinds of transaction."""

    def __init__(self, url: str | URL) -> None:
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):  # whose text may hold the password
            raise InvalidInput(
                "this is no database address: write it like postgresql://user:password@host/name"
            ) from None
        if parsed.get_backend_name() == "postgresql" and parsed.get_driver_name() != "psycopg":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise InvalidInput(
                f"a registry lives in SQLite or PostgreSQL, got {parsed.get_backend_name()!r}: give such an address"
            )
        self.url = parsed
        self.engine = _engine(parsed)
        self._fixed: dict[str, object] = {}  # of versions by number, what services found that never changes

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)})"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session over one consistent snapshot, never committed."""
        engine = self.engine.execution_options(samespace_begin="DEFERRED")
        if engine.dialect.name == "postgresql":  # where each statement would otherwise see a state of its own
            engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with self._session(engine) as session:
            session.info["fixed"] = self._fixed  # it sees what is committed alone, so what it learns stays true
            yield session

    @contextmanager
    def asking(self) -> Iterator[Session]:
        """A session for one statement, which sees one state by itself: without the trips that begin and end a snapshot."""
        if self.engine.dialect.name != "postgresql":
            with self.reading() as session:
                yield session
            return
        with self._session(self.engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that is committed if the block ends well and rolled back if it raises.

        On SQLite it takes the write lock at once, so that what it reads stays true until it commits; on PostgreSQL
        services lock the rows that they decide on.
        """
        with self._session(self.engine.execution_options(samespace_begin="IMMEDIATE")) as session, session.begin():
            yield session

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        with _explained(), Session(engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def building(self) -> Iterator[Connection]:
        """A transaction that builds an empty database, for the block to fill: all of it is kept, or nothing.

        Raises:
            AlreadyExists: there is a registry in it.
        """
        with _explained(), self._changing() as connection:
            if _revision(connection) is not None:
                raise AlreadyExists(
                    f"{self.url.render_as_string(hide_password=True)} holds a registry: name an empty database"
                )
            _run_migrations(connection, "upgrade", "head")
            yield connection

    def connection(self) -> Any:
        """A driver's connection that belongs to the caller alone, in no transaction. Unavailable where there is none."""
        try:
            pooled = self.engine.raw_connection()
        except self.engine.dialect.loaded_dbapi.Error as error:
            raise Unavailable(
                f"cannot open {self.url.render_as_string(hide_password=True)}: {_first_line(error)}"
            ) from error
        driver = pooled.driver_connection
        pooled.detach()
        if self.engine.dialect.name == "postgresql":
            driver.autocommit = True  # type: ignore[union-attr]
        return driver

    def revision(self) -> str | None:
        """The revision that the database is at; None while it is empty."""
        try:
            with self.engine.connect() as connection:
                return _revision(connection)
        except OperationalError as error:
            raise Unavailable(
                f"cannot open {self.url.render_as_string(hide_password=True)}: {_first_line(error.orig)}"
            ) from error
        except (DatabaseError, UnicodeDecodeError) as error:
            raise CorruptFile(
                f"{self.url.render_as_string(hide_password=True)} is no database: {_first_line(getattr(error, 'orig', error))}"
            ) from error

    def ensure(self) -> None:
        """Bring an empty or older database to `HEAD`; refuse one of a newer release.

        Raises:
            MigrationNeeded: the revision is unknown to this release.
        """
        at = self.revision()
        if at == HEAD:
            return
        if at is not None and at > HEAD:
            raise MigrationNeeded(f"the database is at revision {at}, this release knows {HEAD}: upgrade samespace")
        self.upgrade()

    def upgrade(self, revision: str = "head") -> None:
        """Run the migrations up to `revision` in one transaction; safe to call from several processes at once."""
        self._migrate("upgrade", revision)

    def downgrade(self, revision: str) -> None:
        """Run the migrations back to `revision` in one transaction."""
        self._migrate("downgrade", revision)

    def _migrate(self, direction: str, revision: str) -> None:
        with self._changing() as connection:
            _run_migrations(connection, direction, revision)

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        """A transaction in which nobody else changes the tables."""
        engine = self.engine.execution_options(samespace_begin="IMMEDIATE")
        with engine.begin() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
            yield connection

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def address_in(file: Path) -> URL:
    """The address of a SQLite file."""
    return URL.create("sqlite", database=str(file))


def migrations_folder() -> Path:
    """Where the migrations are: inside an installed package, beside `registry/` in a checkout."""
    inside = Path(__file__).parent / "_migrations"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "migrations"


@contextmanager
def _explained() -> Iterator[None]:
    """Say what a database's error means, and what to do."""
    try:
        yield
    except OperationalError as error:
        raise Unavailable(
            f"the database did not answer ({_first_line(error.orig)}): try again, or run 'samespace db check'"
        ) from error
    except PoolTimeout as error:
        raise Unavailable("all connections to the database are busy: try again later") from error
    except IntegrityError as error:  # somebody else was faster, between our check and our insert
        raise AlreadyExists(
            f"the name or id is taken ({_first_line(error.orig)}): read it, or choose another"
        ) from error
    except (DataError, UnicodeEncodeError, OverflowError) as error:
        raise InvalidInput(
            f"the database cannot hold this value ({_first_line(getattr(error, 'orig', error))}): mend or shorten it"
        ) from error
    except (DatabaseError, UnicodeDecodeError, JSONDecodeError) as error:  # what SQLite says of a damaged page
        if isinstance(error, DatabaseError) and type(error) is not DatabaseError:
            raise
        raise CorruptFile(
            f"the database is damaged ({_first_line(getattr(error, 'orig', error))}): restore it from a backup"
        ) from error


def _run_migrations(connection: Connection, direction: str, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["connection"] = connection
    getattr(command, direction)(config, revision)


def _engine(url: Any) -> Engine:
    # What is bound, secrets of webhooks among it, stays out of errors, whose traceback a log may keep.
    if url.get_backend_name() == "postgresql":
        waits = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_TIMEOUT_S}
        return create_engine(
            url, pool_pre_ping=True, isolation_level="READ COMMITTED", hide_parameters=True, connect_args=waits
        )
    # Writers wait for SQLite's lock, each in a connection of its own; readers must not wait for one of theirs.
    engine = create_engine(
        url,
        max_overflow=-1,
        hide_parameters=True,
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver must not open transactions by itself: _begin_sqlite does, with the lock that the caller needs.
    connection.isolation_level = None
    _switch_to_wal(connection)
    for pragma in (
        "foreign_keys = ON",
        "recursive_triggers = ON",  # or REPLACE would delete a frozen row without asking its trigger
        "synchronous = FULL",
        f"busy_timeout = {_BUSY_TIMEOUT_S * 1000}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _switch_to_wal(connection: Any) -> None:
    """Set the journal that lets readers and a writer work side by side; a database remembers it."""
    until = time.monotonic() + _BUSY_TIMEOUT_S
    while True:  # SQLite does not wait for this lock by itself, and several may open a fresh home at once
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get("samespace_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _first_line(error: object) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]
