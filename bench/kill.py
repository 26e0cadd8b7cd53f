"""Kill: processes that write are killed at random moments; nothing acknowledged may be lost, nothing be half visible.

In each embedded round two processes write into one home and a third opens a home of an older release, which migrates
it. One writer and the third are killed by the clock or after some number of lines of our own, the other writer goes on
for a moment and is killed too. In each served round the server is killed with its workers while two clients write, and
started anew. A fresh process then holds what it finds against the journals, asks again for what was in flight under
the same keys, and writes on.

    python -m bench.kill
    python -m bench.kill --rounds 20 --seed 1
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from bench.faults import (
    BATCH,
    CONTEXT,
    Hand,
    Ledger,
    Operation,
    Place,
    Server,
    Template,
    chance,
    empty_database,
    in_process,
    killed_after,
    postgres,
    prepare,
    retry,
    verify,
)
from bench.measuring import load
from bench.report import header, table
from registry import database, gallery, writing
from registry.database import HEAD, Database, migrations_folder
from registry.errors import Unavailable
from registry.inventory import inventory
from registry.services import operations

__all__ = ["MODES", "Templates", "embedded_round", "served_rounds"]

MODES = ("SQLite", "PostgreSQL", "SQLite, served", "PostgreSQL, served")

_BATCHES = 60  # a few more, and the gallery's small files are put together
_WRITING = [Path(str(module.__file__)) for module in (gallery, writing, operations, database)]
_MIGRATING = [Path(database.__file__), *migrations_folder().glob("versions/*.py")]
_MOST_LINES = {True: 210, False: 3000}  # that a migration runs, and that some ten operations run
_LONGEST_S = 0.6
_LONGEST_AT_A_LINE_S = 2.0
_KEPT_S = 20
_ROUNDS_OF_A_SERVER = 10  # then a gallery is searched for as long as it is written to


@dataclass(frozen=True, slots=True)
class Templates:
    """What rounds begin with: a prepared place, and places of each older revision, on one kind of database."""

    now: Template
    older: tuple[Template, ...]

    @classmethod
    def make(cls, folder: Path, server: str | None, batches: int = _BATCHES) -> Templates:
        """Made in `folder`, the facts on the PostgreSQL `server` if there is one."""
        now = _empty_place(folder / "now", server)
        in_process(prepare, now, batches)
        older = []
        for revision in _older_revisions():
            place = _empty_place(folder / f"at{revision}", server)
            _make_older(place, revision)
            older.append(Template(place))
        return cls(Template(now), tuple(older))


def _empty_place(root: Path, server: str | None) -> Place:
    root.mkdir(parents=True)
    (root / "home").mkdir()
    return Place(root, empty_database(server, f"{root.parent.name}_{root.name}".lower()) if server else None)


def _older_revisions() -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    return sorted(s.revision for s in ScriptDirectory.from_config(config).walk_revisions() if s.revision != HEAD)


def _facts(place: Place) -> Database:
    return Database(place.database or f"sqlite:///{place.home / 'registry.db'}")


def _make_older(place: Place, revision: str) -> None:
    """A database of an older release with one version in it."""
    at = "'2026-01-01 00:00:00'"
    facts = _facts(place)
    facts.upgrade(revision)
    with facts.engine.begin() as connection:
        connection.execute(text(f"INSERT INTO models (id, name, created_at) VALUES (1000, 'kept', {at})"))  # noqa: S608
        connection.execute(
            text(
                "INSERT INTO versions (id, model_id, number, dim, metric, normalized, dtype, method, fingerprint, facts, "  # noqa: S608
                f"created_at) VALUES (1000, 1000, 1, 4, 'cosine', '1', 'float32', 'x', 'f', '{{}}', {at})"
            )
        )
    facts.close()


# Who is killed


@dataclass(frozen=True, slots=True)
class Moment:
    """When a process is killed: after so many seconds, and sooner once it has run so many lines of ours."""

    seconds: float
    lines: int | None

    @classmethod
    def any(cls, rng: random.Random, *, migrating: bool = False) -> Moment:
        """A random one, by the clock or by lines."""
        if rng.random() < 0.5:
            return cls(rng.uniform(0, _LONGEST_S), None)
        return cls(_LONGEST_AT_A_LINE_S, rng.randint(1, _MOST_LINES[migrating]))


class _Victim:
    """A process that works until it is killed."""

    def __init__(self, function: Callable[..., None], place: Place, moment: Moment, *arguments: Any) -> None:
        self.moment = moment
        self._heard, said = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=function, args=(place, moment.lines, said, *arguments))
        self._process.start()
        said.close()

    def begun(self) -> None:
        """Wait until it begins."""
        assert self._heard.poll(60), "a process does not begin"
        self._heard.recv()

    def kill(self) -> None:
        """Kill it at its moment. Raises AssertionError with what it said if it failed before."""
        self._process.join(self.moment.seconds)
        self._process.kill()
        self._process.join()
        while self._heard.poll():
            try:
                raise AssertionError(self._heard.recv())
            except EOFError:
                return


@contextmanager
def _told(said: Any) -> Iterator[None]:
    """Say that the work begins, and what it failed of."""
    try:
        said.send("begun")
        yield
    except BaseException as error:
        said.send(f"{type(error).__name__}: {error}")


def _write(place: Place, lines: int | None, said: Any, name: str, seed: int) -> None:
    """Write until killed."""
    # Old states go in each round, not only after a day: longer than a process here can take to read one.
    gallery.KEPT_FOR = timedelta(seconds=_KEPT_S)
    with place.embedded() as reg, _told(said):
        hand = Hand(reg, place.journal(name), name, chance(seed))
        if lines:
            killed_after(lines, _WRITING)
        while True:
            hand.turn()


def _open_older(place: Place, lines: int | None, said: Any) -> None:
    """Open a home of an older release."""
    with _told(said):
        if lines:
            killed_after(lines, _MIGRATING)
        place.embedded().close()
        sys.settrace(None)


# Rounds

Found = Counter[str]
"""What a round came to, by name."""


def embedded_round(templates: Templates, rng: random.Random, name: str) -> Found:
    """Kill processes that have the home open themselves."""
    with templates.now.copied() as place, rng.choice(templates.older).copied() as older:
        moment = Moment.any(rng)
        first = _Victim(_write, place, moment, f"{name}a", rng.randrange(1 << 30))
        other = _Victim(_write, place, Moment(rng.uniform(0, 0.3), None), f"{name}b", rng.randrange(1 << 30))
        opens = _Victim(_open_older, older, Moment.any(rng, migrating=True))
        for victim in (opens, first, other):
            victim.begun()
        for victim in (opens, first, other):
            victim.kill()
        found = Counter(in_process(_look, place, name))
        found["migrations found undone" if in_process(_look_at_older, older) else "migrations found done"] += 1
        return found + Counter({"killed at a line" if moment.lines else "killed by the clock": 1})


def served_rounds(templates: Templates, rng: random.Random, name: str) -> Iterator[Found]:
    """Kill a server under its clients, over and over; a registry serves for some rounds."""
    with templates.now.copied() as place, Server(place) as server:
        for number in range(_ROUNDS_OF_A_SERVER):
            yield _served_round(server, rng, f"{name}-{number}")


def _served_round(server: Server, rng: random.Random, name: str) -> Found:
    stop = threading.Event()
    wrong: list[str] = []
    hands = [
        threading.Thread(target=_ask, args=(server.place, f"{name}{n}", rng.randrange(1 << 30), stop, wrong))
        for n in "ab"
    ]
    for hand in hands:
        hand.start()
    time.sleep(rng.uniform(0.1, 2 * _LONGEST_S))
    server.kill()
    if rng.random() < 0.5:  # what was in flight is repeated by the clients themselves, or else by `_look`
        stop.set()
    server.start()
    stop.set()
    for hand in hands:
        hand.join()
    assert not wrong, wrong
    return Counter(in_process(_look, server.place, name)) + Counter({"killed by the clock": 1})


def _ask(place: Place, name: str, seed: int, stop: threading.Event, wrong: list[str]) -> None:
    """Write through a server, which may go away at any time."""

    def wait(seconds: float) -> None:
        """Between the client's own repeats, until it gives up."""
        if stop.is_set():
            raise Unavailable("given up")
        time.sleep(seconds)

    try:
        with place.open() as reg:
            client: Any = reg
            client._server._sleep = wait
            hand = Hand(reg, place.journal(name), name, chance(seed))
            while not stop.is_set():
                try:
                    hand.turn()
                except Unavailable:
                    time.sleep(0.05)
    except Exception as error:
        wrong.append(f"{name}: {error!r}")


