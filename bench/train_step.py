"""What a method's training step costs over the independent one's: same network, same batch, one process, in turns.

    python -m bench.train_step
    python -m bench.train_step --device cuda --backbone resnet18 --precision bfloat16

Random 32x32 images, `smallresnet` unless told otherwise, batch 128, 100 classes; old model of 128 dimensions, 32 more for OCA and BT2. Seconds are
those of the loop itself, without the embedding of the training set by the old model that precedes it.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from align import train
from align.data import Dataset
from align.train import TrainConfig
from bench.measuring import load
from bench.report import header, table

WAYS: dict[str, dict[str, object]] = {
    "independent": {"method": "independent", "dim": 160},
    "bct": {"method": "bct", "dim": 160},
    "lce": {"method": "lce", "dim": 160},
    "oca": {"method": "oca", "dim": 160},
    "oca, matrix_exp": {"method": "oca", "dim": 160, "rotation": "matrix_exp"},
    "oca, gallery_weight 1": {"method": "oca", "dim": 160, "gallery_weight": 1.0},
    "bt2": {"method": "bt2", "dim": 160},
    "dsimplex": {"method": "dsimplex", "dim": 160},
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--device")
    parser.add_argument("--backbone", default="smallresnet")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    n = 128 * given.steps
    x, y = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), np.arange(n, dtype=np.int64) % 100
    items = Dataset("random", x, y, x[:200], y[:200], tuple(map(str, range(100))))
    common = {
        "backbone": given.backbone,
        "batch": 128,
        "epochs": 1,
        "device": given.device,
        "precision": given.precision,
    }
    old = train.run(TrainConfig(dim=128, **common), items).encoder  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(given.repeats):
        for name, options in WAYS.items():
            config = TrainConfig(**{**common, **options})  # type: ignore[arg-type]
            before = None if name in ("independent", "dsimplex") else old
            reference = old if name == "bt2" else None
            result = train.run(config, items, old=before, reference=reference)
            seconds[name].append(result.history[0]["seconds"] / given.steps)
    base = seconds["independent"]
    print(header(seed=0) + f"load {load()}; {given.repeats} repeats of {given.steps} steps, in turns\n")
    rows = []
    for name, values in seconds.items():
        each = statistics.median(v / b for v, b in zip(values, base, strict=True))
        middle = statistics.median(values)
        rows.append([name, f"{1000 * middle:.0f}", f"{middle / statistics.median(base):.2f}", f"{each:.2f}"])
    print(table(["method", "median ms a step", "ratio of medians", "median of the ratios in each repeat"], rows))


if __name__ == "__main__":
    main()
