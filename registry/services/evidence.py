"""Evidence: measured cells, the path that they speak for, and what follows for an upgrade."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session, defaultload

from registry.errors import InvalidInput, NotFound, Unmeasured
from registry.paths import Graph, incompatible
from registry.refs import is_relative, prefix_of
from registry.services import galleries, models
from registry.services.audit import record
from registry.tables import EvaluationRow, GalleryRow
from registry.types import Advice, Comparison, Evaluation, Evidence, Matrix, Path, Verdict

__all__ = ["RANKING_METRIC", "best_lead", "best_meeting", "compare", "evaluations", "matrix", "store"]

RANKING_METRIC = "map"
"""What paths are ranked by: mAP looks at the whole ranking, so it tells near-equal paths apart where CMC@1 ties."""

DECIDING_METRICS = ("cmc@1", "map")
"""Advice needs the same verdict on both: top-1 and mAP can disagree (BCT on CIFAR-100 passes mAP and fails top-1)."""

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
    versions: Iterable[str] | None = None,
) -> list[Evaluation]:
    """The newest evaluation of each cell, optionally of one benchmark, label, metric, and between some versions only."""
    cell = (
        EvaluationRow.benchmark_id, EvaluationRow.label, EvaluationRow.query_id, EvaluationRow.gallery_id, EvaluationRow.metric,
        EvaluationRow.role, EvaluationRow.query_path, EvaluationRow.gallery_path,
    )  # fmt: skip
    newest = select(func.max(EvaluationRow.id)).group_by(*cell)
    if benchmark is not None:
        newest = newest.where(EvaluationRow.benchmark_id == galleries.gallery(session, benchmark).id)
    if metric is not None:
        newest = newest.where(EvaluationRow.metric == metric)
    if label is not None:
        newest = newest.where(EvaluationRow.label == label)
    if versions is not None:
        ids = [models.find(session, ref).id for ref in versions]
        newest = newest.where(EvaluationRow.query_id.in_(ids), EvaluationRow.gallery_id.in_(ids))
    whole = select(EvaluationRow).options(defaultload(EvaluationRow.benchmark).lazyload(GalleryRow.segments))
    rows = session.scalars(whole.where(EvaluationRow.id.in_(newest)).order_by(EvaluationRow.id))
    return [_to_evaluation(row) for row in rows]


def best_meeting(session: Session, graph: Graph, query: str, gallery: str, *, allow_unmeasured: bool) -> Path:
    """The best measured way to compare vectors of two spaces; see `_best`."""
    return _best(session, graph.meet(query, gallery), query, gallery, allow_unmeasured=allow_unmeasured, paired=True)


def best_lead(session: Session, graph: Graph, source: str, target: str, *, allow_unmeasured: bool) -> Path:
    """The best measured way to turn vectors of `source` into vectors of `target`; see `_best`."""
    return _best(session, graph.lead(source, target), source, target, allow_unmeasured=allow_unmeasured, paired=False)


def _best(
    session: Session, paths: list[Path], source: str, target: str, *, allow_unmeasured: bool, paired: bool
) -> Path:
    """The path with the best evidence, then the shortest.

    One space with itself, and a plain cut to a prefix, hold by definition and need no evidence.

    Raises:
        Incompatible: there is no path.
        Unmeasured: there is one, but no evaluation of it, and the caller does not allow that.
    """
    if not paths:
        raise incompatible(source, target, paired=paired)
    if all(_by_definition(step) for step in (*paths[0].query, *paths[0].gallery)):
        return paths[0]
    known = _evidence(session, paths, source, target, paired=paired)
    measured = [
        replace(path, evidence=known[path.query, path.gallery]) for path in paths if (path.query, path.gallery) in known
    ]
    if measured:
        return max(measured, key=lambda p: (p.evidence.value if p.evidence else 0.0, -p.length))
    if allow_unmeasured:
        return paths[0]
    raise Unmeasured(
        f"{source} reaches {target} by {paths[0]}, but nobody measured how well: run 'samespace evaluate BENCHMARK' "
        "on a benchmark that holds both versions, or pass allow_unmeasured=True"
    )


def _by_definition(step: str) -> bool:
    return step.startswith("[:")


def _evidence(
    session: Session, paths: list[Path], source: str, target: str, *, paired: bool
) -> dict[tuple[tuple[str, ...], tuple[str, ...]], Evidence]:
    """For each measured path its evaluation on the benchmark with the most queries.

    A one-sided chain (a conversion) counts as measured where an evaluation used it on either side: the same map was
    judged, whichever side it was applied to.
    """
    columns = (
        GalleryRow.name, EvaluationRow.query_id, EvaluationRow.gallery_id, EvaluationRow.query_path,
        EvaluationRow.gallery_path, EvaluationRow.value, EvaluationRow.low, EvaluationRow.high, EvaluationRow.verdict,
    )  # fmt: skip
    sides = _sides(paths)
    rows = session.execute(
        select(*columns)
        .join(GalleryRow, EvaluationRow.benchmark_id == GalleryRow.id)
        .where(EvaluationRow.role == "path", EvaluationRow.metric == RANKING_METRIC)
        .where(EvaluationRow.query_path.in_(sides) | EvaluationRow.gallery_path.in_(sides))
        .order_by(EvaluationRow.queries, EvaluationRow.id)
    )
    ids = {space: _version_id(session, space) for space in (source, target)}
    known: dict[tuple[tuple[str, ...], tuple[str, ...]], Evidence] = {}
    wanted = {(p.query, p.gallery) for p in paths}
    for benchmark, query, gallery, query_path, gallery_path, value, low, high, verdict in rows:
        evidence = Evidence(benchmark, RANKING_METRIC, value, low, high, cast("Verdict | None", verdict))
        if paired:
            if (query, gallery) == (ids[source], ids[target]) and (_split(query_path), _split(gallery_path)) in wanted:
                known[_split(query_path), _split(gallery_path)] = evidence
            continue
        for start, chain in ((query, query_path), (gallery, gallery_path)):
            if start == ids[source] and (_split(chain), ()) in wanted:
                known[_split(chain), ()] = evidence
    return known


def _version_id(session: Session, space: str) -> int | None:
    """The version whose own space this is; evaluations are between versions, not prefixes or relative spaces."""
    return None if is_relative(space) or prefix_of(space) else models.find(session, space).id


def _sides(paths: list[Path]) -> list[str]:
    return sorted({_CHAIN.join(side) for p in paths for side in (p.query, p.gallery) if side})


def matrix(session: Session, benchmark: str, *, metric: str, label: str | None) -> Matrix:
    """The compatibility matrix of a benchmark for one label column, by default its first; best cells first."""
    label = label_column(galleries.gallery(session, benchmark), label)
    found = evaluations(session, benchmark=benchmark, label=label, metric=metric)
    versions = sorted({e.query for e in found}, key=release_order)
    order = sorted(found, key=lambda e: (release_order(e.query), release_order(e.gallery), e.role == "naive", -e.value))
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


def compare(session: Session, old: str, new: str, *, benchmark: str | None, label: str | None) -> Comparison:
    """May `new` replace `old` without backfilling? From stored evidence only; nothing is computed here.

    Raises:
        NotFound: the benchmark holds no evaluation of the pair, or several benchmarks do and none was named.
    """
    old, new = models.find(session, old).ref, models.find(session, new).ref
    if old == new:
        raise InvalidInput(f"a comparison needs two versions, got {old} twice")
    found = evaluations(session, benchmark=benchmark, versions=[old, new])
    where = sorted({e.benchmark for e in found if (e.query, e.gallery) == (new, old)})
    if len(where) != 1:
        hint = (
            f"name one of {', '.join(where)}"
            if where
            else f"run 'samespace evaluate BENCHMARK --version {old} --version {new}'"
        )
        raise NotFound(f"{new} against {old} is measured on {len(where)} benchmarks: {hint}")
    label = label_column(galleries.gallery(session, where[0]), label)
    found = [e for e in found if (e.benchmark, e.label) == (where[0], label)]
    verdicts: dict[str, Verdict] = {}
    for e in sorted((e for e in found if (e.query, e.gallery, e.role) == (new, old, "path")), key=lambda e: e.value):
        verdicts[e.metric] = e.verdict or "inconclusive"  # the best path speaks last
    advice, reason = _advise(found, old, new)
    return Comparison(old, new, where[0], tuple(found), verdicts, advice, reason)


def _advise(found: list[Evaluation], old: str, new: str) -> tuple[Advice, str]:
    """The advice in design order: a trained prefix, a bridge, a backfill that pays, or none of it."""
    paths: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[str, Evaluation]] = {}
    for e in found:
        if (e.query, e.gallery, e.role) == (new, old, "path"):
            paths.setdefault((e.query_path, e.gallery_path), {})[e.metric] = e
    passing = [
        cells
        for cells in paths.values()
        if all(m in cells and cells[m].verdict == "compatible" for m in DECIDING_METRICS)
    ]
    best = max(passing, key=lambda c: (set(c["map"].kinds) == {"prefix"}, c["map"].value), default=None)
    if best is not None:
        kinds, gain = best["map"].kinds, best["map"]
        how = f"{new} beats {old} on {old}'s stored vectors by {100 * gain.gain:+.1f} points of mAP [{100 * gain.gain_low:+.1f}, {100 * gain.gain_high:+.1f}]"
        if set(kinds) == {"prefix"}:
            return "upgrade without backfill", f"{how}, read through its own prefix"
        return "bridge with a transform", f"{how}, through {' + '.join(kinds)}"
    cells = {(e.query, e.metric): e for e in found if e.role == "self"}
    pays = [
        m
        for m in DECIDING_METRICS
        if (new, m) in cells and (old, m) in cells and cells[new, m].low > cells[old, m].high
    ]
    missed = _nearest_miss(list(paths.values()), old)
    if pays:
        return "backfill", f"{missed}, but re-embedding gains surely on {', '.join(pays)}"
    return "stay", f"{missed}, and even re-embedding everything shows no sure gain over {old}"


def _nearest_miss(paths: list[dict[str, Evaluation]], old: str) -> str:
    """Why no path is good enough, told of the one that comes closest."""
    best = max(paths, key=lambda c: (sum(e.verdict == "compatible" for e in c.values()), c["map"].value), default=None)
    if best is None:
        return f"no path leads to {old}'s vectors"
    failed = [f"{best[m].verdict} on {m}" for m in DECIDING_METRICS if m in best and best[m].verdict != "compatible"]
    return f"the best way to read {old}'s vectors, {' + '.join(best['map'].kinds)}, is {' and '.join(failed)}"


def _to_evaluation(row: EvaluationRow) -> Evaluation:
    plain = {f.name: getattr(row, f.name) for f in fields(Evaluation) if f.name not in _DERIVED}
    return Evaluation(
        benchmark=row.benchmark.name, query=row.query.ref, gallery=row.gallery.ref, kinds=tuple(row.kinds),
        query_path=_split(row.query_path), gallery_path=_split(row.gallery_path), **plain,
    )  # fmt: skip


_DERIVED = ("benchmark", "query", "gallery", "query_path", "gallery_path", "kinds")


def _split(chain: str) -> tuple[str, ...]:
    return tuple(chain.split(_CHAIN)) if chain else ()
