"""A gallery while it is re-embedded: what new queries find in it, with scores calibrated and as they are.

    python -m bench.mixed [digits] [cifar100] [--seeds 3] [--picture docs/pictures/mixed.svg]

digits: the models of `bench.oca_digits`, a few seeds of them. cifar100: an old model of 50 of the 100 classes, and its
successors, all small and shortly trained (kept in `--work`). Ways to read the old vectors: OCA's prefix, and bridges to
an independent model, of queries and, `forward`, of stored vectors, fitted on the training half. Test items are dealt into two halves: a
calibration is fitted on one, as `evaluate` fits it, and served to the queries of the other, in a gallery of the items of the
other; then the other way round. Nothing that is measured had a say in what it is measured with.

The sag is how far a curve falls below the straight line between its ends, at worst. Intervals are 95 % bootstraps: of digits
over seeds and groups of queries, of CIFAR-100 over groups of queries. Areas of the order `uncertainty` (first what the path
is predicted to serve worst, see `registry.study.filling.worst_first`) and of random orders are paired by those groups.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import align
from align import data, train
from align.train import TrainConfig
from bench import upgrade
from bench.report import header, table
from registry import calibration
from registry.calibration import Knots
from registry.retrieval.backfilling import backfill_auc, backfill_curve
from registry.retrieval.calibrating import between, odds
from registry.study.filling import deviations, worst_first
from registry.study.sides import Sides
from registry.vectors import Array, normalize

AT = tuple(i / 10 for i in range(11))
METRICS = ("cmc@1", "map")
WAYS = ("OCA, prefix", "orthogonal bridge", "affine bridge", "affine, forward")
GROUPS, DRAWS = 10, 3
MOST_QUERIES = 1000  # of each half
BAR = 1.0  # points

Vectors = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Case:
    """One way to read old vectors: test labels (n,), queries as they meet them (n, d), and both versions' vectors."""

    data: str
    way: str
    seed: int
    labels: Array
    met: Array
    old: Array
    new: Array


@dataclass(frozen=True, eq=False)
class Curves:
    """Of each group of queries the values (g, s) by metric: random order calibrated and raw, and `uncertainty` calibrated."""

    data: str
    way: str
    calibrated: Vectors
    raw: Vectors
    chosen: Vectors


def digits(seed: int) -> Iterator[Case]:
    """The demo's models of a seed."""
    items = data.load("digits", seed=0)
    old = train.run(TrainConfig(dim=32, seed=seed + 1), items, classes="0-4").encoder
    independent = train.run(TrainConfig(dim=32, seed=seed + 2), items).encoder
    oca = train.run(TrainConfig(method="oca", dim=48, seed=seed + 3), items, old=old).encoder
    encoders = {"old": old, "independent": independent, "oca": oca}
    seen = {name: e.encode(items.x_train) for name, e in encoders.items()}
    yield from _cases("digits", seed, items.y_test, seen, {n: e.encode(items.x_test) for n, e in encoders.items()})


def cifar100(seed: int, work: Path) -> Iterator[Case]:
    """A smaller form of `bench.upgrade cifar100`."""
    task = upgrade.TASKS["cifar100", "small"]
    task = replace(task, per_class=80, common={**task.common, "epochs": 6, "batch": 64})
    items = upgrade.dataset(task, validate=False)
    work.mkdir(parents=True, exist_ok=True)
    study = upgrade.Study(task, items, seed, work)
    encoders = {name: study.encoder(name) for name in ("old", "independent", "oca")}
    seen = {name: e.encode(items.x_train) for name, e in encoders.items()}
    yield from _cases("CIFAR-100", seed, items.y_test, seen, {n: e.encode(items.x_test) for n, e in encoders.items()})


