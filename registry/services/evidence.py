"""Evidence: the measured cells, and the matrix that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session, defaultload

from registry.errors import InvalidInput, NotFound
from registry.services import galleries, models
from registry.services.audit import record
from registry.tables import EvaluationRow, GalleryRow
from registry.types import METRIC_NAMES, Evaluation, Matrix

__all__ = ["RANKING_METRIC", "evaluations", "label_column", "matrix", "split_chain", "store"]

RANKING_METRIC = "map"
"""What paths are ranked by: mAP looks at the whole ranking, so it tells near-equal paths apart where CMC@1 ties."""

_CHAIN = ">"


def store(session: Session, found: Sequence[Evaluation]) -> None:
    """Keep measured cells."""
    refs = {ref for e in found for ref in (e.query, e.gallery)}
    ids = {ref: models.find(session, ref).id for ref in refs}
    benchmark = galleries.gallery(session, found[0].benchmark)
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


def evaluations(
    session: Session,
    *,
    benchmark: str | None = None,
    label: str | None = None,
    metric: str | None = None,
    measurement: str | None = None,
) -> list[Evaluation]:
    """Of each query version x gallery version the newest measurement, by benchmark and label column.

    Optionally of one benchmark, label column and metric only, or of one `measurement`, newest or not.
    """
    if metric is not None and metric not in METRIC_NAMES:
        raise InvalidInput(f"metric {metric!r:.80} is not measured: use one of {', '.join(METRIC_NAMES)}")
    pair = (EvaluationRow.benchmark_id, EvaluationRow.label, EvaluationRow.query_id, EvaluationRow.gallery_id)
    # A measurement stores all cells of a pair one after the other, so the newest cell tells the newest measurement.
    latest = select(func.max(EvaluationRow.id)).group_by(*pair)
    wanted = select(*pair, EvaluationRow.measurement).where(EvaluationRow.id.in_(latest))
    whole = select(EvaluationRow).options(defaultload(EvaluationRow.benchmark).lazyload(GalleryRow.segments))
    if measurement is not None:
        whole = whole.where(EvaluationRow.measurement == measurement)
    else:
        whole = whole.where(tuple_(*pair, EvaluationRow.measurement).in_(wanted))
    if benchmark is not None:
        row = galleries.gallery(session, benchmark)
        whole = whole.where(EvaluationRow.benchmark_id == row.id)
        label = label_column(row, label) if label is not None else None
    if metric is not None:
        whole = whole.where(EvaluationRow.metric == metric)
    if label is not None:
        whole = whole.where(EvaluationRow.label == label)
    return [_to_evaluation(row) for row in session.scalars(whole.order_by(EvaluationRow.id))]


def matrix(session: Session, benchmark: str, *, metric: str, label: str | None) -> Matrix:
    """The compatibility matrix of a benchmark for one label column, by default its first; best cells first."""
    label = label_column(galleries.gallery(session, benchmark), label)
    found = evaluations(session, benchmark=benchmark, label=label, metric=metric)
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
