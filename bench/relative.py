"""`align.relative.project` against the bare matrix product that it cannot do without.

    python -m bench.relative             # 100,000 rows of 768 dimensions, 300 anchors, cosine, float32

The bare work is one product of all rows with the anchors' columns into an array that is there already: no lengths, no
checks. Both run in one process, in turns, on the same arrays, and the rate is that of the medians; the other
similarities are measured once beside them.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np

from align.relative import project
from bench.measuring import load, peak_bytes, timed
from bench.report import header, table

SEED = 0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed of relative projection over the bare product.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--anchors", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((options.rows, options.dim), dtype=np.float32)
    anchors = rng.standard_normal((options.anchors, options.dim), dtype=np.float32)
    columns = np.ascontiguousarray((anchors / np.linalg.norm(anchors, axis=1, keepdims=True)).T)
    y, bare = (np.empty((options.rows, options.anchors), dtype=np.float32) for _ in range(2))

    def ours(similarity: Any = "cosine") -> Any:
        return project(x, anchors, similarity, device="cpu", out=y)

    calls = {"bare product": lambda: np.matmul(x, columns, out=bare), "align.relative.project": ours}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():  # starts the threads of the BLAS, touches the pages
        call()
    for _ in range(options.repeats):
        for name, call in calls.items():
            seconds[name].append(timed(call)[0])
    worst = float(np.abs(y - bare / np.linalg.norm(x, axis=1, keepdims=True)).max())

    print(header(seed=SEED) + f"load {load()}; NumPy {np.__version__}; repeats {options.repeats}, alternating")
    print(f"{options.rows:,} rows x {options.dim} dimensions, {options.anchors} anchors, float32\n")
    print(
        table(
            ("cosine", "median s", "fastest s", "rate of the bare product", "median of each repeat's"), _rows(seconds)
        )
    )
    print(f"\nlargest difference from the bare product divided by the lengths: {worst:.1e}")
    print(f"memory above x and the result: {peak_bytes(ours) / 2**20:.0f} MiB\n")
    few = min(options.rows, 10_000)
    rest = {s: timed(lambda s=s: project(x[:few], anchors, s, device="cpu"))[0] for s in ("whitened", "l2", "product")}
    print(table(("similarity", f"s for {few:,} rows, once"), [(s, f"{t:.3f}") for s, t in rest.items()]))


def _rows(seconds: dict[str, list[float]]) -> list[tuple[str, ...]]:
    bare = seconds["bare product"]
    return [
        (
            name, f"{statistics.median(values):.3f}", f"{min(values):.3f}",
            f"{statistics.median(bare) / statistics.median(values):.0%}",
            f"{statistics.median(b / v for b, v in zip(bare, values, strict=True)):.0%}",
        )
        for name, values in seconds.items()
    ]  # fmt: skip


if __name__ == "__main__":
    main()
