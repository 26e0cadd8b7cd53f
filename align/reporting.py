"""What an upgrade does to stored embeddings, measured on labelled items and told as a table, numbers and pictures.

Three cells, all with the same items as queries and as gallery: `old/old`, the old model's queries on the gallery that it
wrote; `new/old`, the new model's queries on that untouched gallery; `new/new`, after everything was embedded again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from align import metrics, pictures
from align.report import NEW_NEW, NEW_OLD, OLD_OLD, REFERENCE, Report
from registry.bootstrap import Interval, Resamples, verdict
from registry.errors import InvalidInput
from registry.retrieval import Retrieval
from registry.types import METRIC_NAMES
from registry.vectors import Array

if TYPE_CHECKING:
    from align.data import Dataset
    from align.encoders import Encoder
    from align.tracking import Tracker
    from align.train import TrainResult

__all__ = ["MOST_ITEMS", "Report", "choose", "compare", "log", "log_report", "write"]

MOST_ITEMS = 10_000
"""Above so many items a sample is evaluated, since the time grows with their square: 3 s a cell on two CPU cores."""

_KS = tuple(range(1, 21))


def choose(n: int, *, most: int = MOST_ITEMS, seed: int = 0) -> Array:
    """Positions (min(n, most),) of the items to evaluate, rising: all, or a uniform sample that `seed` decides.

    Values of a sample are not for comparing with those of all items, as near neighbours are fewer; its cells are.

    >>> choose(3, most=5).tolist()
    [0, 1, 2]

    Raises:
        InvalidInput: `most` below 2, or a seed that is not a whole number of at least 0.
    """
    if isinstance(most, bool) or not isinstance(most, int) or most < 2:
        raise InvalidInput(f"the largest number of items to evaluate must be a whole number above 1, got {most!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InvalidInput(f"seed must be a whole number of at least 0, got {seed!r}")
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def compare(
    labels: npt.ArrayLike,
    new: Array,
    *,
    old: Array | None = None,
    crossed: tuple[Array, Array] | None = None,
    reference: Array | None = None,
    way: str = "",
    seed: int = 0,
    device: str | None = None,
) -> Report:
    """Measure every cell that can be measured, on the same items throughout.

    Args:
        labels: (n,), what says which items belong together.
        new: (n, d) embeddings by the new model.
        old: (n, d_old) by the old one; without it there is new/new alone.
        crossed: queries by the new model and the stored old vectors, both (n, d'), in one space, for instance by a
            transform; by default the first d_old dimensions of `new` and `old` itself, where `new` is wide enough.
        reference: (n, d_ref) by an independently trained new model, for the update gain; by default `new`.
        way: how `crossed` came about, in words.
        seed: of the bootstrap.
        device: where to compute, see `align.metrics.retrieval`.

    Raises:
        InvalidInput: lengths that differ, or no item that shares its label with another.
        BadVector: a row is not finite or only zeros.
    """
    sides: dict[str, tuple[Array, Array]] = {}
    if old is not None:
        sides[OLD_OLD] = (old, old)
        if crossed is None and old.shape[1] <= new.shape[1]:
            crossed, way = (new[:, : old.shape[1]], old), f"their first {old.shape[1]} dimensions"
        if crossed is not None:
            sides[NEW_OLD] = crossed
    sides[NEW_NEW] = (new, new)
    if reference is not None:
        sides[REFERENCE] = (reference, reference)
    found = {
        cell: metrics.retrieval(
            q, g, query_labels=labels, gallery_labels=labels, ks=_KS, same_items=True, device=device
        )
        for cell, (q, g) in sides.items()
    }
    return _report(found, way=way, items=len(new), seed=seed)


def _report(found: Mapping[str, Retrieval], *, way: str, items: int, seed: int) -> Report:
    """Intervals, gain and verdicts: every cell is resampled with the same draws, so that differences are paired."""
    first = next(iter(found.values()))
    counted = ~np.isnan(first.per_query["map"])
    resamples = Resamples(first.queries, seed=seed)
    columns = {(cell, m): result.per_query[m][counted] for cell, result in found.items() for m in METRIC_NAMES}
    means = dict(zip(columns, resamples.means(np.column_stack(list(columns.values()))).T, strict=True))
    values = {at: float(column.mean()) for at, column in columns.items()}
    cells = {cell: {m: resamples.interval(values[cell, m], means[cell, m]) for m in METRIC_NAMES} for cell in found}
    gain: dict[str, Interval] = {}
    shares: dict[str, float] = {}
    flips = None
    best = REFERENCE if REFERENCE in found else NEW_NEW
    if NEW_OLD in found:
        flips = metrics.negative_flip_rate(*(columns[cell, "cmc@1"] for cell in (OLD_OLD, NEW_OLD)))
        for m in METRIC_NAMES:
            oo, no, ref = (values[cell, m] for cell in (OLD_OLD, NEW_OLD, best))
            gain[m] = resamples.interval(no - oo, means[NEW_OLD, m] - means[OLD_OLD, m])
            if ref != oo:
                shares[m] = metrics.update_gain(oo, no, ref)
    return Report(
        cells=cells, cmc={cell: result.cmc for cell, result in found.items()}, gain=gain,
        verdicts={m: verdict(interval) for m, interval in gain.items()}, update_gain=shares, negative_flip_rate=flips,
        way=way, reference=best, items=items, queries=resamples.queries, seed=seed,
    )  # fmt: skip


def log_report(
    tracker: Tracker,
    result: TrainResult,
    data: Dataset,
    *,
    old: Encoder | Sequence[Encoder] | None = None,
    reference: Encoder | None = None,
    most: int = MOST_ITEMS,
    seed: int = 0,
) -> Report | None:
    """Log to a finished training's run how good its encoder is on the test part of `data`, and against the old one.

    Logs the metrics of `Report.numbers`, `compatibility.md` and `.json`, and the pictures `cmc.png` and
    `training.png`. The test part serves this report alone: `train.run` never looks at it, and nothing that is measured
    here may choose an option, an epoch or a method. It is sampled by `choose` above `most` items.

    `old` is the encoder that the new one replaces, of several, as in a chain, the first; `reference` an independently
    trained encoder of the same classes, for the update gain. Returns the report, or None where no two test items share
    a label: then there is only the training curve.

    Raises:
        InvalidInput: what `choose` refuses.
        DimensionMismatch: an encoder takes images of another shape than the data's.
        MissingExtra: Matplotlib is not installed.
    """
    rows = choose(len(data.x_test), most=most, seed=seed)
    if result.history:
        curve = pictures.training_curve(result.history, title=f"{result.config.method} on {data.name}")
        tracker.log_figure(curve, "training.png")
    images, labels = data.x_test[rows], data.y_test[rows]
    if np.unique(labels, return_counts=True)[1].max(initial=0) < 2:
        return None
    if isinstance(old, Sequence):
        old = old[0] if old else None
    device = result.config.device
    report = compare(
        labels,
        result.encoder.encode(images, device=device),
        old=None if old is None else old.encode(images, device=device),
        reference=None if reference is None else reference.encode(images, device=device),
        seed=seed,
        device=device,
    )
    log(tracker, report, title=f"the test part of {data.name}")
    return report


def log(tracker: Tracker, report: Report, *, title: str) -> None:
    """Log a report to a run: its numbers, and what `write` writes."""
    tracker.log_metrics(report.numbers())
    with tempfile.TemporaryDirectory() as folder:
        for path in write(report, folder, title=title):
            tracker.log_artifact(path)


def write(report: Report, folder: str | os.PathLike[str], *, title: str) -> list[Path]:
    """Write `compatibility.md`, `compatibility.json` and `cmc.png` into a folder, and return their paths."""
    table, data, picture = (Path(folder) / name for name in ("compatibility.md", "compatibility.json", "cmc.png"))
    table.write_text(report.markdown(f"Compatibility on {title}"))
    data.write_text(report.to_json())
    pictures.save(pictures.cmc_curve(report.cmc, title=f"CMC on {title}"), picture)
    return [table, data, picture]
