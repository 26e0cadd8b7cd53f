"""Choose the defaults on the digits without their test half: the demo's training half, cut in two again and again.

    python -m bench.oca_digits_sweep [--splits 3]

Each split cuts the 896 training images into two halves, of which each trains once and is measured on once. The demo's
test half is never read, so that bench/oca_digits.py measures on images that chose nothing. Two stages, each with its
rule:

1. Options that all models share. Rule: the largest sum of CMC@1 and mAP of the independent model's self-test. What the
   old model does on ten digits is shown, not used: who trains a model on five digits cannot measure it.
2. Options of OCA alone, with 1. fixed. Rule: the largest mean CMC@1 of OCA/old, among rows whose self-test is not below
   the independent model's by more than half a point.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from align import data, train
from align.encoders import Encoder
from align.train import TrainConfig
from bench.report import header, table
from registry.retrieval import retrieval
from registry.vectors import Array, normalize

COMMON = [
    {"batch": batch, "scale": scale, "shift": shift}
    for batch, scale, shift in itertools.product((32, 64), (8.0, 16.0), (0, 1))
]
"""All at 60 epochs: the demo trains three models and has two minutes."""

OCA: list[dict[str, Any]] = [
    {"new_weight": 5.0, "align_weight": 10.0, "pull_weight": 5.0, "align_scale": 1.0, "prototypes": "raw"},
    *(
        {"align_scale": scale, "pull_weight": pull}
        for scale, pull in itertools.product((10.0, 15.0, 20.0, 25.0), (1.0, 0.0))
    ),
    *({"align_scale": scale, "pull_weight": 1.0, "new_weight": 0.3} for scale in (15.0, 20.0)),
]
"""The first row is the published recipe's weights; then a grid, and lighter new classifiers in its middle."""


def halves(splits: int) -> Iterator[tuple[int, data.Dataset]]:
    """(seed of the trainings, one half of the demo's training images to train on and the other as its test part)."""
    digits = data.load("digits")
    for split in range(splits):
        first = _half(digits.y_train, split)
        for side, test in enumerate((first, ~first)):
            parts = {f"{a}_test": getattr(digits, f"{a}_train")[test] for a in ("x", "y", "ids")}
            parts |= {f"{a}_train": getattr(digits, f"{a}_train")[~test] for a in ("x", "y", "ids")}
            yield 100 + 2 * split + side, replace(digits, **parts)


def _half(y: Array, seed: int) -> Array:
    """A mask of half the items of each class."""
    rng = np.random.default_rng(seed)
    half = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        items = rng.permutation(np.flatnonzero(y == label))
        half[items[: len(items) // 2]] = True
    return half


def measure(queries: Array, gallery: Array, y: Array) -> Array:
    """CMC@1 and mAP in percent."""
    r = retrieval(queries, gallery, query_labels=y, gallery_labels=y, same_items=True)
    return 100 * np.array([r.cmc[1], r.map])


def baselines(seed: int, d: data.Dataset, common: dict[str, Any]) -> tuple[Encoder, Array]:
    """The old encoder, and CMC@1 and mAP of old/old and independent/independent."""
    old = train.run(TrainConfig(seed=seed, **common), d, classes="0-4").encoder
    new = train.run(TrainConfig(seed=seed + 1000, **common), d).encoder
    vectors = [encoder.encode(d.x_test) for encoder in (old, new)]
    return old, np.concatenate([measure(v, v, d.y_test) for v in vectors])


def oca(seed: int, d: data.Dataset, old: Encoder, options: dict[str, Any]) -> Array:
    """CMC@1 and mAP of OCA/old and OCA/OCA."""
    new = train.run(TrainConfig(method="oca", dim=48, seed=seed + 2000, **options), d, old=old).encoder
    v, g = new.encode(d.x_test), old.encode(d.x_test)
    return np.concatenate([measure(normalize(v[:, : old.dim]), g, d.y_test), measure(v, v, d.y_test)])


def named(options: dict[str, Any]) -> str:
    """Options as a cell of a table."""
    return ", ".join(f"{name} {value}" for name, value in options.items())


def main() -> None:
    """Both stages, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=3)
    # A second thread gains little for networks this small, and loses much on a busy machine.
    torch.set_num_threads(1)
    parts = list(halves(parser.parse_args().splits))
    print(header(seed=f"{parts[0][0]} to {parts[-1][0]}"))

    @cache
    def fixed(index: int) -> list[tuple[Encoder, Array]]:
        return [baselines(seed, d, COMMON[index]) for seed, d in parts]

    means = [np.mean([values for _, values in fixed(i)], axis=0) for i in range(len(COMMON))]
    sums = [float(m[2:].sum()) for m in means]
    best = int(np.argmax(sums))
    rows = [[named(c), *(f"{v:.1f}" for v in (*m, s))] for c, m, s in zip(COMMON, means, sums, strict=True)]
    print(table(["shared options", "old/old CMC@1", "mAP", "independent CMC@1", "mAP", "sum of these two"], rows))
    print(f"\nChosen: {named(COMMON[best])}\n", flush=True)

    rows, scores = [], []
    for options in OCA:
        values = np.array(
            [
                oca(seed, d, old, {**COMMON[best], **options})
                for (seed, d), (old, _) in zip(parts, fixed(best), strict=True)
            ]
        )
        gains = values[:, :2] - np.array([before[:2] for _, before in fixed(best)])
        mean, gain, worst = values.mean(0), gains.mean(0), gains.min(0)
        kept = bool((mean[2:] >= means[best][2:] - 0.5).all())
        scores.append(mean[0] if kept else -np.inf)
        numbers = (mean[0], gain[0], worst[0], mean[1], gain[1], worst[1], mean[2], mean[3])
        rows.append([named(options), *(f"{v:.1f}" for v in numbers), "" if kept else "self-test falls"])
    heads = ["CMC@1", "gain", "smallest", "mAP", "gain", "smallest", "OCA/OCA CMC@1", "mAP", ""]
    print(table(["OCA options, OCA/old:", *heads], rows))
    print(f"\nChosen: {named(OCA[int(np.argmax(scores))])}")


if __name__ == "__main__":
    main()