def _look(place: Place, name: str) -> dict[str, int]:
    """Verify, ask again for what was in flight, verify that too, and write on."""
    before = Ledger.of(place)
    found = Counter({"acknowledged": sum(map(len, before.answers.values()))})
    found["beyond the facts"] = _beyond(place)
    verify(place)
    with place.embedded() as reg:
        found["in flight, found done"] = sum(_is_done(reg, operation) for operation in before.open())
    asked = retry(place, f"{name}retry")
    found["in flight"] = asked.total()
    journal = place.journal(f"{name}after")
    with place.open() as reg:
        for operation in (Operation("append", f"{name}-after", "m/1"), Operation("delete", f"{name}-after")):
            assert journal.perform(reg, operation) == BATCH
        journal.perform(reg, Operation("register", f"{name}-after"))
    journal.close()
    verify(place)
    assert not Ledger.of(place).open()
    return found


def _beyond(place: Place) -> int:
    """How many datasets have states on disk that were never acknowledged, which the next write has to undo."""
    import lance  # not sooner than `registry.gallery`, which keeps it quiet

    with place.embedded() as reg, reg._home.database.reading() as session:
        stored = inventory(session, reg._home.layout).datasets
    return sum(lance.dataset(str(s.path)).version > s.version for s in stored)


def _is_done(reg: Any, operation: Operation) -> bool:
    with reg._home.database.reading() as session:
        found = session.execute(text("SELECT 1 FROM operations WHERE key = :key"), {"key": operation.key})
        return found.first() is not None


