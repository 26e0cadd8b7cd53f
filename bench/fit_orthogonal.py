"""`align.fit` from memory-mapped files against the bare matrix product and SVD that it cannot do without.

    python -m bench.fit_orthogonal            # 1,000,000 pairs of 256 dimensions, 2 GB of temporary files

The bare work is the sum over blocks of x_block.T @ y_block, over the same memory maps, by NumPy or torch and with the
block size that are fastest here, and one SVD of it: no means, no checks, no scale, no float64 sums. Both run in one
process, in turns, with the files in the page cache; a ratio is of medians.

Memory is RssAnon of /proc/self/status, above what the imports took: pages of the mapped files also count in the
resident size, but they are the page cache's and go when anybody needs the memory.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes

import align
from bench.measuring import load, peak_bytes, timed
from bench.report import header

SEED = 0


def write(folder: Path, n: int, dim: int) -> tuple[Any, Any]:
    """Pairs related by a rotation, with noise; a few directions carry most of the variance."""
    rng = np.random.default_rng(SEED)
    rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    strength = np.linspace(1, 0.2, dim, dtype=np.float32)
    maps = [np.lib.format.open_memmap(folder / name, "w+", np.float32, (n, dim)) for name in ("x.npy", "y.npy")]
    for start in range(0, n, 50_000):
        rows = slice(start, min(start + 50_000, n))
        x = rng.standard_normal((rows.stop - start, dim), dtype=np.float32) * strength
        maps[0][rows] = x
        maps[1][rows] = x @ rotation + 0.1 * rng.standard_normal(x.shape, dtype=np.float32)
    del maps  # written out
    x, y = (np.load(folder / name, mmap_mode="r") for name in ("x.npy", "y.npy"))
    return x, y


def bare_numpy(x: Any, y: Any, block: int) -> Any:
    """The product and its SVD by NumPy."""
    product = np.zeros((x.shape[1], y.shape[1]), dtype=np.float32)
    for start in range(0, len(x), block):
        product += x[start : start + block].T @ y[start : start + block]
    return np.linalg.svd(product)


def bare_torch(x: Any, y: Any, block: int) -> Any:
    """The same by torch."""
    product = torch.zeros(x.shape[1], y.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the maps are read-only, and so is what follows
        left, right = torch.from_numpy(x), torch.from_numpy(y)
    for start in range(0, len(x), block):
        product += left[start : start + block].T @ right[start : start + block]
    return torch.linalg.svd(product)


def fastest_bare(x: Any, y: Any) -> tuple[str, Callable[[], Any]]:
    """The quickest of NumPy and torch over a few block sizes, each tried twice."""
    ways = {
        f"{name}, blocks of {block:,}": (lambda way=way, block=block: way(x, y, block))
        for name, way in (("NumPy", bare_numpy), ("torch", bare_torch))
        for block in (4096, 16_384, 65_536)
    }
    best = min(ways, key=lambda name: min(timed(ways[name])[0] for _ in range(2)))
    return best, ways[best]


def difference(bridge: Any, x: Any, y: Any) -> float:
    """The largest entry by which the rotation differs from SciPy's on centred float64 data."""
    a, b = (np.asarray(v, dtype=np.float64) for v in (x, y))
    a -= a.mean(axis=0)
    b -= b.mean(axis=0)
    return float(np.abs(bridge.weight / bridge.report["scale"] - orthogonal_procrustes(a, b)[0]).max())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Cost of align.fit over the bare arithmetic.")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        x, y = write(Path(folder), options.pairs, options.dim)

        def fit(normalize: bool) -> Any:
            return align.fit(x, y, method="orthogonal", normalize=normalize, device="cpu")

        # First of all, while nothing else has left memory behind.
        peak = peak_bytes(lambda: fit(False))
        how, bare = fastest_bare(x, y)
        calls = {"bare": bare, "fit": lambda: fit(False), "fit, normalize": lambda: fit(True)}
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(options.repeats):
            for name, call in calls.items():
                seconds[name].append(timed(call)[0])
        median = {name: statistics.median(values) for name, values in seconds.items()}

        print(
            header(seed=SEED)
            + f"load {load()}; NumPy {np.__version__}, torch {torch.__version__}; repeats {options.repeats}, alternating"
        )
        print(f"{options.pairs:,} pairs x {options.dim} dimensions, float32, memory-mapped, files cached\n")
        print(
            "| | median s | fastest s | ratio of medians | median of the ratios in each repeat |\n|---|---|---|---|---|"
        )
        for name, values in seconds.items():
            label = f"bare product + SVD ({how})" if name == "bare" else f"align.{name}"
            each = statistics.median(v / b for v, b in zip(values, seconds["bare"], strict=True))
            print(
                f"| {label} | {median[name]:.3f} | {min(values):.3f} | {median[name] / median['bare']:.2f} | {each:.2f} |"
            )
        print(f"\npeak anonymous memory above the imports and the maps: {peak / 2**20:.0f} MiB")
        print(f"largest difference from scipy.linalg.orthogonal_procrustes: {difference(fit(False), x, y):.1e}")


if __name__ == "__main__":
    main()
