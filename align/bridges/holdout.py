"""What a bridge finds on pairs that it was not fitted to, beside what staying with the old version finds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from align.bridges.calibration import calibrate
from registry.bootstrap import Resamples
from registry.retrieval import retrieval
from registry.retrieval.scoring import comparable, left_out
from registry.transforms import Transform
from registry.vectors import Array, Metric

__all__ = ["HeldOut"]

_SCORE_BYTES = 16 << 20
_NEIGHBOURS = 10
_CALIBRATED = 512  # items: a quarter of a million scores with each other
_LABEL_METRICS = ("cmc@1", "map")


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """The h held-out items as one version embedded them, and how its space is compared."""

    rows: Array
    metric: Metric


class HeldOut:
    """Held-out pairs x (h, dx), y (h, dy), and the neighbours that both versions see among them.

    A map leads from x to y. Usually x is the new version's, and mapped queries search the old vectors y. `forward` is the
    other way round: x is the old version's, and new queries y search the mapped x. `metrics` are those of x's space and of
    y's. `side` (h, s) goes to maps that need it beside x; `labels` (h,) say which items belong together.
    """

    def __init__(
        self, x: Array, y: Array, *, metrics: tuple[Metric, Metric], forward: bool = False,
        side: Array | None = None, labels: Array | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        ends = _Side(x, metrics[0]), _Side(y, metrics[1])
        self._old, self._new = ends if forward else ends[::-1]
        self._x, self._across, self.forward = x, metrics[1], forward
        self.side = side
        self.labels = _shared(labels)
        self.resamples = Resamples(len(x), seed=seed)
        self.k = max(1, min(_NEIGHBOURS, len(x) // 4))
        self._truth, _ = self._neighbours(self._new.rows, self._new.rows, self._new.metric)
        self._stay = self._overlap(self._neighbours(self._old.rows, self._old.rows, self._old.metric)[0])
        self._stay_labels = self._by_label(self._old.rows, self._old.rows, self._old.metric)

    def __len__(self) -> int:
        return len(self._x)

    def measure(self, transform: Transform) -> dict[str, Any]:
        """What the map finds, as JSON values; fractions in [0, 1], each item in turn being the query.

        item: `recall@1`, `recall@10` and `mrr` of finding the query's own item in the searched side. Equal scores rank
        the own item last. A slerp query is made from its own old vector, which is searched here: that flatters its `item`.
        recall: of the k nearest others that the new version would find after a full re-embedding (new queries on new
        vectors of the held-out items), the share found across the map, `bridged`, by the old version alone, `stay`, and
        their difference, `gain`, each {value, low, high} with a paired bootstrap 95 % interval. k is 10, or a quarter of
        the items where that is less.
        cmc@1, map: the same three by labels, where they are known; see `registry.retrieval.retrieval`.
        """
        queries, gallery = self._sides(transform)
        found: dict[str, Any] = {"pairs": len(self), "k": self.k, "seed": self.resamples.seed}
        near, ranks = self._neighbours(queries, gallery, self._across)
        hits = {f"recall@{k}": float((ranks <= k).mean()) for k in (1, _NEIGHBOURS)}
        found["item"] = {**hits, "mrr": float((1 / ranks).mean())}
        found["recall"] = _gain(self.resamples, self._overlap(near), self._stay)
        by_label = self._by_label(queries, gallery, self._across)
        if by_label is not None and self._stay_labels is not None:
            counted = ~np.isnan(by_label["map"])
            resamples = Resamples(int(counted.sum()), seed=self.resamples.seed)
            for name in _LABEL_METRICS:
                found[name] = _gain(resamples, by_label[name][counted], self._stay_labels[name][counted])
        return found

    def calibration(self, transform: Transform) -> dict[str, Any]:
        """The map's score calibration, see `calibrate`: from scores across it to those of the new version.

        Over all pairs of up to 512 held-out items, an item with itself included: that is what a query finds that is
        stored already, and it anchors the upper end.
        """
        queries, gallery = self._sides(transform)
        few = np.linspace(0, len(self) - 1, min(len(self), _CALIBRATED)).astype(
            np.int64
        )  # evenly: they may be in order
        new = self._new.rows[few]
        return calibrate(
            _scores(queries[few], gallery[few], self._across),
            _scores(new, new, self._new.metric),
            end="target" if self.forward else "source",
        )

    def _sides(self, transform: Transform) -> tuple[Array, Array]:
        """Queries and gallery as they meet in the target's space."""
        side = self.side if self.side is not None or not transform.side_dim else self._old.rows
        mapped = transform.apply(self._x, side=side) if transform.side_dim else transform.apply(self._x)
        return (self._new.rows, mapped) if self.forward else (mapped, self._old.rows)

    def _neighbours(self, queries: Array, gallery: Array, metric: Metric) -> tuple[Array, Array]:
        """The k best others (h, k) of each item, and its own rank (h,), last among those that score equal."""
        found = np.empty((len(queries), self.k), dtype=np.int64)
        ranks = np.empty(len(queries), dtype=np.int64)
        q, g = comparable(queries, gallery, metric=metric, zeros=True)
        step = max(1, _SCORE_BYTES // (4 * len(g)))
        for start in range(0, len(q), step):
            rows = np.arange(start, min(start + step, len(q)))
            scores = q[rows] @ g.T  # order within a query is all that matters here
            own = scores[np.arange(len(rows)), rows]
            ranks[rows] = np.count_nonzero(scores >= own[:, None], axis=1)
            scores[np.arange(len(rows)), rows] = -np.inf
            found[rows] = np.argpartition(scores, -self.k, axis=1)[:, -self.k :]
        return found, ranks

    def _overlap(self, found: Array) -> Array:
        """Share (h,) of the true neighbours among those found."""
        shared: Array = (found[:, :, None] == self._truth[:, None, :]).any(axis=2).mean(axis=1)
        return shared

    def _by_label(self, queries: Array, gallery: Array, metric: Metric) -> dict[str, Array] | None:
        if self.labels is None:
            return None
        found = retrieval(
            queries, gallery, query_labels=self.labels, gallery_labels=self.labels, ks=(1,), same_items=True,
            metric=metric, zeros=True,
        )  # fmt: skip
        return found.per_query


def _shared(labels: Array | None) -> Array | None:
    """The labels (h,), or None with a warning where each stands alone: then no query has anything to find by them."""
    if labels is None or len(set(labels.tolist())) < len(labels):
        return labels
    warnings.warn("no two held-out items share a label, so CMC@1 and mAP are not measured", UserWarning, stacklevel=2)
    return None


def _scores(queries: Array, gallery: Array, metric: Metric) -> Array:
    """Scores (q, n), float32, larger is closer, as search gives them: cosine, inner product, or minus squared distance."""
    q, g = comparable(queries, gallery, metric=metric, zeros=True)
    found: Array = q @ g.T - np.reshape(left_out(q, metric), (-1, 1)).astype(np.float32)
    return found


def _gain(resamples: Resamples, bridged: Array, stay: Array) -> dict[str, dict[str, float]]:
    """Means of both values (q,) and of their difference, with intervals from the same resamples."""
    values = {"bridged": bridged, "stay": stay, "gain": bridged - stay}
    means = resamples.means(np.stack(list(values.values()), axis=1))
    intervals = {name: resamples.interval(float(v.mean()), means[:, i]) for i, (name, v) in enumerate(values.items())}
    return {name: {"value": i.value, "low": i.low, "high": i.high} for name, i in intervals.items()}