def _cases(name: str, seed: int, labels: Array, seen: Vectors, x: Vectors) -> Iterator[Case]:
    old = x["old"]
    yield Case(name, WAYS[0], seed, labels, normalize(x["oca"][:, : old.shape[1]]), old, x["oca"])
    for way, method in zip(WAYS[1:3], ("orthogonal", "affine"), strict=True):
        bridge = align.fit(seen["independent"], seen["old"], method=method, device="cpu")  # type: ignore[call-overload]
        yield Case(name, way, seed, labels, bridge.apply(x["independent"]), old, x["independent"])
    forward = align.fit(seen["old"], seen["independent"], method="affine", device="cpu")
    yield Case(name, WAYS[3], seed, labels, x["independent"], forward.apply(old), x["independent"])


def measure(case: Case) -> Curves:
    """Every curve of a case, from both halves."""
    half = np.random.default_rng([case.seed, 7]).permutation(len(case.labels)) % 2
    found: dict[str, list[Vectors]] = {"calibrated": [], "raw": [], "chosen": []}
    for side in (0, 1):
        line = _fitted(case, np.flatnonzero(half != side))
        rows = np.flatnonzero(half == side)
        far = deviations(Sides(case.met[rows], case.old[rows], "cosine"))
        first = worst_first(case.old[rows], "cosine", far, case.seed)
        draws = [np.random.default_rng([case.seed, side, i]).permutation(len(rows)) for i in range(DRAWS)]
        for group in np.array_split(np.arange(min(len(rows), MOST_QUERIES)), GROUPS):
            found["calibrated"].append(_mean([_curve(case, rows, group, order, line) for order in draws]))
            found["raw"].append(_mean([_curve(case, rows, group, order, None) for order in draws]))
            found["chosen"].append(_curve(case, rows, group, first, line))
    stacked = {name: {m: np.stack([v[m] for v in values]) for m in METRICS} for name, values in found.items()}
    return Curves(case.data, case.way, **stacked)


def _fitted(case: Case, rows: Array) -> Knots | None:
    """The calibration that an evaluation of these items finds."""
    codes, own = case.labels[rows], np.arange(len(rows))
    sides = (
        odds(queries, stored, "cosine", query_codes=codes, gallery_codes=codes, own=own, seed=case.seed)
        for queries, stored in ((case.met[rows], case.old[rows]), (case.new[rows], case.new[rows]))
    )
    across, native = sides
    return between(across, native) if across and native else None


def _curve(case: Case, rows: Array, group: Array, order: Array, line: Knots | None) -> Vectors:
    asked = rows[group]
    found = backfill_curve(
        case.new[asked], case.old[rows], case.new[rows], queries_old=case.met[asked], query_labels=case.labels[asked],
        gallery_labels=case.labels[rows], fractions=AT, order=order, ks=(1,), own=group,
        calibration=None if line is None else (partial(calibration.apply, x=line[0], y=line[1]), lambda s: s),
    )  # fmt: skip
    return {m: found.values[m] for m in METRICS}


def _mean(found: Sequence[Vectors]) -> Vectors:
    return {m: np.mean([values[m] for values in found], axis=0) for m in METRICS}


def sag(values: Array) -> float:
    """How far a curve (s,) falls below the line between its ends at worst, in points."""
    return float(100 * (values[0] + (values[-1] - values[0]) * np.asarray(AT) - values).max())


def interval(groups: Array, of: Any) -> tuple[float, float, float]:
    """A figure `of` the mean of groups (g, s), and its 95 % interval over groups."""
    draws = np.random.default_rng(0).integers(0, len(groups), (2000, len(groups)))
    low, high = np.quantile([of(groups[draw].mean(axis=0)) for draw in draws], [0.025, 0.975])
    return of(groups.mean(axis=0)), float(low), float(high)


def joined(found: Sequence[Curves]) -> list[Curves]:
    """The curves of several seeds as one of each way."""
    together = []
    for way in dict.fromkeys((c.data, c.way) for c in found):
        mine = [c for c in found if (c.data, c.way) == way]
        parts = (
            {m: np.concatenate([getattr(c, p)[m] for c in mine]) for m in METRICS}
            for p in ("calibrated", "raw", "chosen")
        )
        together.append(Curves(*way, *parts))
    return together


