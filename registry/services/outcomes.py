"""What came of runs: the versions and transforms that were registered with a run's id, and what was measured of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.refs import prefix_of
from registry.services import evidence, models, transforms
from registry.tables import ModelRow, TransformRow, VersionRow
from registry.types import Evaluation, TransformInfo

__all__ = ["Outcome", "measured", "of_models", "of_runs"]

_MOST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """The versions and transforms that one run made."""

    versions: tuple[str, ...] = ()
    transforms: tuple[TransformInfo, ...] = ()


def of_runs(session: Session, runs: Collection[str]) -> Mapping[str, Outcome]:
    """Run id -> what it made; runs that made nothing are left out."""
    versions: dict[str, list[str]] = defaultdict(list)
    maps: dict[str, list[TransformInfo]] = defaultdict(list)
    named = select(VersionRow.run_id, ModelRow.name, VersionRow.number).join(
        ModelRow, VersionRow.model_id == ModelRow.id
    )
    for run, name, number in session.execute(named.where(VersionRow.run_id.in_(runs)).order_by(VersionRow.id)):
        versions[str(run)].append(f"{name}/{number}")
    added = select(TransformRow).where(TransformRow.run_id.in_(runs)).order_by(TransformRow.created_at, TransformRow.id)
    for row in session.scalars(added):
        maps[str(row.run_id)].append(transforms.to_info(row))
    return {run: Outcome(tuple(versions[run]), tuple(maps[run])) for run in {*versions, *maps}}


def of_models(session: Session, names: Collection[str]) -> Sequence[str]:
    """The newest runs that made versions of the models `names`, or transforms that begin at one: at most 1,000."""
    made = (
        select(VersionRow.run_id)
        .join(ModelRow, VersionRow.model_id == ModelRow.id)
        .where(ModelRow.name.in_(names), VersionRow.run_id.is_not(None))
        .order_by(VersionRow.id.desc())
        .limit(_MOST_RUNS)
    )
    fitted = (
        select(TransformRow.run_id, TransformRow.source)
        .where(TransformRow.run_id.is_not(None))
        .order_by(TransformRow.created_at.desc())
        .limit(_MOST_RUNS)
    )
    runs = [str(run) for run in session.scalars(made)]
    runs += [str(run) for run, source in session.execute(fitted) if source.partition("/")[0] in names]
    return list(dict.fromkeys(runs))[:_MOST_RUNS]


def measured(session: Session, outcome: Outcome, *, metrics: Collection[str]) -> Sequence[Evaluation]:
    """The newest measurements of queries of its versions, and of paths that use its transforms."""
    ids = {t.id for t in outcome.transforms}
    sources = {(prefix_of(t.source) or (t.source,))[0] for t in outcome.transforms}
    refs = {*outcome.versions, *sources}
    if not refs:
        return ()
    queries = _row_ids(session, refs)
    found = (
        e
        for metric in metrics
        for e in evidence.evaluations(session, metric=metric, queries=queries).items
        if e.query in outcome.versions or ids & {*e.query_path, *e.gallery_path}
    )
    return sorted(
        found,
        key=lambda e: (
            e.benchmark,
            e.label,
            evidence.release_order(e.query),
            evidence.release_order(e.gallery),
            e.role,
            -e.value,
        ),
    )


def _row_ids(session: Session, refs: Collection[str]) -> list[int]:
    return [models.fixed(session, ref).id for ref in refs]
