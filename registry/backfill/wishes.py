"""What somebody wants of a backfill, checked before anything is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry import encoding
from registry.bootstrap import check_seed
from registry.errors import InvalidInput
from registry.types import BACKFILL_ORDERS, BackfillOrder

__all__ = ["MOST_BATCH", "Counts", "Target", "Wish", "target"]

MOST_BATCH = 65536
_METRICS = ("map", "cmc@1")

Counts = Mapping[Any, int | float] | tuple[Sequence[Any], Sequence[int | float]]
"""How often each item was searched: id -> count, or ids (n,) and counts (n,)."""


@dataclass(frozen=True, slots=True)
class Target:
    """The quality at which a backfill may stop: a metric, and the least value of it."""

    metric: str
    value: float


@dataclass(frozen=True, slots=True)
class Wish:
    """How a gallery is to be re-embedded; see `Registry.plan_backfill`."""

    encoder: str | None
    inputs: str
    order: BackfillOrder
    seed: int
    batch: int
    rate: float | None
    stop_at: str | None
    benchmark: str | None
    label: str | None

    def check(self) -> None:
        """Refuse what no backfill can be run with.

        Raises:
            InvalidInput: what is wrong, and what there is instead.
        """
        check_seed(self.seed)
        if self.order not in BACKFILL_ORDERS:
            raise InvalidInput(f"there is no order {self.order!r:.80}: use one of {', '.join(BACKFILL_ORDERS)}")
        if isinstance(self.batch, bool) or not isinstance(self.batch, int) or not 1 <= self.batch <= MOST_BATCH:
            raise InvalidInput(f"batch must be a whole number of items from 1 to {MOST_BATCH}, got {self.batch!r:.80}")
        rate = self.rate
        if rate is not None and (
            isinstance(rate, bool) or not isinstance(rate, int | float) or not (math.isfinite(rate) and rate > 0)
        ):
            raise InvalidInput(f"rate must be a number of items per second above 0, got {rate!r:.80}")
        if self.encoder is not None:
            encoding.check_place(self.encoder)
        check_inputs(self.inputs)
        if target(self.stop_at) is not None and self.benchmark is None:
            raise InvalidInput(
                f"stop_at {self.stop_at} is measured on a benchmark: name one, such as the gallery itself"
            )


def check_inputs(inputs: object) -> None:
    """Refuse what names no inputs: `ids`, `previews`, or a Parquet file and its column."""
    if not isinstance(inputs, str) or len(inputs) > 1000:
        raise InvalidInput(f"inputs must be text, got {inputs!r:.80}")
    if inputs in ("ids", "previews"):
        return
    file, _, column = inputs.rpartition(":")
    if not file or not column:
        raise InvalidInput(f"inputs must be 'ids', 'previews' or FILE.parquet:COLUMN, got {inputs!r:.80}")


def target(stop_at: str | None) -> Target | None:
    """The quality that `stop_at`, such as `map=0.9`, names. InvalidInput if it names none."""
    if stop_at is None:
        return None
    metric, _, text = stop_at.partition("=") if isinstance(stop_at, str) else ("", "", "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if metric not in _METRICS or not 0 < value <= 1:
        raise InvalidInput(f"stop_at must be map=SHARE or cmc@1=SHARE, such as map=0.9, got {stop_at!r:.80}")
    return Target(metric, value)