def show(found: Sequence[Curves]) -> bool:
    """Print the curves, the sags and the areas; whether no calibrated curve sags by more than the bar."""
    lines, areas, met = [], [], True
    for c in found:
        for metric in METRICS:
            for name, values in (("calibrated", c.calibrated[metric]), ("as they are", c.raw[metric])):
                value, low, high = interval(values, sag)
                curve = " ".join(f"{100 * v:.1f}" for v in values.mean(axis=0))
                lines.append([c.data, c.way, metric, name, curve, f"{value:.2f} [{low:.2f}, {high:.2f}]"])
                met &= name != "calibrated" or value <= BAR
            gain = interval(c.chosen[metric] - c.calibrated[metric], lambda v: 100 * backfill_auc(AT, v))
            both = (100 * backfill_auc(AT, v[metric].mean(axis=0)) for v in (c.chosen, c.calibrated, c.raw))
            areas.append(
                [c.data, c.way, metric, *(f"{v:.2f}" for v in both), "{:+.2f} [{:+.2f}, {:+.2f}]".format(*gain)]
            )
    print(table(["data", "way", "metric", "scores", "at 0, 10, …, 100 % re-embedded", "largest sag"], lines))
    print()
    print(
        table(
            [
                "data",
                "way",
                "metric",
                "area, worst served first",
                "random",
                "random, not calibrated",
                "worst first - random",
            ],
            areas,
        )
    )
    return met


def draw(found: Sequence[Curves], file: Path) -> None:
    """Draw mAP over the share that is re-embedded: a panel for each way, a row for each data set."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(c.data for c in found))
    figure = Figure(figsize=(12, 2.9 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), len(WAYS), squeeze=False)
    for c in found:
        ax = axes[names.index(c.data)][WAYS.index(c.way)]
        share = 100 * np.asarray(AT)
        for label, values, colour, dash in (
            ("calibrated", c.calibrated, "#0072B2", "-"), ("calibrated, worst served first", c.chosen, "#009E73", "-."),
            ("scores as they are", c.raw, "#D55E00", "--"),
        ):  # fmt: skip
            ax.plot(share, 100 * values["map"].mean(axis=0), dash, color=colour, label=label)
        ends = 100 * c.calibrated["map"].mean(axis=0)[[0, -1]]
        ax.plot([0, 100], ends, ":", color="#666666", label="straight between the ends")
        ax.set_title(f"{c.data}, {c.way}", fontsize=10)
        ax.set_xlabel("re-embedded, %")
        ax.set_ylabel("mAP, %")
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def main() -> int:
    """Print the tables; exit status 1 where a calibrated curve sags by more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", choices=["digits", "cifar100", []], default=[], help="both unless named")
    parser.add_argument("--seeds", type=int, default=3, help="of digits")
    parser.add_argument(
        "--work", type=Path, default=Path("bench/work/mixed"), help="the folder that keeps CIFAR's trainings"
    )
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    given.data = given.data or ["digits", "cifar100"]
    torch.set_num_threads(1)  # networks this small gain little from a second thread
    found: list[Curves] = []
    if "digits" in given.data:
        found += [measure(case) for seed in range(given.seeds) for case in digits(seed)]
    if "cifar100" in given.data:
        if (upgrade.DATA / upgrade.TASKS["cifar100", "small"].file).exists():
            found += [measure(case) for case in cifar100(0, given.work)]
        else:
            print(f"cifar100 is skipped: its file is not in {upgrade.DATA} (BENCH_DATA names another folder)\n")
    print(header(seed=f"0 to {given.seeds - 1}, CIFAR-100 0"))
    together = joined(found)
    met = show(together)
    if given.picture and together:
        draw(together, given.picture)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
