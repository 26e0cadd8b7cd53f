"""Writing to a gallery that has attached segments: what is refused, and what is known of their items."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from registry.backends.opening import told
from registry.errors import InvalidInput
from registry.home import Home
from registry.members import members_of
from registry.tables import GalleryRow, VersionRow

__all__ = ["new_items", "refuse_attached", "refuse_elsewhere", "refuse_other_labels"]


def refuse_attached(row: GalleryRow, writer: VersionRow) -> None:
    """Raise `InvalidInput` if vectors of this version are attached to the gallery: samespace never writes them."""
    at = next((s.backend for s in row.segments if s.version_id == writer.id and s.backend is not None), None)
    if at is not None:
        raise InvalidInput(
            f"{row.name} reads {writer.ref} from {told(at).name}, which samespace never writes: add the vectors there, or "
            "append those of another version"
        )


def refuse_elsewhere(home: Home, row: GalleryRow, gone: pa.Array) -> None:
    """Raise `InvalidInput` for the first of `gone` that an attached segment holds."""
    for segment in row.segments:
        if segment.backend is not None and len(held := home.stored(row, segment).known(gone)):
            raise InvalidInput(
                f"item {held[0].as_py()!r:.80} of {row.name} lives in {told(segment.backend).name}, which samespace never "
                "writes: delete it there, and it is gone here, or detach that"
            )


def new_items(home: Home, row: GalleryRow, given: pa.Table) -> pa.Table:
    """Items (id, label columns) that are to be written down; those of attached segments have the labels that they have there."""
    members, ids = members_of(home, row), given["id"].combine_chunks()
    there = members.elsewhere(ids)
    elsewhere = pc.is_in(ids, value_set=there)
    others = given.filter(pc.invert(elsewhere)) if len(there) else given
    missing = [name for name in row.labels if name not in given.column_names]
    if missing and len(others):
        first = others["id"][0].as_py()
        raise InvalidInput(
            f"item {first!r:.80} is new to benchmark {row.name}: give its label {missing[0]!r}, as labels={{{missing[0]!r}: [...]}}"
        )
    if not len(there):
        return given
    row.elsewhere -= len(there)
    if not row.labels:
        return given
    here = given.filter(elsewhere)
    stored = members.labels(here["id"].combine_chunks(), row.labels).add_column(0, "id", here["id"])
    refuse_other_labels(here, stored)
    return pa.concat_tables([others.select(stored.column_names), stored]) if len(others) else stored


def refuse_other_labels(given: pa.Table, stored: pa.Table) -> None:
    """Labels do not change: those of the same items, row by row, must be equal where they are given."""
    ids = given["id"]
    for name in given.column_names[1:]:
        before, now = stored[name].to_pylist(), given[name].to_pylist()
        for id, was, is_now in zip(ids.to_pylist(), before, now, strict=True):
            if was != is_now:
                raise InvalidInput(
                    f"item {id!r:.80} has label {name} = {was!r:.80}, got {is_now!r:.80}: labels do not change; delete the item first"
                )
