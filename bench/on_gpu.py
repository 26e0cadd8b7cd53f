"""What a GPU does with galleries: seconds, and the share of the matrix-product rate that was measured on it.

    python -m bench.on_gpu            # 1,000,000 pairs of 768 dimensions, 6 GB of memory

The peak is float32 with TF32 off, the precision of all moments: 8,192 x 8,192 x 8,192. Arrays begin in the host's memory, where a
gallery comes from, so the copy to the device is timed alone beside them.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from align.devices import full_precision
from align.metrics import linear_cka, retrieval
from align.moments import accumulate
from align.relative import project
from align.relative.on_torch import similarity_to
from bench.measuring import timed
from bench.report import header, table

SEED, DIM = 0, 768


def settled(call: Callable[[], Any], repeats: int = 3) -> float:
    """Median seconds until the device is done, after one call that is not counted."""

    def whole() -> None:
        call()
        torch.cuda.synchronize()

    whole()
    return statistics.median(timed(whole)[0] for _ in range(repeats))


def peak_rate(dtype: torch.dtype, side: int = 8192) -> float:
    """Operations a second of one large product."""
    a, b = (torch.randn(side, side, device="cuda").to(dtype) for _ in range(2))
    with full_precision("cuda"):
        return 2 * side**3 / settled(lambda: a @ b, 10)


def worst(x: Any, y: Any) -> float:
    """Largest difference of a covariance from float64, in its largest entry."""
    a, b = (v.astype(np.float64) for v in (x, y))
    exact = (a - a.mean(0)).T @ (b - b.mean(0)) / len(a)
    found = accumulate(x, y, parts=["xy"], device="cuda").cxy
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000)
    n = parser.parse_args().n
    if not torch.cuda.is_available():
        raise SystemExit("skipped: torch sees no CUDA device, and this table is of one")
    rng = np.random.default_rng(SEED)
    x, y = (rng.standard_normal((n, DIM), dtype=np.float32) for _ in range(2))
    anchors, labels = x[:300], np.arange(10_000) % 100
    on_device, those = torch.from_numpy(x[:200_000]).cuda(), torch.from_numpy(anchors).cuda()
    peak = peak_rate(torch.float32)
    product, square = 2 * n * DIM * DIM, n * DIM * DIM  # of a matrix with itself, half is enough
    work: dict[str, tuple[Callable[[], Any], float | None]] = {
        "copy of x and y to the device": (lambda: [torch.tensor(a, device="cuda") for a in (x, y)], None),
        "moments Cxx and Cxy": (lambda: accumulate(x, y, parts=["xx", "xy"], device="cuda"), product + square),
        "linear CKA": (lambda: linear_cka(x, y, device="cuda"), product + 2 * square),
        "relative projection, 300 anchors, cosine": (lambda: project(x, anchors, device="cuda"), 2 * n * DIM * 300),
        "the same of 200,000 rows that are on the device": (
            lambda: similarity_to(those, "cosine")(on_device), 2 * len(on_device) * DIM * 300,
        ),
        "retrieval, 10,000 x 10,000, 100 classes": (
            lambda: retrieval(x[:10_000], x[:10_000], query_labels=labels, gallery_labels=labels, same_items=True, device="cuda"),
            None,
        ),
    }  # fmt: skip
    rows = []
    for name, (call, operations) in work.items():
        seconds = settled(call)
        share = f"{100 * operations / seconds / peak:.0f} %" if operations else ""
        rows.append([name, f"{seconds:.3f}", share])
    print(torch.cuda.get_device_name(), "; ", header(seed=SEED), sep="")
    print(f"peak: {peak / 1e12:.1f} TFLOP/s in float32, {peak_rate(torch.bfloat16) / 1e12:.0f} in bfloat16")
    print(
        f"error of Cxy of 100,000 pairs against float64: {worst(x[:100_000], y[:100_000]):.1e} of its largest entry\n"
    )
    print(table([f"{n:,} x {DIM}, float32", "s", "share of the float32 peak"], rows))


if __name__ == "__main__":
    main()
