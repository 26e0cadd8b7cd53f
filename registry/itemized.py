"""Pages of the items of a gallery that has attached segments: these in turn, each in its order, then what else was stored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.backends.base import chosen
from registry.errors import CorruptFile, InvalidInput
from registry.members import Members
from registry.services import pages

__all__ = ["listed"]

_LOOKED_AT = 1 << 19  # items that a page looks at for some with a label; then it ends, and the next goes on
_AT_ONCE = 1 << 14


def listed(
    members: Members, *, after: str | None, limit: int, label: Mapping[str, str | int]
) -> tuple[pa.Array, str | None]:
    """The ids of a page, and the cursor of the one behind it.

    A cursor names the part, and the last id there or, of what samespace stored, the row: what is written meanwhile shifts
    nothing of the former.
    """
    of = f"items of {members.name}"
    kind: type = str if members.id_type == "string" else int
    part, row, last = (0, 0, kind()) if after is None else pages.decoded(after, of, (int, int, kind))
    if part > len(members.attached):
        raise InvalidInput(f"this cursor of {of} is of a segment that was detached: begin anew")
    found: list[pa.Array] = []
    looked = 0
    while part <= len(members.attached) and sum(map(len, found)) < limit and looked < _LOOKED_AT:
        # Where most are of an earlier part, each step is as long as all before it.
        step = _AT_ONCE if label else min(_AT_ONCE, max(limit - sum(map(len, found)), looked))
        ids = _part(members, part, row, last, step)
        if not len(ids):
            part, row, last = part + 1, 0, kind()
            continue
        looked += len(ids)
        fits = _fitting(members, part, ids, label)
        room = limit - sum(map(len, found))
        if fits.sum() > room:  # the page ends within what was read: the next begins right behind its last item
            cut = int(np.flatnonzero(fits)[room - 1]) + 1
            ids, fits = ids.slice(0, cut), fits[:cut]
        row, last = row + len(ids), ids[-1].as_py()
        found.append(ids.filter(pa.array(fits)))
    some = pa.concat_arrays(found) if found else members.ids().slice(0, 0)
    return some, pages.encoded(of, (part, row, last)) if part <= len(members.attached) else None


def _part(members: Members, part: int, row: int, last: str | int, limit: int) -> pa.Array:
    """The next ids of a part: of an attached segment those behind `last`, if there was one, else those from `row` on."""
    if part < len(members.attached):
        return members.attached[part].page(last if row else None, limit)
    count = members.dataset.count(members.state) if members.state else 0
    places = np.arange(min(row, count), min(row + limit, count))
    try:
        rows = members.dataset.rows(places, members.state, ["id"]) if len(places) else None
    except CorruptFile as error:
        raise InvalidInput(f"this cursor of {members.name} is of a state that is gone: begin anew") from error
    return pa.array([], pa.string()) if rows is None else rows["id"].combine_chunks()


def _fitting(members: Members, part: int, ids: pa.Array, label: Mapping[str, str | int]) -> np.ndarray:
    """Which (m,) of `ids` are of this part first, and have these labels; 3 and "3" are one value."""
    fits = np.ones(len(ids), dtype=bool)
    for before in members.attached[:part]:
        kept = chosen(ids, without=before.known(ids), among=None)
        fits &= True if kept is None else kept
    if label:
        found = members.labels(ids, list(label))
        for name, value in label.items():
            fits &= pc.equal(found[name].cast(pa.string()), str(value)).to_numpy(zero_copy_only=False)
    return fits
