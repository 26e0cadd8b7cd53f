"""`registry.retrieval` against one full argsort and one scikit-learn average precision per query.

    python -m bench.retrieval            # 10,000 x 10,000 x 128, 100 classes: the naive loop takes about half a minute
    python -m bench.retrieval --naive 1000

Both run in one process, in turns, on the same arrays; a ratio is of medians. With --naive fewer than all queries, its
time is scaled up to all of them.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from bench.measuring import load, peak_bytes, timed
from bench.report import header
from registry.retrieval import retrieval

SEED = 0


def data(n: int, dim: int, classes: int) -> tuple[Any, Any]:
    """Gaussian clusters that overlap, so that ranks spread over the whole gallery."""
    rng = np.random.default_rng(SEED)
    labels = rng.integers(0, classes, n)
    centres = rng.standard_normal((classes, dim))
    rows = (0.25 * centres[labels] + rng.standard_normal((n, dim))).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def naive(x: Any, labels: Any, queries: int) -> dict[str, Any]:
    """What an evaluation script does: for each query score, argsort, and call scikit-learn; its own row left out."""
    out = np.empty((queries, 3))
    for i in range(queries):
        scores = np.delete(x @ x[i], i)
        relevant = np.delete(labels == labels[i], i)
        ranked = relevant[np.argsort(-scores, kind="stable")]
        out[i] = ranked[:1].any(), ranked[:5].any(), average_precision_score(relevant, scores)
    return dict(zip(("cmc@1", "cmc@5", "map"), out.T, strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed and exactness of registry.retrieval.")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--naive", type=int, default=None, help="queries of the naive loop; all by default")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    x, labels = data(options.rows, options.dim, options.classes)
    queries = min(options.naive or options.rows, options.rows)

    def ours() -> Any:
        return retrieval(x, x, query_labels=labels, gallery_labels=labels, same_items=True)

    ours()  # starts the threads of the BLAS
    fast: list[float] = []
    slow: list[float] = []
    for _ in range(options.repeats):
        for _ in range(3):
            seconds, found = timed(ours)
            fast.append(seconds)
        seconds, expected = timed(lambda: naive(x, labels, queries))
        slow.append(seconds * options.rows / queries)
    worst = {name: float(np.nanmax(np.abs(found.per_query[name][:queries] - v))) for name, v in expected.items()}
    means = {
        name: abs(float(np.nanmean(found.per_query[name][:queries]) - np.nanmean(v))) for name, v in expected.items()
    }
    a, b = statistics.median(fast), statistics.median(slow)

    print(header(seed=SEED) + f"load {load()}; NumPy {np.__version__}; repeats: ours {len(fast)}, naive {len(slow)}")
    print(f"{options.rows:,} queries x {options.rows:,} rows x {options.dim} dimensions, {options.classes} classes\n")
    print("| | median s | fastest s |\n|---|---|---|")
    print(f"| registry.retrieval | {a:.3f} | {min(fast):.3f} |")
    print(
        f"| naive, {queries:,} queries{' scaled to all' if queries < options.rows else ''} | {b:.2f} | {min(slow):.2f} |"
    )
    print(f"| ratio | {b / a:.1f} | {min(slow) / min(fast):.1f} |\n")
    print("| metric | value | difference of means | largest of any query |\n|---|---|---|---|")
    for name, value in found.values().items():
        differences = f"{means[name]:.1e} | {worst[name]:.1e}" if name in means else "not in the naive loop | "
        print(f"| {name} | {value:.6f} | {differences} |")
    print(f"\npeak memory above the inputs (RssAnon): {peak_bytes(ours) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
