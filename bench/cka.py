"""`align.metrics.linear_cka` against the three bare products that it cannot do without.

    python -m bench.cka            # 100,000 items, 768 dimensions in both spaces, float32

The bare work is x.T @ x, x.T @ y and y.T @ y, by NumPy or torch, whole or summed over blocks, whichever is fastest here:
no means, no checks, no float64 sums. NumPy computes half of a product of a matrix with itself, so that half is not in the
bare time either. Both run in one process, in turns; a ratio is of medians.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from align.metrics import linear_cka
from bench.measuring import load, peak_bytes, timed
from bench.report import header, table

SEED = 0


def spaces(n: int, dim: int) -> tuple[Any, Any]:
    """Two spaces that share half of their variance, a few directions stronger than the others."""
    rng = np.random.default_rng(SEED)
    strength = np.linspace(1, 0.2, dim, dtype=np.float32)
    x = rng.standard_normal((n, dim), dtype=np.float32) * strength
    y = x @ np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    y += rng.standard_normal((n, dim), dtype=np.float32) * strength
    return x, y


def bare(x: Any, y: Any, block: int) -> list[Any]:
    """Three products, summed over blocks of rows; NumPy arrays or torch tensors."""
    found: list[Any] = [0, 0, 0]
    for start in range(0, len(x), block):
        a, b = x[start : start + block], y[start : start + block]
        for i, (left, right) in enumerate(((a, a), (a, b), (b, b))):
            found[i] = found[i] + left.T @ right
    return found


def fastest_bare(x: Any, y: Any) -> tuple[str, Callable[[], Any]]:
    """The quickest of NumPy and torch over a few block sizes, each tried twice."""
    sides = {"NumPy": (x, y), "torch": (torch.from_numpy(x), torch.from_numpy(y))}
    ways = {
        f"{name}, {'whole' if block == len(x) else f'blocks of {block:,}'}": (
            lambda pair=pair, block=block: bare(*pair, block)
        )
        for name, pair in sides.items()
        for block in (8192, 16_384, len(x))
    }
    best = min(ways, key=lambda name: min(timed(ways[name])[0] for _ in range(2)))
    return best, ways[best]


def exact(x: Any, y: Any) -> float:
    """Linear CKA in float64, centred beforehand."""
    a, b = (v.astype(np.float64) - v.mean(axis=0, dtype=np.float64) for v in (x, y))
    xx, xy, yy = a.T @ a, a.T @ b, b.T @ b
    return float(np.square(xy).sum() / np.sqrt(np.square(xx).sum() * np.square(yy).sum()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Cost of linear CKA over its bare products.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    x, y = spaces(options.rows, options.dim)
    how, products = fastest_bare(x, y)
    calls: dict[str, Callable[[], Any]] = {
        f"bare products ({how})": products,
        "align.metrics.linear_cka": lambda: linear_cka(x, y, device="cpu"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.repeats):
        for name, call in calls.items():
            seconds[name].append(timed(call)[0])
    first = next(iter(seconds.values()))
    rows = [
        [
            name,
            f"{statistics.median(values):.3f}",
            f"{min(values):.3f}",
            f"{statistics.median(values) / statistics.median(first):.2f}",
            f"{statistics.median(v / b for v, b in zip(values, first, strict=True)):.2f}",
        ]
        for name, values in seconds.items()
    ]
    print(header(seed=SEED) + f"load {load()}; NumPy {np.__version__}, torch {torch.__version__}")
    print(f"{options.rows:,} x {options.dim}, float32; repeats {options.repeats}, alternating\n")
    print(table(["", "median s", "fastest s", "ratio of medians", "median of the ratios in each repeat"], rows))
    peak = peak_bytes(lambda: linear_cka(x, y, device="cpu"))
    print(f"\npeak memory above the inputs (RssAnon): {peak / 2**20:.0f} MiB")
    print(f"difference from float64: {abs(linear_cka(x, y, device='cpu') - exact(x, y)):.1e}")


if __name__ == "__main__":
    main()
