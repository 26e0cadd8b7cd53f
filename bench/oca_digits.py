"""The demo's comparison over several seeds: how much better OCA reads the old gallery than the old model does.

    python -m bench.oca_digits [--seeds 5] [--first 0] [--resplit]

Data, options and trainings are those of `samespace demo --seed S`. The options were chosen by bench/oca_digits_sweep.py
on the demo's training half alone. The old model (32 dimensions) knows the digits 0 to 4 only; the independent one (32)
and OCA's (32 + 16) know all ten. The test half is query set and gallery, cosine, self-match removed, all ten digits. The
gain is OCA/old minus old/old with a 95 % interval: a paired bootstrap over queries. `--resplit` also splits the data
anew for each seed; those test halves hold images that the sweep has seen.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import align
from align import data, train
from align.encoders import Encoder
from align.metrics import retrieval
from align.train import TrainConfig
from bench.measuring import timed
from bench.report import header, table
from registry.bootstrap import Interval, Resamples
from registry.retrieval import Retrieval
from registry.vectors import normalize

METRICS = ("cmc@1", "cmc@5", "map")
OLD, OCA_OLD, INDEPENDENT, OCA = "old / old", "OCA / old, prefix", "independent / independent", "OCA / OCA"
ROWS = (
    OLD,
    "independent / old, naive",
    "independent / old, orthogonal bridge",
    "independent / old, affine bridge",
    OCA_OLD,
    INDEPENDENT,
    OCA,
)


def measure(seed: int, *, resplit: bool) -> tuple[dict[str, Retrieval], dict[str, float]]:
    """Train the models of one seed; every row's retrieval, and seconds of training."""
    digits = data.load("digits", seed=seed if resplit else 0)
    y = digits.y_test
    seconds: dict[str, float] = {}

    def make(name: str, config: TrainConfig, **options: object) -> Encoder:
        seconds[name], result = timed(lambda: train.run(config, digits, **options))  # type: ignore[arg-type]
        return result.encoder

    old = make("old", TrainConfig(dim=32, seed=seed + 1), classes="0-4")
    independent = make("independent", TrainConfig(dim=32, seed=seed + 2))
    oca = make("OCA", TrainConfig(method="oca", dim=48, seed=seed + 3), old=old)
    gallery, new, own = (encoder.encode(digits.x_test) for encoder in (old, independent, oca))
    pairs = independent.encode(digits.x_train), old.encode(digits.x_train)
    bridged = [align.fit(*pairs, method=method).apply(new) for method in ("orthogonal", "affine")]
    queries = [gallery, new, *bridged, normalize(own[:, : old.dim]), new, own]
    galleries = [*[gallery] * 5, new, own]
    cells = {
        name: retrieval(q, g, query_labels=y, gallery_labels=y, same_items=True)
        for name, q, g in zip(ROWS, queries, galleries, strict=True)
    }
    return cells, seconds


def gain(cells: dict[str, Retrieval], metric: str, row: str = OCA_OLD) -> Interval:
    """How much better a way reads the old gallery than the old model does, and the interval; in points."""
    differences = 100 * (cells[row].per_query[metric] - cells[OLD].per_query[metric])
    resamples = Resamples(len(differences))
    return resamples.interval(float(differences.mean()), resamples.means(differences))


def tax(cells: dict[str, Retrieval], metric: str) -> float:
    """What OCA's self-test has over the independent model's, in points."""
    return 100 * (cells[OCA].values()[metric] - cells[INDEPENDENT].values()[metric])


def met(cells: dict[str, Retrieval]) -> bool:
    """The bar: both gains above zero with their intervals, and a self-test within one point."""
    return all(gain(cells, metric).low > 0 and tax(cells, metric) >= -1 for metric in ("cmc@1", "map"))


def main() -> int:
    """Print the tables; exit status 1 where a seed misses the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--resplit", action="store_true", help="split the data anew for each seed")
    given = parser.parse_args()
    # A second thread gains little for networks this small, and loses much on a busy machine.
    torch.set_num_threads(1)
    seeds = range(given.first, given.first + given.seeds)
    print(header(seed=f"{seeds[0]} to {seeds[-1]}{', data split anew for each' if given.resplit else ''}"))
    results = {seed: measure(seed, resplit=given.resplit) for seed in seeds}
    lines = []
    for seed, (cells, _) in results.items():
        gains = [gain(cells, metric) for metric in ("cmc@1", "map")]
        shown = [f"{g.value:+.1f} [{g.low:+.1f}, {g.high:+.1f}]" for g in gains]
        own = [f"{tax(cells, metric):+.1f}" for metric in ("cmc@1", "map")]
        lines.append([str(seed), *shown, *own, "met" if met(cells) else "MISSED"])
    print(table(["seed", "OCA/old - old/old CMC@1", "mAP", "OCA self - independent self CMC@1", "mAP", "bar"], lines))
    print()
    lines = []
    for name in ROWS:
        values = 100 * np.array([[cells[name].values()[m] for m in METRICS] for cells, _ in results.values()])
        lines.append([name, *(f"{m:.1f} ± {s:.1f}" for m, s in zip(values.mean(0), values.std(0), strict=True))])
    print(table([f"mean ± deviation of {len(seeds)} seeds, %", "CMC@1", "CMC@5", "mAP"], lines))
    names = results[seeds[0]][1]
    print("\nSeconds:", ", ".join(f"{n} {np.mean([s[n] for _, s in results.values()]):.1f}" for n in names))
    return 0 if all(met(cells) for cells, _ in results.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
