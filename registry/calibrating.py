"""Calibrations as an evaluation fits them: of each path that it measures, on the items that it measures."""

from __future__ import annotations

import numpy as np

from registry.benchmarks import Bench
from registry.calibration import Knots
from registry.retrieval.calibrating import Odds, between, odds
from registry.vectors import Array, Metric

__all__ = ["Calibrator"]


class Calibrator:
    """Fits calibrations on one benchmark; what each version's own scores are worth is found out once."""

    def __init__(self, bench: Bench, codes: Array, seed: int) -> None:
        self._bench, self._codes, self._seed = bench, codes, seed
        self._native: dict[str, Odds | None] = {}

    def line(self, version: str, queries: Array, gallery: Array, metric: Metric) -> Knots | None:
        """From scores across a path to those of `version`, whose queries (n, d) meet what is stored (n, d) by `metric`.

        See `registry.retrieval.calibrating.between`; None where scores of one side do not tell what is relevant.
        """
        across = self._odds(queries, gallery, metric)
        if version not in self._native:
            own = self._bench.vectors[version]
            self._native[version] = self._odds(own, own, self._bench.metric[version])
        native = self._native[version]
        return between(across, native) if across is not None and native is not None else None

    def _odds(self, queries: Array, gallery: Array, metric: Metric) -> Odds | None:
        rows = np.arange(len(self._bench))
        return odds(
            queries, gallery, metric, query_codes=self._codes, gallery_codes=self._codes, own=rows, seed=self._seed
        )
