"""Evidence: the measured cells, and the matrix that they make."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Select, false, func, or_, select
from sqlalchemy.orm import Session, aliased

from registry.calibration import Knots
from registry.errors import InvalidInput, NotFound
from registry.paths import joined_chain, split_chain
from registry.services import calibrations, galleries, models, pages
from registry.services.audit import record
from registry.services.webhooks import emit
from registry.tables import EvaluationRow, GalleryRow, ModelRow, VersionRow
from registry.types import DECIDING_METRICS, METRIC_NAMES, Evaluation, Matrix, Page

__all__ = ["RANKING_METRIC", "evaluations", "label_column", "matrix", "of_measurements", "store"]

RANKING_METRIC = "map"
"""What paths are ranked by: mAP looks at the whole ranking, so it tells near-equal paths apart where CMC@1 ties."""

_PAIR = ("benchmark_id", "label", "query_id", "gallery_id")


def store(session: Session, found: Sequence[Evaluation], lines: Mapping[int, Knots] | None = None) -> None:
    """Keep measured cells, and by their places the `lines` that calibrate the scores of some of them."""
    refs = {ref for e in found for ref in (e.query, e.gallery)}
    ids = {ref: models.find(session, ref).id for ref in refs}
    benchmark = galleries.gallery(session, found[0].benchmark)
    before = _standing(session, benchmark.id, found[0].label, ids)
    calibrated: dict[EvaluationRow, Knots] = {}
    for place, e in enumerate(found):
        row = EvaluationRow(
            benchmark_id=benchmark.id,
            query_id=ids[e.query],
            gallery_id=ids[e.gallery],
            label=e.label,
            metric=e.metric,
            role=e.role,
            query_path=joined_chain(e.query_path),
            gallery_path=joined_chain(e.gallery_path),
            kinds=list(e.kinds),
            value=e.value,
            low=e.low,
            high=e.high,
            gain=e.gain,
            gain_low=e.gain_low,
            gain_high=e.gain_high,
            verdict=e.verdict,
            queries=e.queries,
            items=e.items,
            seed=e.seed,
            measurement=e.measurement,
            created_at=e.created_at,
        )
        session.add(row)
        if lines and place in lines:
            calibrated[row] = lines[place]
    calibrations.add(session, calibrated)
    details = {"versions": sorted(refs), "cells": len(found), "label": found[0].label}
    record(session, "benchmark.evaluated", benchmark.name, details)
    if changed := list(_changed(before, found)):
        emit(session, "verdict.changed", benchmark.name, {"label": found[0].label, "changes": changed})


_Standing = Mapping[tuple[str, str, str], str]
"""(query, gallery, metric) -> the verdict on the best way to compare the two."""


def _standing(session: Session, benchmark: int, label: str, ids: Mapping[str, int]) -> _Standing:
    """The verdicts that the newest measurements of these versions with each other came to, in one statement."""
    cells = select(
        EvaluationRow.query_id,
        EvaluationRow.gallery_id,
        EvaluationRow.metric,
        EvaluationRow.role,
        EvaluationRow.value,
        EvaluationRow.verdict,
    ).where(
        EvaluationRow.benchmark_id == benchmark,
        EvaluationRow.label == label,
        EvaluationRow.query_id.in_(ids.values()),
        EvaluationRow.gallery_id.in_(ids.values()),
        EvaluationRow.metric.in_(DECIDING_METRICS),
        _is_newest(),
    )
    refs = {number: ref for ref, number in ids.items()}
    return _best((refs[query], refs[gallery], *rest) for query, gallery, *rest in session.execute(cells))


def _best(cells: Iterable[tuple[Any, ...]]) -> _Standing:
    """Of (query, gallery, metric, role, value, verdict) the verdicts of the best cells, as `Matrix.cell` chooses them."""
    ordered = sorted(cells, key=lambda cell: (cell[3] != "naive", cell[4]))
    return {cell[:3]: cell[5] for cell in ordered if cell[5] is not None}


def _changed(before: _Standing, found: Sequence[Evaluation]) -> Iterator[Mapping[str, Any]]:
    """The verdicts on what decides that are not what they were; `from` is None for the first one."""
    cells = ((e.query, e.gallery, e.metric, e.role, e.value, e.verdict) for e in found if e.metric in DECIDING_METRICS)
    for (query, gallery, metric), verdict in _best(cells).items():
        old = before.get((query, gallery, metric))
        if verdict != old:
            yield {"query": query, "gallery": gallery, "metric": metric, "from": old, "to": verdict}


def evaluations(
    session: Session,
    *,
    benchmark: str | None = None,
    label: str | None = None,
    metric: str | None = None,
    measurement: str | None = None,
    queries: Collection[int] | None = None,
    stored: Collection[int] | None = None,
    where: Sequence[ColumnElement[bool]] = (),
    after: str | None = None,
    limit: int | None = None,
) -> Page[Evaluation]:
    """Of each query version x gallery version the newest measurement, by benchmark and label column.

    Optionally of one benchmark, label column and metric only, of some versions (row ids) on either side, of cells that
    are as `where` says, or of one `measurement`, newest or not. While pages are read, cells of a new measurement come in place of those that they
    replace, unless their pair was read already.
    """
    if metric is not None and metric not in METRIC_NAMES:
        raise InvalidInput(f"metric {metric!r:.80} is not measured: use one of {', '.join(METRIC_NAMES)}")
    whole = _cells()
    if measurement is not None:
        whole = whole.where(EvaluationRow.measurement == measurement)
    else:
        whole = whole.where(_is_newest())
    for column, ids in ((EvaluationRow.query_id, queries), (EvaluationRow.gallery_id, stored)):
        if ids is not None:
            whole = whole.where(column.in_(ids))
    whole = whole.where(*where)
    if benchmark is not None:
        row = galleries.gallery(session, benchmark, segments=False)
        whole = whole.where(EvaluationRow.benchmark_id == row.id)
        label = label_column(row, label) if label is not None else None
    if metric is not None:
        whole = whole.where(EvaluationRow.metric == metric)
    if label is not None:
        whole = whole.where(EvaluationRow.label == label)
    # Pair by pair, since in the order of measuring a page could have to pass over years of older ones.
    return pages.read(session, whole, _to_evaluation, of="evaluations", keys=_keys(), after=after, limit=limit)


def of_measurements(session: Session, wanted: Collection[tuple[str, int, int]]) -> list[Evaluation]:
    """Of each (measurement, version, version), by row ids, the cells of those two, with each other and each with itself.

    One statement, in the order of `evaluations`.
    """
    cell = EvaluationRow
    each = ((cell.measurement == name) & cell.query_id.in_(both) & cell.gallery_id.in_(both) for name, *both in wanted)
    rows = session.execute(_cells().where(or_(false(), *each)).order_by(*_keys()))
    return [_to_evaluation(*row) for row in rows]


def _cells() -> Select[Any]:
    """Cells, column by column as `_to_evaluation` takes them: as entities thousands of them would take thrice the time."""
    cell, benchmark, query, stored = EvaluationRow, aliased(GalleryRow), aliased(VersionRow), aliased(VersionRow)
    query_model, stored_model = aliased(ModelRow), aliased(ModelRow)
    names = (benchmark.name, query_model.name, query.number, stored_model.name, stored.number)
    return (
        select(*names, cell.kinds, cell.query_path, cell.gallery_path, *(getattr(cell, name) for name in _PLAIN))
        .join(benchmark, benchmark.id == cell.benchmark_id)
        .join(query, query.id == cell.query_id)
        .join(query_model, query_model.id == query.model_id)
        .join(stored, stored.id == cell.gallery_id)
        .join(stored_model, stored_model.id == stored.model_id)
        .select_from(cell)
    )


def _keys() -> pages.Keys:
    return (*(getattr(EvaluationRow, key) for key in _PAIR), EvaluationRow.id)


def _is_newest() -> ColumnElement[bool]:
    """Whether a cell is of its pair's newest measurement, looked up cell by cell: a page looks up its own only.

    A measurement stores all cells of a pair one after the other, so the newest cell tells the newest measurement.
    """
    other = aliased(EvaluationRow)
    same = [getattr(other, key) == getattr(EvaluationRow, key) for key in _PAIR]
    newest = select(other.measurement).where(*same).order_by(other.id.desc()).limit(1).correlate(EvaluationRow)
    # Without `coalesce` PostgreSQL takes that for a rare coincidence, and for one page looks at every cell there is.
    return func.coalesce(EvaluationRow.measurement == newest.scalar_subquery(), false())


def matrix(
    session: Session, benchmark: str, *, metric: str, label: str | None, versions: Sequence[str] | None = None
) -> Matrix:
    """The compatibility matrix of a benchmark for one label column, by default its first; best cells first.

    Of all versions measured there, or of `versions` with each other, measured or not, without reading the rest.
    """
    label = label_column(galleries.gallery(session, benchmark, segments=False), label)
    ids = None if versions is None else models.ids(session, versions)
    some = None if ids is None else ids.values()
    found = evaluations(session, benchmark=benchmark, label=label, metric=metric, queries=some, stored=some).items
    shown = sorted({e.query for e in found} if ids is None else ids, key=release_order)
    order = sorted(
        found,
        key=lambda e: (release_order(e.query), release_order(e.gallery), e.role == "naive", e.role != "self", -e.value),
    )
    return Matrix(benchmark=benchmark, label=label, metric=metric, versions=tuple(shown), evaluations=tuple(order))


def label_column(row: GalleryRow, label: str | None) -> str:
    """The label column that is meant: the first if none is named."""
    if not row.labels:
        raise InvalidInput(
            f"gallery {row.name} has no labels, so nothing can be measured on it: use one created with labels=[...]"
        )
    if label is not None and label not in row.labels:
        raise NotFound(f"benchmark {row.name} has no label column {label!r:.80}: it has {', '.join(row.labels)}")
    return label or str(row.labels[0])


def release_order(ref: str) -> tuple[str, int]:
    """A sort key that puts `products/10` behind `products/9`."""
    model, _, number = ref.partition("/")
    return model, int(number)


def _to_evaluation(
    benchmark: str, query_model: str, query: int, stored_model: str, stored: int, kinds: Sequence[str], query_path: str,
    gallery_path: str, *plain: Any,
) -> Evaluation:  # fmt: skip
    return Evaluation(
        benchmark=benchmark, query=f"{query_model}/{query}", gallery=f"{stored_model}/{stored}", kinds=tuple(kinds),
        query_path=split_chain(query_path), gallery_path=split_chain(gallery_path),
        **dict(zip(_PLAIN, plain, strict=True)),
    )  # fmt: skip


_DERIVED = ("benchmark", "query", "gallery", "query_path", "gallery_path", "kinds")
_PLAIN = tuple(f.name for f in fields(Evaluation) if f.name not in _DERIVED)
