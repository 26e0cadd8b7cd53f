"""Studying an upgrade: what changes if one version replaces another, measured once on a benchmark and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar
from uuid import uuid4

import numpy as np
import pyarrow as pa
from sqlalchemy.orm import Session

from registry import benchmarks, scales
from registry.benchmarks import Bench
from registry.bootstrap import check_seed
from registry.errors import InvalidInput
from registry.home import Home
from registry.services import advice, calibrations, galleries, models, studies, transforms
from registry.study import curves, filling, groups, items, maps, neighbours, scores
from registry.study.neighbours import Neighbours
from registry.study.sides import Sides, Stages
from registry.tables import VersionRow, now
from registry.types import Evaluation, Filling, Path, Scores, Stage, Study
from registry.vectors import Array, Metric

__all__ = ["MOST_ITEMS", "MOST_QUERIES", "asked", "study"]

MOST_ITEMS, MOST_QUERIES = 50_000, 2_000
_NEIGHBOURS = 10
_CHUNK_ROWS = 8192

Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """What is studied: a path from `new` to `old` and the metric where it ends, if there is one, and the items.

    Queries are rows `own` (q,) of the items; `codes` (n,) are the items' labels as numbers.
    """

    old: str
    new: str
    label: str
    path: Path | None
    metric: Metric | None
    bench: Bench
    own: Array
    codes: Array
    seed: int
    scale: filling.Scale = None

    @property
    def vectors(self) -> tuple[Array, Array]:
        """By the old version and by the new one, (n, d) each."""
        return self.bench.vectors[self.old], self.bench.vectors[self.new]

    @property
    def metrics(self) -> tuple[Metric, Metric]:
        """Of both versions."""
        return self.bench.metric[self.old], self.bench.metric[self.new]


def study(
    home: Home, old: str, new: str, *, benchmark: str | None, label: str | None, seed: int, progress: Progress | None
) -> Study:
    """Measure and store a study; see `Registry.study`.

    Memory is the vectors of at most `MOST_ITEMS` items by both versions, some copies of them as they are compared, and
    256 MB for scores, whatever the size of the benchmark.
    """
    check_seed(seed)
    with home.database.reading() as session:
        before, after = models.find(session, old), models.find(session, new)
        case = _case(home, session, before, after, benchmark, label, seed)
    found, table = _measured(home, case, progress)
    data = items.dumps(table)
    home.keep_study(found.id, data)  # before the fact is: a crash between leaves a file that nobody refers to
    with home.database.writing() as session:
        studies.store(session, found, items.digest_of(data))
    with home.database.reading() as session:
        return studies.study(session, found.id)


def _case(
    home: Home,
    session: Session,
    before: VersionRow,
    after: VersionRow,
    benchmark: str | None,
    label: str | None,
    seed: int,
) -> _Case:
    """The best measured path of the newest measurement, and the items that both versions embedded."""
    old, new = before.ref, after.ref
    if old == new:
        raise InvalidInput(f"a study needs two versions, got {old} twice")
    cells = advice.measured(session, before, after, benchmark, label)
    row, label = galleries.gallery(session, cells[0].benchmark), cells[0].label
    best = max((e for e in cells if e.role == "path"), key=lambda e: e.value, default=None)
    graph = home.graphs.of(session)
    path = None if best is None else graph.way(new, old, best.query_path, best.gallery_path, beside=True)
    metric = None if path is None else transforms.space_facts(session, path.space)[1]
    refs = benchmarks.embedded(row, [old, new])
    bench = benchmarks.load(home, row, refs, row.labels, most=MOST_ITEMS, seed=seed)
    codes = bench.codes(label)
    own = asked(codes, seed)
    if not len(own):
        raise InvalidInput(
            f"no two items of {row.name} that {old} and {new} embedded have one {label}, so nothing can be found: append more"
        )
    scale = None if best is None or path is None else _scale(home, session, best, path, (after.id, before.id))
    return _Case(old, new, label, path, metric, bench, own, codes, seed, scale)


def asked(codes: Array, seed: int) -> Array:
    """Which items (q,) are queries, by the items' labels as numbers (n,): at most `MOST_QUERIES`, drawn with `seed`."""
    own = np.flatnonzero(np.bincount(codes)[codes] > 1)  # others have nothing to find
    if len(own) > MOST_QUERIES:
        own = np.sort(np.random.default_rng([seed, 1]).choice(own, MOST_QUERIES, replace=False))
    return own


def _scale(home: Home, session: Session, best: Evaluation, path: Path, pair: tuple[int, int]) -> filling.Scale:
    """How search makes scores across the path comparable."""
    return "measured" if calibrations.is_measured(session, best, *pair) else scales.own_line(home, path)


