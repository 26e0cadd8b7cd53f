"""The items that an upgrade changes most: those whose neighbours change, and then those that it ranks worse."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.previews import media_type

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LABEL", "ChangedItem", "header", "most_changed", "picture", "rows"]

LABEL = "label."
"""How the names of columns begin that hold labels."""

_ROWS = 4096


@dataclass(frozen=True, slots=True)
class ChangedItem:
    """An item before and after: its labels, the share of kept neighbours, average precision, and whether rank one is right.

    `after` is upgraded, or backfilled where there is no path; values that were not measured are None.
    """

    id: str | int
    labels: Mapping[str, Any]
    overlap: float
    before: float | None
    after: float | None
    was_right: bool | None
    is_right: bool | None

    @property
    def is_lost(self) -> bool:
        """Right today at rank one, wrong after."""
        return bool(self.was_right) and self.is_right is False

    @property
    def is_won(self) -> bool:
        """Wrong today at rank one, right after."""
        return self.was_right is False and bool(self.is_right)


def most_changed(table: pa.Table, *, after: str, limit: int) -> list[ChangedItem]:
    """The items of a study (`Registry.study_items`) that keep the fewest neighbours; of equal ones, the largest losses first."""
    overlap = table["overlap"].to_numpy()
    loss = table["ap_today"].to_numpy() - table[f"ap_{after}"].to_numpy()
    ordered = np.lexsort((-np.nan_to_num(loss, nan=-1.0), np.nan_to_num(overlap, nan=2.0)))
    chosen = ordered[~np.isnan(overlap[ordered])][:limit]
    return [_item(row, after) for row in table.take(chosen).to_pylist()]


def _item(row: Mapping[str, Any], after: str) -> ChangedItem:
    before, then = _known(row["ap_today"]), _known(row[f"ap_{after}"])
    was, now = _known(row["hit_today"]), _known(row[f"hit_{after}"])
    labels = {name.removeprefix(LABEL): value for name, value in row.items() if name.startswith(LABEL)}
    return ChangedItem(
        row["id"],
        labels,
        row["overlap"],
        before,
        then,
        None if was is None else was > 0,
        None if now is None else now > 0,
    )


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def picture(preview: bytes) -> str:
    """A stored picture as an address that holds it."""
    return f"data:{media_type(preview) or 'image/png'};base64,{b64encode(preview).decode()}"


def header(table: pa.Table) -> Sequence[str]:
    """The columns of the file of all items."""
    return list(table.column_names)


def rows(table: pa.Table) -> Iterator[Sequence[Any]]:
    """The rows of the file of all items, some thousand at a time."""
    for batch in table.to_batches(max_chunksize=_ROWS):
        yield from zip(*(_written(column.to_pylist()) for column in batch.columns), strict=True)


def _written(column: list[Any]) -> list[Any]:
    """Values of a column without the digits that float32 does not hold."""
    return [round(value, 6) if isinstance(value, float) else value for value in column]
