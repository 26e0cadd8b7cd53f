"""What of the registry a caller sees: the models and galleries that its token covers, and what is of these alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from registry.refs import is_relative
from registry.types import (
    AnchorSet,
    Backfill,
    Change,
    Check,
    Evaluation,
    Gallery,
    Item,
    Matrix,
    Model,
    Path,
    Segment,
    Study,
    TransformInfo,
    Version,
)
from web.access import Caller

__all__ = [
    "anchor_sets", "backfills", "changes", "encoder_checks", "evaluations", "galleries", "items", "matrix", "models", "path", "paths",
    "studies", "transforms", "version", "versions",
]  # fmt: skip


def models(caller: Caller, found: Iterable[Model]) -> list[Model]:
    """The models that are covered."""
    return [m for m in found if caller.sees_model(m.name)]


def versions(caller: Caller, found: Iterable[Version]) -> list[Version]:
    """The versions of models that are covered."""
    return [version(caller, v) for v in found if caller.sees_model(v.model)]


def version(caller: Caller, found: Version) -> Version:
    """A version that is covered; its parent only if that is, too."""
    is_seen = found.parent is None or _sees_version(caller, found.parent)
    return found if is_seen else replace(found, parent=None)


def galleries(caller: Caller, found: Iterable[Gallery]) -> list[Gallery]:
    """The galleries that are covered, with what models that are covered wrote into them."""
    return [
        replace(g, segments=tuple(_segment(caller, s) for s in g.segments if _sees_version(caller, s.version)))
        for g in found
        if caller.sees_gallery(g.name)
    ]


def items(caller: Caller, found: Iterable[Item]) -> list[Item]:
    """Items of a gallery that is covered, with those of the versions that embedded them whose models are."""
    return [replace(i, versions=tuple(v for v in i.versions if _sees_version(caller, v))) for i in found]


def anchor_sets(caller: Caller, found: Iterable[AnchorSet]) -> list[AnchorSet]:
    """The anchor sets of galleries that are covered."""
    return [a for a in found if caller.sees_gallery(a.gallery)]


def transforms(caller: Caller, found: Iterable[TransformInfo], sets: Iterable[AnchorSet]) -> list[TransformInfo]:
    """The transforms between spaces of models that are covered, and into the spaces of the anchor sets that are seen."""
    if caller.unlimited:
        return list(found)
    spaces = {a.space for a in sets}
    return [t for t in found if all(_sees_space(caller, space, spaces) for space in (t.source, t.target))]


def evaluations(caller: Caller, found: Iterable[Evaluation]) -> list[Evaluation]:
    """What was measured of models that are covered, on galleries that are."""
    return [e for e in found if caller.sees_gallery(e.benchmark) and _sees_both(caller, e)]


def studies(caller: Caller, found: Iterable[Study]) -> list[Study]:
    """The studies of models that are covered, on benchmarks that are."""
    return [
        s
        for s in found
        if caller.sees_gallery(s.benchmark) and _sees_version(caller, s.old) and _sees_version(caller, s.new)
    ]


def backfills(caller: Caller, found: Iterable[Backfill]) -> list[Backfill]:
    """The backfills of galleries that are covered, by models that are, without what rests on others."""
    return [_backfill(caller, b) for b in found if caller.sees_gallery(b.gallery) and _sees_version(caller, b.version)]


def _backfill(caller: Caller, found: Backfill) -> Backfill:
    if found.old is not None and not _sees_version(caller, found.old):
        found = replace(found, old=None, advice="", predicted={}, predicted_from=None, evidence=None)
    if found.evidence is not None and not caller.sees_gallery(found.evidence):
        found = replace(found, advice="", predicted={}, predicted_from=None, evidence=None)
    if found.benchmark is not None and not caller.sees_gallery(found.benchmark):
        found = replace(found, benchmark=None, label=None, stop_at=None, measured={})
    return found


def matrix(caller: Caller, found: Matrix) -> Matrix:
    """The rows and columns of models that are covered."""
    return replace(
        found,
        versions=tuple(v for v in found.versions if _sees_version(caller, v)),
        evaluations=tuple(e for e in found.evaluations if _sees_both(caller, e)),
    )


def paths(caller: Caller, found: Mapping[str, Path]) -> dict[str, Path]:
    """The paths to what versions that are covered stored, by version, each as `path` gives it."""
    return {ref: path(caller, way) for ref, way in found.items() if _sees_version(caller, ref)}


def path(caller: Caller, found: Path) -> Path:
    """A path; what it was measured by only if that is a benchmark that is covered."""
    is_seen = found.evidence is None or caller.sees_gallery(found.evidence.benchmark)
    return found if is_seen else replace(found, evidence=None)


def encoder_checks(caller: Caller, found: Iterable[Check]) -> list[Check]:
    """The checks of encoders of models that are covered."""
    return [c for c in found if _sees_version(caller, c.version)]


def changes(caller: Caller, found: Iterable[Change]) -> list[Change]:
    """The audit log, which names models and galleries of all kinds: for callers who see everything."""
    return list(found) if caller.unlimited else []


def _segment(caller: Caller, found: Segment) -> Segment:
    """A segment; where it lives, if that is elsewhere, is for those who look after it."""
    return found if found.where is None or caller.role == "admin" else replace(found, where=None)


def _sees_both(caller: Caller, e: Evaluation) -> bool:
    return _sees_version(caller, e.query) and _sees_version(caller, e.gallery)


def _sees_version(caller: Caller, ref: str) -> bool:
    """Of `products/2`, or of a prefix of it."""
    return caller.sees_model(ref.partition("/")[0])


def _sees_space(caller: Caller, space: str, sets: Collection[str]) -> bool:
    return space in sets if is_relative(space) else _sees_version(caller, space)