def _measured(home: Home, case: _Case, progress: Progress | None) -> tuple[Study, pa.Table]:
    """The study, and the table of its items."""
    stages = _stages(home, case)
    steps = _Steps(progress, 2 * len(stages) + 2 + filling.DRAWS + 1 + maps.TOLD + 1)
    found = {stage: steps.after(curves.ranked(sides, case.own, case.codes)) for stage, sides in stages.items()}
    pairs = {stage: steps.after(scores.pairs(s, case.own, case.codes, case.seed)) for stage, s in stages.items()}
    spread: dict[str, Scores] = {stage: p.scores for stage, p in pairs.items()}
    thresholds = scores.thresholds(pairs)
    filled = _filled(home, case, stages, steps)
    del pairs, stages  # the samples, and the mapped vectors
    near = _near(case, steps)
    k = min(_NEIGHBOURS, len(case.codes) - 1)
    agreed = neighbours.agreed(*near, k)
    drawn = maps.maps(case.vectors, case.metrics, near, seed=case.seed, told=steps.done)
    table = items.table(case.bench.ids, case.bench.labels, drawn, agreed / k, found, case.own)
    path = case.path
    made = Study(
        id=f"study-{uuid4().hex[:16]}", benchmark=case.bench.name, label=case.label, old=case.old, new=case.new,
        has_path=path is not None, query_path=path.query if path else (), gallery_path=path.gallery if path else (),
        kinds=path.kinds if path else (), items=len(case.codes), queries=len(case.own), seed=case.seed,
        cmc={stage: curves.cmc(f, case.seed) for stage, f in found.items()},
        groups=groups.groups(found, _columns(case), case.seed),
        scores=spread, thresholds=thresholds,
        overlap=neighbours.overlap(agreed, k), filling=filled, created_at=now(),
    )  # fmt: skip
    steps.finish()
    return made, table


def _stages(home: Home, case: _Case) -> Stages:
    """The three ways to search, or two where no path leads to the old vectors."""
    (old, new), (old_metric, new_metric) = case.vectors, case.metrics
    stages: dict[Stage, Sides] = {"today": Sides(old[case.own], old, old_metric)}
    if case.path is not None and case.metric is not None:
        stages["upgraded"] = Sides(*benchmarks.sides(home, case.bench, case.path, case.own), case.metric)
    stages["backfilled"] = Sides(new[case.own], new, new_metric)
    return stages


def _columns(case: _Case) -> dict[str, Array]:
    """The label columns (q,) of the queries, the studied one first."""
    names = sorted(case.bench.labels, key=lambda name: name != case.label)
    return {name: case.bench.labels[name].to_numpy(zero_copy_only=False)[case.own] for name in names}


def _near(case: _Case, steps: _Steps) -> tuple[Neighbours, Neighbours]:
    """The nearest others of each item by both versions, as many as the maps look at."""
    k = maps.breadth(len(case.codes))
    old, new = (
        steps.after(neighbours.neighbours(x, metric, k)) for x, metric in zip(case.vectors, case.metrics, strict=True)
    )
    return old, new


def _filled(home: Home, case: _Case, stages: Stages, steps: _Steps) -> tuple[Filling, ...]:
    """By a path's deviations in the order of what they are predicted to be; without one in random order alone."""
    first = None
    if case.path is not None and case.metric == case.metrics[1]:
        far = _deviations(home, case, case.path, stages["upgraded"])
        first = filling.worst_first(case.vectors[0], case.metrics[0], far, case.seed)
    return filling.filling(stages, case.own, case.codes, first=first, seed=case.seed, told=steps.done, scale=case.scale)


def _deviations(home: Home, case: _Case, path: Path, upgraded: Sides) -> Array:
    """How far (n,) the path leads each item from its own stored vector, in chunks."""
    chunks = (slice(start, start + _CHUNK_ROWS) for start in range(0, len(case.codes), _CHUNK_ROWS))
    return np.concatenate(
        [
            filling.deviations(
                Sides(benchmarks.queries(home, case.bench, path, rows), upgraded.gallery[rows], upgraded.metric)
            )
            for rows in chunks
        ]
    )


class _Steps:
    """Counts what is done, from any thread, and tells of it."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._count, self._lock = progress, total, 0, Lock()

    def done(self) -> None:
        """One step more."""
        with self._lock:
            self._count += 1
            self._tell()

    def after(self, value: T) -> T:
        """`value`, which a step has made."""
        self.done()
        return value

    def finish(self) -> None:
        """The last step, whatever was left out."""
        with self._lock:
            self._count = self._total
            self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(min(self._count, self._total), self._total)
