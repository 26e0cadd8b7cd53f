"""What `Transform.apply` adds to the bare product `x @ W` for one query: checks, two normalisations, the shift.

    python -m bench.apply_one                 # one 768-d query, float32, one BLAS thread, a few seconds

Both are timed in turns in one process; the figure is the difference of the medians of many calls.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.measuring import load
from bench.report import header, table
from registry.threads import one_blas_thread
from registry.transforms import Affine, LowRank, Mlp, Orthogonal, Slerp, Transform

SEED = 0


def transforms(dim: int) -> dict[str, Transform]:
    """One of each kind that multiplies by matrices, (dim, dim)."""
    rng = np.random.default_rng(SEED)
    rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    bias, rank, hidden = np.full(dim, 0.01, np.float32), dim // 4, 2 * dim
    return {
        "orthogonal": Orthogonal(weight=rotation, bias=bias),
        "affine": Affine(weight=rotation, bias=bias),
        f"lowrank, rank {rank}": LowRank(down=rotation[:, :rank], up=rotation[:rank], bias=bias),
        f"mlp, hidden {hidden}": Mlp(
            weight=rotation, bias=bias, out=np.zeros((hidden, dim)),
            layers=((np.concatenate([rotation, -rotation], axis=1), np.zeros(hidden)),),
        ),
        "slerp": Slerp(weight=rotation, bias=bias, alpha=0.5),
    }  # fmt: skip


def in_turns(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median microseconds of each call."""
    taken: dict[str, list[int]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter_ns()
            call()
            taken[name].append(time.perf_counter_ns() - start)
    return {name: statistics.median(ns) / 1000 for name, ns in taken.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Cost of Transform.apply over the bare product, for one query.")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=5000)
    options = parser.parse_args()
    x = np.random.default_rng(SEED).standard_normal(options.dim).astype(np.float32)
    row, side = x[None], x[::-1].copy()
    kinds = transforms(options.dim)
    weight = kinds["orthogonal"].arrays()["weight"]
    calls: dict[str, Callable[[], Any]] = {"x @ W, (d,)": lambda: x @ weight, "x @ W, (1, d)": lambda: row @ weight}
    for name, t in kinds.items():
        beside = side if t.side_dim else None
        calls[f"{name}, (d,)"] = lambda t=t, s=beside: t.apply(x, s)
        calls[f"{name}, (1, d)"] = lambda t=t, s=beside: t.apply(row, s if s is None else s[None])
    with one_blas_thread():
        in_turns(calls, options.repeats // 10)  # warms caches up
        micros = in_turns(calls, options.repeats)
    print(
        header(seed=SEED) + f"load {load()}; NumPy {np.__version__}; one BLAS thread; {options.repeats} calls in turns"
    )
    print(f"one query of {options.dim} dimensions, float32, normalize on; microseconds, medians\n")
    rows = []
    for name, us in micros.items():
        bare = micros["x @ W, " + name.rpartition(", ")[2] if "(1, d)" not in name else "x @ W, (1, d)"]
        rows.append((name, f"{us:.1f}", f"{us - bare:+.1f}"))
    print(table(("call", "median", "more than x @ W"), rows))


if __name__ == "__main__":
    main()
