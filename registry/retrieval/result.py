"""What a retrieval found: means over the queries, and the values that they are means of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from registry.vectors import Array

__all__ = ["Retrieval", "names", "summarize"]


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """Means over the queries that have a relevant item, as fractions in [0, 1], and the values they are means of.

    `cmc` and `map_at` hold one value for each k asked for. `per_query` holds float64 (q,) arrays under `cmc@k`, `map`,
    `map@r`, `mrr` and `map@k`, in the order the queries were given; NaN where a query has no relevant item. `queries`
    counts the others, `skipped` those.
    """

    cmc: dict[int, float]
    map: float
    map_at_r: float
    mrr: float
    map_at: dict[int, float]
    per_query: dict[str, Array]
    queries: int
    skipped: int

    def values(self) -> dict[str, float]:
        """The means under the names that `per_query` uses."""
        cmc = {f"cmc@{k}": value for k, value in self.cmc.items()}
        map_at = {f"map@{k}": value for k, value in self.map_at.items()}
        return {**cmc, "map": self.map, "map@r": self.map_at_r, "mrr": self.mrr, **map_at}


def names(ks: tuple[int, ...], map_ks: tuple[int, ...]) -> list[str]:
    """What each column of measured values is called."""
    return [*(f"cmc@{k}" for k in ks), "map", "map@r", "mrr", *(f"map@{k}" for k in map_ks)]


def summarize(columns: Array, ks: tuple[int, ...], map_ks: tuple[int, ...] = ()) -> Retrieval:
    """Means of values (q, c), a column for each of `names(ks, map_ks)`; NaN rows are left out."""
    counted = ~np.isnan(columns[:, 0])
    found = int(counted.sum())
    means = dict(zip(names(ks, map_ks), columns[counted].mean(axis=0).tolist(), strict=True))
    return Retrieval(
        cmc={k: means[f"cmc@{k}"] for k in ks},
        map=means["map"],
        map_at_r=means["map@r"],
        mrr=means["mrr"],
        map_at={k: means[f"map@{k}"] for k in map_ks},
        per_query={name: np.ascontiguousarray(columns[:, i]) for i, name in enumerate(means)},
        queries=found,
        skipped=len(columns) - found,
    )
