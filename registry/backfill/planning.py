"""Planning a backfill: what is to be re-embedded, in which order, what that is predicted to bring, and whether it pays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
from sqlalchemy.orm import Session

from registry import benchmarks
from registry.backfill import orders
from registry.backfill.measuring import probes_first
from registry.backfill.portions import missing
from registry.backfill.wishes import Counts, Wish
from registry.batches import id_column
from registry.errors import InvalidInput, NotFound
from registry.home import Home
from registry.members import held_in, members_of
from registry.services import advice, backfills, evidence, galleries, models, paths, studies, transforms
from registry.study import items
from registry.studying import MOST_ITEMS
from registry.tables import GalleryRow, SegmentRow, VersionRow, now
from registry.types import Backfill, Curve, Evaluation, Path
from registry.vectors import Metric

__all__ = ["plan"]

_STUDIES_LOOKED_AT = 20
_SETTINGS = (
    "old", "encoder", "inputs", "order", "seed", "batch", "rate", "stop_at", "benchmark", "label", "predicted_from", "advice",
    "evidence",
)  # fmt: skip
"""What of a plan has no column of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """What is re-embedded: the gallery, what `new` and `old` stored there, and the newest measurement of the one on the other."""

    gallery: GalleryRow
    new: VersionRow
    segment: SegmentRow | None
    old: SegmentRow | None
    cell: Evaluation | None

    @property
    def states(self) -> list[int]:
        """The states of the items and of the new segment."""
        return [self.gallery.items_version, self.segment.lance_version if self.segment else 0]


def plan(
    home: Home,
    gallery: str,
    into: str,
    wish: Wish,
    *,
    counts: Counts | None,
    dry_run: bool,
    among: Collection[str] | None,
) -> Backfill:
    """Plan, and keep, a backfill; see `Registry.plan_backfill`. Memory is the items' ids, and a block of vectors."""
    wish.check()
    if (counts is None) == (wish.order == "most-searched"):
        raise InvalidInput("the order most-searched, and no other, needs counts: give how often each item was searched")
    with home.database.reading() as session:
        case = _case(session, gallery, into, wish, among)
        found = _told(session, case, wish, among)
        _refuse_unread(home, session, case, wish)
    _refuse_elsewhere(home, case)
    ids = missing(home, case.gallery, case.segment)
    if not len(ids):
        raise InvalidInput(f"every item of {gallery} has a vector of {found.version}: there is nothing to re-embed")
    order = _ordered(home, case, found, ids, counts)
    if found.benchmark == gallery:
        order = probes_first(order, wish.seed)
    made = replace(found, total=len(order))
    if dry_run:
        return made
    data = items.dumps(pa.table({"id": order}))
    home.keep_order(made.id, data)  # before the fact is: a crash between leaves a file that nobody refers to
    settings = {**{name: getattr(made, name) for name in _SETTINGS}, "seen": case.states}
    with home.database.writing() as session:
        return backfills.add(session, made, items.digest_of(data), settings)


def _case(session: Session, gallery: str, into: str, wish: Wish, among: Collection[str] | None) -> _Case:
    row, new = galleries.gallery(session, gallery), models.find(session, into)
    segment = next((s for s in row.segments if s.version_id == new.id), None)
    if segment is not None and segment.backend is not None:
        raise InvalidInput(f"the vectors of {new.ref} in {gallery} are in an engine of yours: re-embed them there")
    others = [s for s in row.segments if s.version_id != new.id and s.rows]
    old = max(others, key=lambda s: s.rows, default=None)
    return _Case(row, new, segment, old, _newest(session, new, old, wish.benchmark, among) if old else None)


def _refuse_unread(home: Home, session: Session, case: _Case, wish: Wish) -> None:
    """Refuse to measure on the gallery itself where the new version's queries may not search it: each measurement would fail."""
    if wish.benchmark != case.gallery.name:
        return
    graph = home.graphs.of(session)
    for stored in case.gallery.segments:
        if stored.rows and stored.version_id != case.new.id:
            paths.best_meeting(session, graph, case.new.ref, stored.version.ref, allow_unmeasured=False)


def _refuse_elsewhere(home: Home, case: _Case) -> None:
    """Refuse where items are not written down here: steps of a run look at those that are."""
    members = members_of(home, case.gallery)
    away = members.alone(held_in(members.attached)) if members.attached else 0
    if away:
        raise InvalidInput(
            f"{away:,} items of {case.gallery.name} are in an attached store alone, which no backfill reads: append their vectors "
            f"of {case.new.ref}, which writes them down here"
        )


def _newest(
    session: Session, new: VersionRow, old: SegmentRow, benchmark: str | None, among: Collection[str] | None
) -> Evaluation | None:
    """The newest cell of new queries on old vectors: on the benchmark that is named if there is one, of what may be told of."""
    if benchmark is not None and not galleries.gallery(session, benchmark).labels:
        raise InvalidInput(f"{benchmark} has no labels, so nothing can be measured on it: name a benchmark")
    cells = evidence.evaluations(
        session, metric=evidence.RANKING_METRIC, queries=[new.id], stored=[old.version_id]
    ).items
    seen = [cell for cell in cells if among is None or cell.benchmark in among]
    return max(seen, key=lambda cell: (cell.benchmark == benchmark, cell.created_at), default=None)


