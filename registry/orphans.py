"""What lies in a registry's folder and no fact refers to: left by processes that were killed, or long replaced.

Only what has not changed for a day counts, since a write puts its files there before the fact that names them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from registry.data_files import opened, unreferenced
from registry.database import Database
from registry.errors import CorruptFile, NotFound, Unavailable
from registry.gallery import superseded
from registry.inventory import Inventory, StoredDataset, inventory
from registry.layout import Layout
from registry.places import Place
from registry.services import galleries
from registry.tables import now

__all__ = ["OLD_STATES", "Orphan", "orphans", "remove_orphans"]

_LEFT_ALONE = timedelta(days=1)
OLD_STATES = "old Lance versions"
"""What a dataset keeps of states that were replaced more than a day ago."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """`what` lies at `path` and takes `bytes`; it may be removed."""

    what: str
    path: Place
    bytes: int


def orphans(layout: Layout, found: Inventory) -> list[Orphan]:
    """Everything that a snapshot of the facts, taken before, does not refer to."""
    stray = list(_stray(layout, found))
    return [*stray, *(orphan for stored in found.datasets for orphan in _within(stored))]


def remove_orphans(database: Database, layout: Layout) -> list[Orphan]:
    """Remove them, each gallery's while nobody writes into it; return what went."""
    gone: list[Orphan] = []
    with database.reading() as session:
        names = sorted(inventory(session, layout).galleries)
    for name in names:
        with database.writing() as session:
            galleries.locked(session, name)
            found = inventory(session, layout)
            for stored in (stored for stored in found.datasets if stored.gallery == name):
                gone += [_removed(orphan, stored) for orphan in _within(stored)]
            gone += [_removed(orphan) for orphan in _stray_datasets(layout, found, name)]
    with database.writing() as session:
        found = inventory(session, layout)
        gone += [_removed(orphan) for orphan in _stray(layout, found)]
    return gone


def _stray(layout: Layout, found: Inventory) -> Iterator[Orphan]:
    """Whole files and folders."""
    for folder in layout.galleries.entries():
        if folder.name.startswith("_"):  # no gallery is called so: it says whose the folder is
            continue
        if folder.name in found.galleries:
            yield from _stray_datasets(layout, found, folder.name)
        else:
            yield from _if_old(folder, "folder of no gallery")
    known = {Place(stored.path) for stored in found.files}
    known |= {Place(path) for index in found.indexes for path in index.paths}
    for held, what in (
        (layout.transforms, "file of no transform"),
        (layout.canaries, "file of no canaries"),
        (layout.studies, "file of no study"),
        (layout.backfills, "file of no backfill"),
        (layout.indexes, "file of no index"),
    ):
        for stray in Place(held).entries():
            if stray not in known:
                yield from _if_old(stray, what)


def _stray_datasets(layout: Layout, found: Inventory, gallery: str) -> Iterator[Orphan]:
    known = {stored.path for stored in found.datasets}
    for folder in (layout.galleries / gallery).entries():
        if folder not in known:
            yield from _if_old(folder, "dataset of no segment")


def _within(stored: StoredDataset) -> Iterator[Orphan]:
    """What a dataset that is referred to keeps for nobody. One that cannot be read is for `db check` to tell of."""
    try:
        staged, dataset = unreferenced(stored.path, stored.version), opened(stored.path, stored.version)
        if not any(changed > _until() for _, changed in staged.values()):  # or a long append is still adding to them
            yield from (Orphan("staged data of a killed append", file, size) for file, (size, _) in staged.items())
        # States beyond the acknowledged one are rolled back by the next write, which then clears up by itself.
        if dataset.latest_version == stored.version and (old := superseded(dataset)):
            size = dataset.explain_cleanup_old_versions(versions=old).stats.bytes_removed
            yield Orphan(OLD_STATES, stored.path, size)
    except (CorruptFile, NotFound, Unavailable, OSError, ValueError):
        return


def _removed(orphan: Orphan, stored: StoredDataset | None = None) -> Orphan:
    if orphan.what == OLD_STATES and stored:
        dataset = opened(stored.path, stored.version)
        stats = dataset.cleanup_old_versions(versions=superseded(dataset), error_if_tagged_old_versions=False)
        return replace(orphan, bytes=stats.bytes_removed)
    orphan.path.remove()
    return orphan


def _if_old(path: Place, what: str) -> Iterator[Orphan]:
    changed = path.changed()
    if changed is not None and changed <= _until():
        yield Orphan(what, path, sum(file.bytes for file in path.files()))


def _until() -> datetime:
    return now() - _LEFT_ALONE
