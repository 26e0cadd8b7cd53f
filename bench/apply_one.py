"""What `Transform.apply` adds to the bare matrix products for one query: checks, two normalisations, the shift.

    python -m bench.apply_one                 # one 768-d query, float32, one BLAS thread, some ten seconds

Each kind is timed in turns with its own products and nothing else, since a large matrix drives the others out of the
cache; the figure is the difference of the medians of many calls.
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
from registry.vectors import Array

SEED = 0

Kind = tuple[str, Transform, Callable[[Array], Any]]
"""Its name, one of the kind, and its matrix products."""


def kinds(dim: int) -> list[Kind]:
    """One of each kind that multiplies by matrices, (dim, dim)."""
    rng = np.random.default_rng(SEED)
    rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    bias, rank, hidden = np.full(dim, 0.01, np.float32), dim // 4, 2 * dim
    turn, any_ = Orthogonal(weight=rotation, bias=bias), Affine(weight=rotation, bias=bias)
    low = LowRank(down=rotation[:, :rank], up=rotation[:rank], bias=bias)
    first = np.concatenate([rotation, -rotation], axis=1)
    net = Mlp(weight=rotation, bias=bias, layers=((first, np.zeros(hidden)),), out=0.1 * first.T)
    between = Slerp(weight=rotation, bias=bias, alpha=0.5)
    return [
        ("orthogonal", turn, lambda x: x @ turn.weight),
        ("affine", any_, lambda x: x @ any_.weight),
        (f"lowrank, rank {rank}", low, lambda x: x @ low.down @ low.up),
        (f"mlp, hidden {hidden}", net, lambda x: (x @ net.weight, x @ net.layers[0][0] @ net.out)),
        ("slerp", between, lambda x: x @ between.weight),
    ]


def in_turns(*calls: Callable[[], Any], repeats: int) -> list[float]:
    """Median microseconds of each call."""
    taken: list[list[int]] = [[] for _ in calls]
    for _ in range(repeats):
        for times, call in zip(taken, calls, strict=True):
            start = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - start)
    return [statistics.median(times[len(times) // 10 :]) / 1000 for times in taken]  # the first ones warm the cache


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Cost of Transform.apply over its bare products, for one query.")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=5000)
    options = parser.parse_args()
    query = np.random.default_rng(SEED).standard_normal(options.dim).astype(np.float32)
    rows = []
    with one_blas_thread():
        for name, t, bare in kinds(options.dim):
            for x in (query, query[None]):
                side = x[..., ::-1].copy() if t.side_dim else None
                floor, whole = in_turns(
                    lambda x=x, bare=bare: bare(x),
                    lambda t=t, x=x, side=side: t.apply(x, side),
                    repeats=options.repeats,
                )
                rows.append((name, str(x.shape), f"{floor:.1f}", f"{whole:.1f}", f"{whole - floor:+.1f}"))
    print(
        header(seed=SEED) + f"load {load()}; NumPy {np.__version__}; one BLAS thread; {options.repeats} calls in turns"
    )
    print(f"one query of {options.dim} dimensions, float32, normalize on; microseconds, medians\n")
    print(table(("kind", "query", "bare products", "apply", "more"), rows))


if __name__ == "__main__":
    main()
