"""Measuring the compatibility matrix: every query version against every gallery version, by every known path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from uuid import uuid4

import numpy as np
from sqlalchemy.orm import Session

from registry import benchmarks
from registry.benchmarks import Bench
from registry.bootstrap import Interval, Resamples, check_seed, verdict
from registry.calibrating import Calibrator
from registry.calibration import Knots
from registry.errors import InvalidInput
from registry.home import Home
from registry.paths import Graph
from registry.rankings import Ranked, Ranking, here, naive, ranking, sides_of
from registry.refs import is_relative, prefix_of
from registry.retrieval import Retrieval
from registry.services import evidence, galleries, transforms
from registry.tables import now
from registry.types import Evaluation, Matrix, Path
from registry.vectors import Array, Metric

__all__ = ["evaluate"]

_MOST_LONG_PATHS = 8
"""Of a pair of versions every single map is measured, and so many chains of several maps."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Cell:
    """One way to compare, before it is measured; `path` is None for the naive control."""

    query: str
    gallery: str
    path: Path | None

    @property
    def role(self) -> str:
        if self.path is None:
            return "naive"
        return "path" if self.path.length else "self"


def evaluate(
    home: Home,
    benchmark: str,
    *,
    versions: Sequence[str] | None,
    label: str | None,
    seed: int,
    progress: Progress | None,
    ranked: Ranked | None = None,
) -> Matrix:
    """Measure and store every cell; see `Registry.evaluate`. Queries are `ranked` in this process unless that says where."""
    check_seed(seed)
    if isinstance(versions, str) or (versions is not None and not len(versions)):
        raise InvalidInput(f"versions must be a list of one or more, such as ['products/1'], got {versions!r:.80}")
    with home.database.reading() as session:
        row = galleries.gallery(session, benchmark)
        column = evidence.label_column(row, label)
        refs, cuts = _asked(session, versions)
        refs = benchmarks.embedded(row, refs)
        graph = home.graphs.of(session)
        bench = benchmarks.load(home, row, refs, [column])
        spaces = {
            p: transforms.space_facts(session, p)[1]
            for c in _cells(graph, refs, cuts)
            if c.path
            for p in (c.path.space,)
        }
    cells = list(_cells(graph, refs, cuts))
    found, lines = _measure(home, bench, column, cells, spaces, seed, progress, ranked or here)
    with home.database.writing() as session:
        evidence.store(session, found, lines)
    with home.database.reading() as session:
        return evidence.matrix(session, benchmark, metric=evidence.RANKING_METRIC, label=column)


