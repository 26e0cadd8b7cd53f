"""Which rows of an index a dataset still holds, and which of its rows the index does not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from registry.backends import LanceBackend
from registry.indexes.files import Rows
from registry.vectors import Array

__all__ = ["Coverage", "coverage", "fresh_blocks"]

_BLOCK_ROWS = 65536


@dataclass(frozen=True, slots=True)
class Coverage:
    """`live` says of each row of the index (n,) whether it is stored still, None for all; `covered` how many are.

    `fresh` are the fragments that hold rows which the index does not have.
    """

    live: Array | None
    covered: int
    fresh: tuple[int, ...]


def coverage(rows: Rows, stored: LanceBackend) -> Coverage:
    """Hold the rows of an index to a state of its dataset. Only fragments that changed are read, and of those no vectors."""
    now = stored.fragments()
    live: Array | None = None
    fresh = [number for number, of in now.items() if number not in rows.fragments or rows.fragments[number][0] != of[0]]
    for number, before in rows.fragments.items():
        there = now.get(number)
        if there == before:
            continue
        live = np.ones(len(rows.addresses), dtype=bool) if live is None else live
        left = stored.addresses(number) if there is not None and there[0] == before[0] else np.empty(0, np.uint64)
        found = 0
        for part in _of_fragment(rows, number):
            live[part] = np.isin(rows.addresses[part], left)
            found += int(live[part].sum())
        if found < len(left):  # the index is of a later state than this one, where these are deleted already
            fresh.append(number)
    return Coverage(live, len(rows.addresses) if live is None else int(live.sum()), tuple(fresh))


def fresh_blocks(rows: Rows, stored: LanceBackend, found: Coverage) -> Iterator[tuple[pa.Array, Array]]:
    """Ids and vectors of the rows that the index does not have, in blocks."""
    for ids, vectors, addresses in stored.addressed_blocks(_BLOCK_ROWS, fragments=found.fresh) if found.fresh else ():
        known = np.zeros(len(ids), dtype=bool)
        for number in {int(n) for n in np.unique(addresses >> np.uint64(32))} & set(rows.fragments):
            for part in _of_fragment(rows, number):
                known |= np.isin(addresses, rows.addresses[part])
        if not known.all():
            yield (ids, vectors) if not known.any() else (ids.filter(pa.array(~known)), vectors[~known])


def _of_fragment(rows: Rows, number: int) -> list[slice]:
    """Where the rows of a fragment stand in the index: in each of the two parts in which addresses rise."""
    middle = len(rows.addresses) - rows.held
    ends = np.array([number << 32, (number + 1) << 32], dtype=np.uint64)
    found = []
    for start, part in ((0, rows.addresses[:middle]), (middle, rows.addresses[middle:])):
        low, high = np.searchsorted(part, ends)
        found.append(slice(start + int(low), start + int(high)))
    return found
