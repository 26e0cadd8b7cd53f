"""What an upgrade changes for the queries of one label, column by column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from registry.bootstrap import Resamples
from registry.retrieval import Retrieval
from registry.types import Group, Stage
from registry.vectors import Array

__all__ = ["MOST_VALUES", "groups"]

MOST_VALUES = 200
"""Of a column with more labels those that most queries carry."""


def groups(found: Mapping[Stage, Retrieval], columns: Mapping[str, Array], seed: int) -> tuple[Group, ...]:
    """The groups of each label column (q,) of the queries, the largest losses first.

    The gain is of upgraded over today, or without a path of backfilled; its interval is bootstrapped over the queries of
    the group, in pairs.
    """
    made = [group for column, labels in columns.items() for group in _of_column(found, column, labels, seed)]
    return tuple(sorted(made, key=lambda g: (g.gain, g.column, g.value)))


def _of_column(found: Mapping[Stage, Retrieval], column: str, labels: Array, seed: int) -> Iterator[Group]:
    precision = {stage: f.per_query["map"] for stage, f in found.items()}
    hits = {stage: f.per_query["cmc@1"] > 0 for stage, f in found.items()}
    after: Stage = "upgraded" if "upgraded" in found else "backfilled"
    counted = np.flatnonzero(~np.isnan(precision["today"]))
    values, codes, counts = np.unique(labels[counted], return_inverse=True, return_counts=True)
    members = np.split(counted[np.argsort(codes, kind="stable")], np.cumsum(counts)[:-1])
    for i in np.argsort(-counts, kind="stable")[:MOST_VALUES].tolist():
        rows = members[i]
        gains = precision[after][rows] - precision["today"][rows]
        resamples = Resamples(len(rows), seed=seed)
        gain = resamples.interval(float(gains.mean()), resamples.means(gains))
        before, then = hits["today"][rows], hits[after][rows]
        yield Group(
            column=column, value=str(values[i]), queries=len(rows),
            map={stage: float(of[rows].mean()) for stage, of in precision.items()},
            gain=gain.value, gain_low=gain.low, gain_high=gain.high,
            negative_flips=int(np.count_nonzero(before & ~then)), positive_flips=int(np.count_nonzero(~before & then)),
        )  # fmt: skip
