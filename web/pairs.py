"""Two versions that a page compares: where they are measured, what they stored, and the comparison that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from registry.errors import InvalidInput
from registry.services import advice, evidence, galleries, models, pairs
from registry.services.pairs import Place
from registry.tables import GalleryRow
from registry.types import Comparison
from web.access import Caller
from web.next_steps import Stored

__all__ = ["Pair", "read"]


@dataclass(frozen=True, slots=True)
class Pair:
    """An old version and a new one, by their numbers.

    `places` is where they are measured, the newest measurement first; `place` the one that is shown, None where the
    benchmark that was asked for, or any, is still to be measured. `benchmarks` hold vectors of both, the one that was asked
    for first; `label` is the column that was asked for.
    """

    old: str
    new: str
    places: Sequence[Place]
    place: Place | None
    comparison: Comparison | None
    stored: Stored
    benchmarks: Sequence[str]
    label: str | None


def read(session: Session, who: Caller, old: str, new: str, *, benchmark: str | None, label: str | None) -> Pair:
    """What the caller sees of a pair, in a number of statements that does not depend on what there is.

    Raises:
        NotFound: an unknown version or benchmark.
        InvalidInput: one version twice, or a benchmark without labels.
    """
    before, after = models.find(session, old), models.find(session, new)
    if before.id == after.id:
        raise InvalidInput(f"a comparison needs two versions, got {before.ref} twice: choose another one")
    if benchmark is not None:
        label = _label(galleries.gallery(session, benchmark, segments=False), label)
    places = pairs.places(session, old=before.id, new=after.id, galleries=who.galleries)
    place = next((p for p in places if benchmark in (None, p.benchmark) and label in (None, p.label)), None)
    comparison = (
        advice.compare(session, before.ref, after.ref, benchmark=place.benchmark, label=place.label) if place else None
    )
    stored, benchmarks = _stored(session, who, before.id, after.id)
    benchmarks.sort(key=lambda name: (name != benchmark, name))
    return Pair(before.ref, after.ref, places, place, comparison, stored, benchmarks, label)


def _label(row: GalleryRow, label: str | None) -> str | None:
    """The label column asked for. A form sends one of the benchmark shown before: it means nothing on another."""
    evidence.label_column(row, None)  # what has none is no benchmark
    return label if label in row.labels else None


def _stored(session: Session, who: Caller, old: int, new: int) -> tuple[Stored, list[str]]:
    """What is stored in galleries that are covered. A benchmark is embedded to measure, not to be searched."""
    found = pairs.stored(session, [old, new], galleries=who.galleries)
    by_new = {s.gallery for s in found if s.version == new}
    olds = [s for s in found if s.version == old]
    stored = Stored(
        rows={s.gallery: s.rows for s in olds if not s.is_benchmark},
        both=[s.gallery for s in olds if s.gallery in by_new and not s.is_benchmark],
        aliases=pairs.aliases(session, old),
    )
    return stored, [s.gallery for s in olds if s.is_benchmark and s.gallery in by_new]
