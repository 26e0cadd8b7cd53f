"""Searching a gallery with one query as two versions: which query, where it is from, and what each version finds."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from registry.errors import Incompatible, InvalidInput, Unmeasured
from registry.services import galleries, models, pairs, readers
from registry.types import Gallery, Item
from registry.vectors import Array
from web import visible
from web.access import Caller
from web.matrices import State
from web.ranked import Found

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from registry.embedded import Registry

__all__ = ["Place", "Query", "Version", "check_source", "found", "item_query", "place"]

_COMMAND = re.compile(r"'(samespace [^']+)'")
_SUGGESTED = 50


@dataclass(frozen=True, slots=True)
class Version:
    """A version that embeds the query."""

    ref: str
    id: int
    dim: int


@dataclass(frozen=True, slots=True)
class Place:
    """What is searched, as which versions, and the galleries in which both embedded items: the default first."""

    gallery: Gallery
    hidden: Collection[str]
    old: Version | None
    new: Version | None
    sources: Sequence[str]
    suggested: Sequence[str]


@dataclass(frozen=True, slots=True)
class Query:
    """A query: by version its vector, and the item that it is, if it is one, of the gallery `source`."""

    vectors: Mapping[str, Array]
    says: str
    item: Item | None = None
    source: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


def place(registry: Registry, session: Session, who: Caller, name: str, old: str | None, new: str | None) -> Place:
    """What the caller sees of a gallery; versions that were not asked for are those that an upgrade would be about.

    Old is then the version that stored the most, new the version in use, or else the newest that reads the gallery.
    """
    row = galleries.gallery(session, name)
    whole = galleries.to_gallery(row)
    seen = visible.galleries(who, [whole])[0]
    held = readers.stored(session, name, among=who.models)
    reading = readers.readers(session, registry.graph(session), held[:1], limit=_SUGGESTED, among=who.models)
    suggested = [r.version for r in reading.readers]
    old = old or (held[0].version if held else None)
    before = _version(session, old)
    new = new or next((ref for ref in suggested if before is None or ref != before.ref), None)
    after = _version(session, new)
    return Place(
        seen,
        {s.version for s in whole.segments} - {s.version for s in seen.segments},
        before,
        after,
        _sources(session, who, name, before, after),
        list(dict.fromkeys([*suggested, *(s.version for s in held)])),
    )


def _version(session: Session, ref: str | None) -> Version | None:
    if ref is None:
        return None
    fixed = models.fixed(session, ref)
    return Version(fixed.ref, fixed.id, fixed.dim)


def _sources(session: Session, who: Caller, name: str, old: Version | None, new: Version | None) -> list[str]:
    """Where both embedded items: the gallery itself, then benchmarks, then others, the largest first."""
    if old is None or new is None:
        return []
    stored = pairs.stored(session, [old.id, new.id], galleries=who.galleries)
    by_new = {s.gallery for s in stored if s.version == new.id}
    both = [s for s in stored if s.version == old.id and s.gallery in by_new]
    both.sort(key=lambda s: (s.gallery != name, not s.is_benchmark))
    return [s.gallery for s in both]


def check_source(at: Place, source: str) -> None:
    """Refuse a gallery that not both versions wrote into: there is no query to take from it."""
    if source not in at.sources:
        versions = " and ".join(v.ref for v in (at.old, at.new) if v is not None)
        both = ", ".join(at.sources[:5]) or "no gallery"
        raise InvalidInput(f"{versions} did not both embed items of {source!r:.120}: they did of {both}")


def item_query(registry: Registry, at: Place, source: str, id: str | int) -> Query:
    """The query that is an item of `source`, as both versions embedded it.

    Raises:
        NotFound: there is no such item, or one of them did not embed it.
    """
    versions = [v.ref for v in (at.old, at.new) if v is not None]
    vectors = registry.own_vectors(source, id, versions=versions)
    listed = registry.items_of(source, [id], previews=True)  # none if it was deleted since
    return Query(vectors, f"item {id} of {source}", listed[0] if listed else None, source)


def found(registry: Registry, at: Place, version: Version, query: Query, k: int) -> Found:
    """What the query finds as one version. A path that there is not, or that nobody measured, is told and never taken."""
    vector = query.vectors.get(version.ref)
    if vector is None:
        return Found(
            version.ref, problem=query.missing.get(version.ref, f"There is no query as {version.ref} embeds it.")
        )
    name, own = at.gallery.name, query.item.id if query.item is not None and query.source == at.gallery.name else None
    try:
        hits = registry.search(name, vector[None], version=version.ref, k=k + (own is not None))
    except Incompatible as error:  # Unmeasured is one
        return _refused(at, version.ref, str(error), "unmeasured" if isinstance(error, Unmeasured) else "nopath")
    ranked = [
        (id, float(score))
        for id, score in zip(hits.ids[0].tolist(), hits.scores[0], strict=True)
        if score > -np.inf and id != own
    ][:k]
    path = {ref: way for ref, way in hits.path.items() if ref not in at.hidden}
    return Found(version.ref, [id for id, _ in ranked], [score for _, score in ranked], path)


def _refused(at: Place, version: str, says: str, state: State) -> Found:
    """Why there is no answer. What is stored by models that the caller's token does not cover is not named."""
    if any(re.search(rf"{re.escape(ref)}(?![0-9])", says) for ref in at.hidden):
        hidden = (
            f"{at.gallery.name} holds vectors that {version} cannot read, of versions that your token does not cover."
        )
        return Found(version, problem=hidden, state=state)
    command = _COMMAND.search(says)
    return Found(version, problem=says, command=command[1] if command else None, state=state)