def _told(session: Session, case: _Case, wish: Wish, among: Collection[str] | None) -> Backfill:
    """The plan, before anything of the order is known."""
    old = case.old.version.ref if case.old else None
    label = wish.label
    if wish.benchmark is not None:
        row = galleries.gallery(session, wish.benchmark)
        label = evidence.label_column(row, label)
        if row.id != case.gallery.id:
            benchmarks.embedded(row, [ref for ref in (old, case.new.ref) if ref])
    elif label is not None:
        label = evidence.label_column(case.gallery, label)
    predicted, study = _predicted(session, case, wish, among)
    moment = now()
    return Backfill(
        id=f"backfill-{uuid4().hex[:16]}", gallery=case.gallery.name, version=case.new.ref, old=old, status="planned",
        encoder=wish.encoder, inputs=wish.inputs, order=wish.order, seed=wish.seed, batch=wish.batch, rate=wish.rate,
        stop_at=wish.stop_at, benchmark=wish.benchmark, label=label, total=0, done=0, written=0, predicted=predicted,
        predicted_from=study, measured={}, advice=_advice(session, case, old),
        evidence=case.cell.benchmark if case.cell else None, pace=None, error=None, runner=None, runs_until=None,
        created_at=moment, changed_at=moment,
    )  # fmt: skip


def _advice(session: Session, case: _Case, old: str | None) -> str:
    """Whether it is worth it, by the newest measurement."""
    if old is None:
        return "nothing else is stored here: there is nothing to compare with"
    if case.cell is None:
        run = f"'samespace evaluate BENCHMARK --version {old} --version {case.new.ref}'"
        return f"nobody measured whether it is worth it: run {run}"
    try:
        found = advice.compare(session, old, case.new.ref, benchmark=case.cell.benchmark, label=case.cell.label)
    except NotFound as error:  # its cells are not all there
        return f"nobody measured whether it is worth it: {error}"
    if found.advice == "backfill":
        return f"worth it: {found.reason}"
    return f"not worth it, the advice is to {found.advice}: {found.reason}"


def _predicted(
    session: Session, case: _Case, wish: Wish, among: Collection[str] | None
) -> tuple[Mapping[str, Curve], str | None]:
    """The curves of the newest study of the pair that measured this order, and the study."""
    if case.old is None:
        return {}, None
    pair = {"old": case.old.version.ref, "new": case.new.ref, "benchmark": case.cell.benchmark if case.cell else None}
    for study in studies.studies(session, **pair, limit=_STUDIES_LOOKED_AT).items:
        found = {f.metric: f.curve for f in study.filling if f.order == wish.order}
        if found and (among is None or study.benchmark in among):
            return found, study.id
    return {}, None


def _ordered(home: Home, case: _Case, found: Backfill, ids: pa.Array, counts: Counts | None) -> pa.Array:
    """The ids, first to be re-embedded first; random where nothing else tells them apart."""
    ids = orders.shuffled(ids, found.seed)
    if found.order == "random":
        return ids
    if counts is not None:
        counted, many = _counted(case.gallery, counts)
        return orders.first_of(ids, orders.by_counts(ids, counted, many))
    if case.old is None:
        raise InvalidInput(f"the order {found.order} looks at older vectors, {found.gallery} has none: take random")
    stored = home.stored(case.gallery, case.old)
    if found.order == "uncertainty":
        bench, path, metric = _evidence(home, case, found)
        return orders.first_of(ids, orders.by_uncertainty(home, bench, path, metric, stored, ids))
    codes = None
    if case.gallery.labels:
        named = found.label is not None and found.label in case.gallery.labels
        label = str(found.label if named else case.gallery.labels[0])
        column = home.items(found.gallery).take(ids, case.gallery.items_version, [label])[label].combine_chunks()
        codes = column.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    metric_of: Metric = case.old.version.metric  # type: ignore[assignment]  # a column holds text
    return orders.first_of(ids, orders.by_distance(stored, metric_of, ids, codes, found.seed))


def _evidence(home: Home, case: _Case, found: Backfill) -> tuple[benchmarks.Bench, Path, Metric]:
    """The benchmark that both versions embedded, the path between them, and the metric where it ends."""
    name = found.benchmark or found.evidence
    if name is None or found.old is None:
        raise InvalidInput(
            f"the order uncertainty is predicted on a benchmark that {found.old} and {found.version} embedded: name one"
        )
    with home.database.reading() as session:
        row = galleries.gallery(session, name)
        refs = benchmarks.embedded(row, [found.old, found.version])
        path = paths.best_meeting(
            session, home.graphs.of(session), found.version, found.old, allow_unmeasured=False, beside=True
        )
        metric = transforms.space_facts(session, path.space)[1]
    return benchmarks.load(home, row, refs, [], most=MOST_ITEMS, seed=found.seed), path, metric


def _counted(gallery: GalleryRow, counts: Counts) -> tuple[pa.Array, Any]:
    """Ids and counts, checked."""
    ids, many = (list(counts), list(counts.values())) if isinstance(counts, Mapping) else counts
    column = id_column(gallery.id_type, ids)
    values = np.asarray(many, dtype=np.float64)
    if values.shape != (len(column),) or not np.isfinite(values).all() or (values < 0).any():
        raise InvalidInput(
            f"counts must be a number of 0 or more for each of {len(column)} ids, got shape {values.shape}"
        )
    return column, values