def _asked(session: Session, versions: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The versions to measure, none for all, and of prefix spaces (`products/2[:64]`) among them the spaces too."""
    spaces = [transforms.resolve_space(session, space) for space in versions or []]
    for space in spaces:
        if is_relative(space):
            raise InvalidInput(f"{space} is no version: name those whose way into it is to be measured")
    cuts = [space for space in spaces if prefix_of(space)]
    return [(prefix_of(space) or (space,))[0] for space in spaces], cuts


def _cells(graph: Graph, refs: Sequence[str], cuts: Sequence[str]) -> Iterator[_Cell]:
    """Own cell first: what a version is compared with must be measured before it."""
    for gallery in refs:
        yield _Cell(gallery, gallery, Path(gallery, gallery, gallery))
        for space, cut in ((c, prefix_of(c)) for c in dict.fromkeys(cuts)):
            if cut and cut[0] == gallery:
                step = (f"[:{cut[1]}]",)
                yield _Cell(gallery, gallery, Path(gallery, gallery, space, step, step, ("prefix", "prefix")))
        for query in refs:
            if query == gallery:
                continue
            paths = _worth_measuring(graph.meet(query, gallery, beside=True))
            # Where one side is a plain prefix of the other, cutting to the shorter width is right, and no control.
            if not any(set(path.kinds) == {"prefix"} for path in paths):
                yield _Cell(query, gallery, None)
            yield from (_Cell(query, gallery, path) for path in paths)


def _worth_measuring(paths: Iterator[Path]) -> list[Path]:
    """Every single map, and the shortest chains; among chains of one length those with the newest maps come first."""
    single: list[Path] = []
    longer: list[Path] = []
    for path in paths:  # shortest first
        if path.length == 1:
            single.append(path)
        elif len(longer) == _MOST_LONG_PATHS:
            break
        else:
            longer.append(path)
    return single + longer


def _ranking(home: Home, bench: Bench, cell: _Cell, spaces: dict[str, Metric]) -> Ranking:
    if cell.path is None:
        return naive(bench, cell.query, cell.gallery)
    return ranking(home, bench, cell.path, spaces[cell.path.space])


def _measure(
    home: Home,
    bench: Bench,
    label: str,
    cells: list[_Cell],
    spaces: dict[str, Metric],
    seed: int,
    progress: Progress | None,
    ranked: Ranked,
) -> tuple[list[Evaluation], dict[int, Knots]]:
    """The evaluations, and by the place of one of each cell the calibration of its scores."""
    found: list[Evaluation] = []
    lines: dict[int, Knots] = {}
    own: dict[str, _Measured] = {}
    measurement, labels = uuid4().hex, bench.codes(label)
    calibrator = Calibrator(bench, labels, seed)
    rankings = [_ranking(home, bench, cell, spaces) for cell in cells]
    sides = lru_cache(1)(partial(sides_of, vectors=bench.vectors))  # of one cell: ranked, then calibrated
    results = ranked(bench, labels, rankings, sides)
    for done, (cell, compared, result) in enumerate(zip(cells, rankings, results, strict=True)):
        measured, resamples = _values(result, seed)
        if cell.role == "self":
            own[cell.gallery] = measured
        if cell.role == "path" and cell.query != cell.gallery:
            line = calibrator.line(cell.query, *sides(compared))
            if line is not None:
                lines[len(found) + list(measured).index(evidence.RANKING_METRIC)] = line
        found += _rows(bench, label, cell, measured, own[cell.gallery], resamples, measurement)
        if progress:
            progress(done + 1, len(cells))
    return found, lines


_Measured = dict[str, tuple[float, Array]]
"""By metric the value, and the means of its resamples."""


def _values(result: Retrieval, seed: int) -> tuple[_Measured, Resamples]:
    counted = ~np.isnan(result.per_query["map"])
    resamples = Resamples(int(counted.sum()), seed=seed)
    measured = {
        name: (value, resamples.means(result.per_query[name][counted].astype(np.float64)))
        for name, value in result.values().items()
    }
    return measured, resamples


def _rows(
    bench: Bench,
    label: str,
    cell: _Cell,
    measured: _Measured,
    own: _Measured,
    resamples: Resamples,
    measurement: str,
) -> Iterator[Evaluation]:
    """One evaluation for each metric; the gain is paired, since both sides were resampled with the same draws."""
    path = cell.path
    for name, (value, means) in measured.items():
        interval = resamples.interval(value, means)
        is_self = cell.role == "self"
        gain = Interval(0.0, 0.0, 0.0) if is_self else resamples.interval(value - own[name][0], means - own[name][1])
        yield Evaluation(
            benchmark=bench.name, label=label, metric=name, query=cell.query, gallery=cell.gallery, role=cell.role,  # type: ignore[arg-type]
            query_path=path.query if path else (), gallery_path=path.gallery if path else (), kinds=path.kinds if path else (),
            value=interval.value, low=interval.low, high=interval.high, gain=gain.value, gain_low=gain.low, gain_high=gain.high,
            verdict=None if cell.query == cell.gallery else verdict(gain), queries=resamples.queries, items=len(bench), seed=resamples.seed,
            measurement=measurement, created_at=now(),
        )  # fmt: skip
