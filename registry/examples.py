"""Items to search by: some that several versions embedded, and the vectors that each of these made of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from registry.backends import Backend
from registry.batches import id_column
from registry.errors import NotFound
from registry.home import Home
from registry.services import galleries, models
from registry.vectors import Array

__all__ = ["examples", "own_vectors"]

_TRIED = 8  # items that are looked at for one that all versions embedded


def examples(home: Home, gallery: str, *, versions: Sequence[str], many: int, seed: int) -> Sequence[str | int]:
    """Ids of up to `many` items that all `versions` embedded, chosen by `seed`; see `Registry.examples`."""
    _, segments = _segments(home, gallery, versions)
    first, *others = segments.values()
    count = first.count()
    chosen = np.random.default_rng(seed).choice(count, size=min(many * _TRIED, count), replace=False)
    ids = first.ids_at(chosen)
    held = np.ones(len(ids), dtype=bool)
    for other in others:
        held &= _held(ids, chosen, other, many)
    found: list[str | int] = ids.filter(pa.array(held)).to_pylist()
    return found[:many]


def own_vectors(home: Home, gallery: str, id: str | int, *, versions: Sequence[str]) -> Mapping[str, Array]:
    """By version the vector (d,) float32 that it stored of an item itself; see `Registry.own_vectors`."""
    id_type, segments = _segments(home, gallery, versions)
    wanted, near = id_column(id_type, [id]), None
    found: dict[str, Array] = {}
    for ref, stored in segments.items():
        places = stored.places(wanted, near=near)
        if places[0] < 0:
            raise NotFound(f"{ref} stored no vector of item {id!r:.80} in {gallery}: choose another item")
        near = places  # segments that were written in one order have it at one row
        found[ref] = stored.rows(places)[0].astype(np.float32)
    return found


def _segments(home: Home, gallery: str, versions: Sequence[str]) -> tuple[str, Mapping[str, Backend]]:
    """The type of the gallery's ids, and what each of these versions stored in it."""
    with home.database.reading() as session:
        row = galleries.gallery(session, gallery)
        stored = {s.version.ref: s for s in row.segments if s.lance_version}
        refs = [models.fixed(session, ref).ref for ref in versions]
        for ref in refs:
            if ref not in stored:
                raise NotFound(f"{ref} stored no vectors in {gallery}: choose a gallery that it wrote into")
        return row.id_type, {ref: home.stored(row, stored[ref]) for ref in refs}


def _held(ids: pa.Array, places: Array, other: Backend, many: int) -> Array:
    """Which of `ids`, from these places of one segment, another holds: enough of them at the same places, or else anywhere."""
    held = np.zeros(len(ids), dtype=bool)
    there = np.flatnonzero(places < other.count())
    if len(there):
        same = other.ids_at(places[there])
        held[there] = np.array(same.to_pylist(), dtype=object) == np.array(ids.to_pylist(), dtype=object)[there]
    return held if held.sum() >= many else other.places(ids) >= 0
