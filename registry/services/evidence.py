"""Evidence: the measured cells, and the matrix that they make."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, false, func, select
from sqlalchemy.orm import Session, aliased, defaultload

from registry.errors import InvalidInput, NotFound
from registry.services import galleries, models, pages
from registry.services.audit import record
from registry.services.webhooks import emit
from registry.tables import EvaluationRow, GalleryRow, VersionRow
from registry.types import DECIDING_METRICS, METRIC_NAMES, Evaluation, Matrix, Page

__all__ = ["RANKING_METRIC", "evaluations", "label_column", "matrix", "split_chain", "store"]

RANKING_METRIC = "map"
"""What paths are ranked by: mAP looks at the whole ranking, so it tells near-equal paths apart where CMC@1 ties."""

_CHAIN = ">"
_PAIR = ("benchmark_id", "label", "query_id", "gallery_id")


def store(session: Session, found: Sequence[Evaluation]) -> None:
    """Keep measured cells."""
    refs = {ref for e in found for ref in (e.query, e.gallery)}
    ids = {ref: models.find(session, ref).id for ref in refs}
    benchmark = galleries.gallery(session, found[0].benchmark)
    before = _standing(session, benchmark.id, found[0].label, ids)
    for e in found:
        session.add(
            EvaluationRow(
                benchmark_id=benchmark.id,
                query_id=ids[e.query],
                gallery_id=ids[e.gallery],
                label=e.label,
                metric=e.metric,
                role=e.role,
                query_path=_CHAIN.join(e.query_path),
                gallery_path=_CHAIN.join(e.gallery_path),
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
        )
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
    after: str | None = None,
    limit: int | None = None,
) -> Page[Evaluation]:
    """Of each query version x gallery version the newest measurement, by benchmark and label column.

    Optionally of one benchmark, label column and metric only, of some versions (row ids) on either side, or of one
    `measurement`, newest or not. While pages are read, cells of a new measurement come in place of those that they
    replace, unless their pair was read already.
    """
    if metric is not None and metric not in METRIC_NAMES:
        raise InvalidInput(f"metric {metric!r:.80} is not measured: use one of {', '.join(METRIC_NAMES)}")
    whole = select(EvaluationRow).options(  # of benchmarks and versions nothing but the names
        defaultload(EvaluationRow.benchmark).load_only(GalleryRow.name).lazyload(GalleryRow.segments),
        defaultload(EvaluationRow.query).load_only(VersionRow.number),
        defaultload(EvaluationRow.gallery).load_only(VersionRow.number),
    )
    if measurement is not None:
        whole = whole.where(EvaluationRow.measurement == measurement)
    else:
        whole = whole.where(_is_newest())
    for column, ids in ((EvaluationRow.query_id, queries), (EvaluationRow.gallery_id, stored)):
        if ids is not None:
            whole = whole.where(column.in_(ids))
    if benchmark is not None:
        row = galleries.gallery(session, benchmark)
        whole = whole.where(EvaluationRow.benchmark_id == row.id)
        label = label_column(row, label) if label is not None else None
    if metric is not None:
        whole = whole.where(EvaluationRow.metric == metric)
    if label is not None:
        whole = whole.where(EvaluationRow.label == label)
    # Pair by pair, since in the order of measuring a page could have to pass over years of older ones.
    keys = (*(getattr(EvaluationRow, key) for key in _PAIR), EvaluationRow.id)
    return pages.read(session, whole, _to_evaluation, of="evaluations", keys=keys, after=after, limit=limit)


def _is_newest() -> ColumnElement[bool]:
    """Whether a cell is of its pair's newest measurement, looked up cell by cell: a page looks up its own only.

    A measurement stores all cells of a pair one after the other, so the newest cell tells the newest measurement.
    """
    other = aliased(EvaluationRow)
    same = [getattr(other, key) == getattr(EvaluationRow, key) for key in _PAIR]
    newest = select(other.measurement).where(*same).order_by(other.id.desc()).limit(1).correlate(EvaluationRow)
    # Without `coalesce` PostgreSQL takes that for a rare coincidence, and for one page looks at every cell there is.
    return func.coalesce(EvaluationRow.measurement == newest.scalar_subquery(), false())


def matrix(session: Session, benchmark: str, *, metric: str, label: str | None) -> Matrix:
    """The compatibility matrix of a benchmark for one label column, by default its first; best cells first."""
    label = label_column(galleries.gallery(session, benchmark), label)
    found = evaluations(session, benchmark=benchmark, label=label, metric=metric).items
    versions = sorted({e.query for e in found}, key=release_order)
    order = sorted(
        found,
        key=lambda e: (release_order(e.query), release_order(e.gallery), e.role == "naive", e.role != "self", -e.value),
    )
    return Matrix(benchmark=benchmark, label=label, metric=metric, versions=tuple(versions), evaluations=tuple(order))


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


def _to_evaluation(row: EvaluationRow) -> Evaluation:
    plain = {f.name: getattr(row, f.name) for f in fields(Evaluation) if f.name not in _DERIVED}
    return Evaluation(
        benchmark=row.benchmark.name, query=row.query.ref, gallery=row.gallery.ref, kinds=tuple(row.kinds),
        query_path=split_chain(row.query_path), gallery_path=split_chain(row.gallery_path), **plain,
    )  # fmt: skip


_DERIVED = ("benchmark", "query", "gallery", "query_path", "gallery_path", "kinds")


def split_chain(chain: str) -> tuple[str, ...]:
    """The steps of a path's side as they are stored."""
    return tuple(chain.split(_CHAIN)) if chain else ()