def _look_at_older(place: Place) -> bool:
    """Whether the killed process had not migrated yet; then open it, and find all tables and what was in them."""
    facts = _facts(place)
    at = facts.revision()
    facts.close()
    with place.embedded() as reg:
        assert [v.number for v in reg.versions("kept")] == [1]
        reg.set_alias("kept", "champion", reg.register_version("kept", dim=4).number)
        assert reg.version("kept@champion").number == 2
        assert reg.revision() == HEAD
        found = _schema(reg._home.database.engine)
    with tempfile.TemporaryDirectory() as folder:
        fresh = Database(f"sqlite:///{folder}/fresh.db")
        fresh.ensure()
        assert found == _schema(fresh.engine)
        fresh.close()
    return at != HEAD


def _schema(engine: Engine) -> dict[str, tuple[set[str], set[str]]]:
    """Columns and indexes of each table."""
    seen = inspect(engine)
    return {
        name: ({c["name"] for c in seen.get_columns(name)}, {str(i["name"]) for i in _indexes(seen, name)})
        for name in seen.get_table_names()
    }


def _indexes(seen: Any, name: str) -> list[Any]:
    return [i for i in seen.get_indexes(name) if not i.get("duplicates_constraint")]


def rounds(mode: str, templates: Templates, number: int, rng: random.Random) -> Iterator[Found]:
    """So many rounds of a mode."""
    done = 0
    while done < number:
        if mode.endswith("served"):
            for found in served_rounds(templates, rng, f"r{done}"):
                yield found
                done += 1
                if done == number:
                    return
        else:
            yield embedded_round(templates, rng, f"r{done}")
            done += 1


def _run(mode: str, templates: Templates, number: int, seed: int) -> list[str]:
    """A row of the table: what all rounds of a mode came to."""
    total: Counter[str] = Counter()
    began = time.monotonic()
    for done, found in enumerate(rounds(mode, templates, number, chance(f"{mode} {seed}")), 1):
        total += found
        print(f"{mode}: {done} of {number}", file=sys.stderr)
    seconds = (time.monotonic() - began) / max(number, 1)
    return [mode, str(number), *(str(total[name]) for name in _COLUMNS), "0", f"{seconds:.1f}"]


_COLUMNS = (
    "killed by the clock", "killed at a line", "acknowledged", "in flight", "in flight, found done", "beyond the facts",
    "migrations found done", "migrations found undone",
)  # fmt: skip


def main() -> None:
    """Print a table with a row for each mode; the first fault ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="of all modes together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(header(seed=options.seed))
    print(f"load {load()}; {options.rounds} rounds over {len(MODES)} modes\n")
    rows = []
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="samespace-kill-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = stack.enter_context(postgres())
        made = {
            "SQLite": Templates.make(folder / "sqlite", None),
            "PostgreSQL": Templates.make(folder / "postgres", server),
        }
        for number, mode in enumerate(MODES):
            share = options.rounds // len(MODES) + (number < options.rounds % len(MODES))
            rows.append(_run(mode, made[mode.partition(",")[0]], share, options.seed))
    print(table(("mode", "rounds", *_COLUMNS, "faults", "s a round"), rows))


if __name__ == "__main__":
    main()
