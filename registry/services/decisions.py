"""Decisions: what needs a person, told from the facts alone; nothing is measured here, and no vector is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy.orm import Session

from registry.paths import Graph
from registry.services import checks, current
from registry.services.current import Cell, Line, Segment
from registry.services.pages import checked_limit
from registry.types import METRIC_NAMES, Check, Decision

__all__ = ["decisions"]

_Shared = Mapping[str, Mapping[str, int]]
"""By gallery, then version: how many vectors are stored."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A current version, and another of its model that stored what it has to read; the largest segment comes first."""

    model: int
    new: int
    old: int
    new_ref: str
    old_ref: str
    is_readable: bool
    segments: tuple[Segment, ...]

    @property
    def rows(self) -> int:
        return sum(s.rows for s in self.segments)

    def __str__(self) -> str:
        vectors = "one vector" if self.rows == 1 else f"{self.rows:,} vectors"
        more = f" and {len(self.segments) - 1} more" if len(self.segments) > 1 else ""
        return f"the {vectors} that {self.old_ref} stored in {self.segments[0].gallery}{more}"


def decisions(
    session: Session,
    graph: Graph,
    *,
    limit: int,
    models: Collection[str] | None = None,
    galleries: Collection[str] | None = None,
) -> list[Decision]:
    """What needs a person's decision, the most urgent first; see `Registry.decisions`.

    It takes four statements, however large the registry. With `models` or `galleries` no others are named, though what
    was measured elsewhere counts as measured.
    """
    checked_limit(limit)
    lines = current.lines(session, models)
    stored = current.segments(session)
    segments = [s for s in stored if s.model in lines and (galleries is None or s.gallery in galleries)]
    pairs = _pairs(lines, segments, graph)
    cells = current.cells(session, [(pair.new, pair.old) for pair in pairs if pair.is_readable])
    drifting = [c for c in checks.drifting(session) if models is None or c.version.partition("/")[0] in models]
    return list(islice(_told(lines, segments, pairs, cells, drifting, galleries), limit))


def _told(
    lines: Mapping[int, Line], segments: Sequence[Segment], pairs: Sequence[_Pair], cells: current.Cells,
    drifting: Sequence[Check], galleries: Collection[str] | None,
) -> Iterator[Decision]:  # fmt: skip
    """One after the other, so that no more sentences are made than are wanted."""
    benchmarks, others = _shared(segments, benchmarks=True), _shared(segments, benchmarks=False)
    unread = [pair for pair in pairs if not pair.is_readable]
    blind = [pair for pair in pairs if pair.is_readable and (pair.new, pair.old) not in cells]
    for pair in unread:
        yield _unreadable(pair, others.get(pair.model, {}))
    for pair in pairs:
        yield from _failing(pair, cells.get((pair.new, pair.old), ()), galleries)
    yield from map(_drifting, drifting)
    for pair in blind:
        yield _unmeasured(pair, benchmarks.get(pair.model, {}))
    told = {pair.new_ref for pair in (*unread, *blind)}  # once such a pair is measured, so is its version
    for model, line in lines.items():
        if not line.is_measured and line.newest_ref not in told:
            yield _unknown(line, benchmarks.get(model, {}))


def _shared(segments: Sequence[Segment], *, benchmarks: bool) -> Mapping[int, _Shared]:
    """By model, what its versions stored in benchmarks, or in other galleries."""
    found: dict[int, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for s in segments:
        if s.is_benchmark == benchmarks:
            found[s.model][s.gallery][s.ref] = s.rows
    return found


def _pairs(lines: Mapping[int, Line], segments: Sequence[Segment], graph: Graph) -> list[_Pair]:
    """Current versions and what they have to read: nothing in a gallery whose every item they embedded themselves.

    The most vectors come first.
    """
    is_current = {line.current for line in lines.values()}
    backfilled = {(s.model, s.gallery) for s in segments if s.version in is_current and s.rows == s.items}
    stored: dict[tuple[int, int], list[Segment]] = defaultdict(list)
    for s in segments:
        if s.version not in is_current and (s.model, s.gallery) not in backfilled:
            stored[s.model, s.version].append(s)
    pairs = []
    for (model, old), found in stored.items():
        line, ordered = lines[model], sorted(found, key=lambda s: (-s.rows, s.gallery))
        new_ref, old_ref = line.current_ref, ordered[0].ref
        readable = graph.connects(new_ref, old_ref)
        pairs.append(_Pair(model, line.current, old, new_ref, old_ref, readable, tuple(ordered)))
    return sorted(pairs, key=lambda p: (-p.rows, p.new_ref, p.old_ref))


def _unreadable(pair: _Pair, galleries: _Shared) -> Decision:
    new, old = pair.new_ref, pair.old_ref
    both = {name: min(rows[new], rows[old]) for name, rows in galleries.items() if {new, old} <= rows.keys()}
    learned_from = max(both, key=lambda name: both[name], default="GALLERY")  # a benchmark is to judge it afterwards
    return Decision(
        "unreadable", new, old, pair.segments[0].gallery,
        says=f"{new} cannot read {pair}: no transform connects the two",
        command=f"samespace fit orthogonal --source {new} --target {old} --gallery {learned_from}",
    )  # fmt: skip


def _failing(pair: _Pair, cells: Sequence[Cell], benchmarks: Collection[str] | None) -> list[Decision]:
    """The best path is surely worse by a metric that decides; of several benchmarks, the one on which most is lost."""
    judged = (c for c in cells if benchmarks is None or c.benchmark in benchmarks)
    best = {(c.benchmark, c.metric): c for c in sorted(judged, key=lambda c: c.value)}
    lost = sorted((c for c in best.values() if c.verdict == "incompatible"), key=lambda c: c.gain)
    if not lost:
        return []
    new, old, benchmark = pair.new_ref, pair.old_ref, lost[0].benchmark
    numbers = " and ".join(_said(c) for c in lost if c.benchmark == benchmark)
    decision = Decision(
        "failing", new, old, pair.segments[0].gallery,
        says=f"{new} reads {pair} worse than {old} itself: {numbers} on {benchmark}",
        command=f"samespace compare {old} {new} --benchmark {benchmark}",
    )  # fmt: skip
    return [decision]


def _said(cell: Cell) -> str:
    value, own = (f"{100 * x:.1f}" for x in (cell.value, cell.value - cell.gain))
    gain, low, high = (f"{100 * x:+.1f}" for x in (cell.gain, cell.gain_low, cell.gain_high))
    return f"{METRIC_NAMES[cell.metric]} {value} instead of {own} ({gain} [{low}, {high}])"


def _drifting(check: Check) -> Decision:
    return Decision(
        "drifting", check.version, None, None,
        says=f"the encoder of {check.version} is not the registered one: on {check.at:%Y-%m-%d} the canary {check.worst} "
        f"deviated by {check.deviation:.2g}, more than {check.tolerance:g}",
        command=f"samespace model check {check.version} --encoder MODULE:FUNCTION --record",
    )  # fmt: skip


def _unmeasured(pair: _Pair, benchmarks: _Shared) -> Decision:
    return Decision(
        "unmeasured", pair.new_ref, pair.old_ref, pair.segments[0].gallery,
        says=f"{pair.new_ref} reads {pair} by a path that nobody measured",
        command=_measuring(benchmarks, pair.old_ref, pair.new_ref),
    )  # fmt: skip


def _unknown(line: Line, benchmarks: _Shared) -> Decision:
    return Decision(
        "unmeasured", line.newest_ref, None, None,
        says=f"{line.newest_ref} is the newest version of its model, and no evaluation speaks of it",
        command=_measuring(benchmarks, line.newest_ref),
    )  # fmt: skip


def _measuring(benchmarks: _Shared, *refs: str) -> str:
    """The command that measures these versions, or the one that has to come before it."""
    if not benchmarks:
        return "samespace benchmark create NAME --label LABEL"
    name, rows = max(benchmarks.items(), key=lambda b: (len(b[1].keys() & set(refs)), sum(b[1].values()), b[0]))
    for ref in refs:
        if ref not in rows:
            return f"samespace gallery append {name} --version {ref} --vectors FILE --ids FILE"
    return f"samespace evaluate {name} {' '.join(f'--version {ref}' for ref in refs)}"
