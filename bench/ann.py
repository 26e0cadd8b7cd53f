"""Approximate search through the registry against bare FAISS on the very same index files, on clustered unit vectors.

    python -m bench.ann [--rows 1000000] [--dim 128] [--compressions]

Both sides run in turns in one process: single queries one after the other, and a batch of 1,000. The queries are rows that
were left out of the gallery; recall is against the exact nearest of them. With `--compressions` every other kind and
compression is built, too, with its size and its measured recall. 1,000,000 x 128 takes about 15 minutes on two idle cores
(40 with `--compressions`), 100,000 one to two.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from bench.measuring import load, timed
from bench.report import header, table
from registry import connect
from registry.indexes.making import parameters
from registry.types import IndexInfo
from registry.vectors import Array, normalize

SEED, K, SINGLES, BATCH = 0, 10, 2000, 1000
OTHERS = (
    ("exact", "half"), ("exact", "int8"), ("exact", "lowrank"), ("hnsw", "half"), ("hnsw", "int8"), ("hnsw", "lowrank"),
    ("ivf", "half"), ("ivf", "int8"), ("ivf", "lowrank"), ("ivfpq", "pq"), ("opq", "pq"),
)  # fmt: skip


def vectors(rows: int, dim: int) -> tuple[Array, Array]:
    """Clustered unit vectors (rows, dim), and as many queries of the same kind as a run needs."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((max(10, rows // 200), dim), dtype=np.float32)
    many = rows + SINGLES
    x = centres[rng.integers(len(centres), size=many)]
    for start in range(0, many, 1 << 16):  # in blocks: noise for all at once would take as much memory again
        part = x[start : start + (1 << 16)]
        part += 0.5 * rng.standard_normal(part.shape, dtype=np.float32)
        part[:] = normalize(part)
    return x[:rows], x[rows:]


def bare_of(home: Path, info: IndexInfo) -> tuple[Any, Any, Array]:
    """The registry's own index file as FAISS opens it, the parameters that it was tuned to, and the ids of its rows."""
    index = faiss.read_index(str(home / "indexes" / f"{info.id}.faiss"), faiss.IO_FLAG_MMAP_IFC)
    knob = info.settings.get("ef_search", info.settings.get("nprobe"))
    ids = pa.ipc.open_file(home / "indexes" / f"{info.id}.rows").read_all()["id"].to_numpy()
    return index, parameters(index, knob), ids


def each(search: Any, queries: Array) -> list[float]:
    """Seconds of searches for one query each."""
    seconds = []
    for i in range(len(queries)):
        begun = time.perf_counter()
        search(queries[i : i + 1])
        seconds.append(time.perf_counter() - begun)
    return seconds


def measured(reg: Any, home: Path, info: IndexInfo, queries: Array, truth: Array, repeats: int) -> list[list[str]]:
    """The rows of one index: bare FAISS, the registry, and their ratio."""
    index, given, ids = bare_of(home, info)
    sides = {
        "FAISS": lambda q: index.search(q, K, params=given)[1],
        "registry": lambda q: reg.search("g", q, version="m/1", k=K).ids,
    }
    ones: dict[str, list[float]] = {name: [] for name in sides}
    batches: dict[str, list[float]] = {name: [] for name in sides}
    found = {}
    for search in sides.values():
        search(queries[:BATCH])  # pages of the file are read, and threads started
    for turn in range(repeats):
        part = queries[turn * (SINGLES // repeats) :][: SINGLES // repeats]
        for name, search in sides.items():
            search(part[:5])
            ones[name] += each(search, part)
        for name, search in sides.items():
            took, found[name] = timed(lambda search=search: search(queries[:BATCH]))
            batches[name].append(took)
    rows = []
    for name in sides:
        if name == "FAISS":
            found[name] = ids[found[name]]
        recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found[name].tolist(), truth.tolist(), strict=True)])
        p50, p99 = (1e3 * float(np.percentile(ones[name], p)) for p in (50, 99))
        batch = 1e3 * statistics.median(batches[name])
        rows.append([f"{info.kind}, {name}", f"{recall:.3f}", f"{p50:.3f}", f"{p99:.3f}", f"{batch:.1f}"])
    bare, ours = ([float(x) for x in row[2:]] for row in rows)
    rows.append([f"{info.kind}, ratio", "", *(f"{b / a:.2f}" for a, b in zip(bare, ours, strict=True))])
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--compressions", action="store_true")
    options = parser.parse_args()
    x, queries = vectors(options.rows, options.dim)
    truth = faiss.knn(queries[:BATCH], x, K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    print(header(seed=SEED) + f"{options.rows:,} x {options.dim}, load {load()}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder, connect(folder) as reg:
        reg.register_version("m", dim=options.dim)
        reg.create_gallery("g", id_type="int")
        took, _ = timed(lambda: reg.append("g", version="m/1", ids=np.arange(len(x)), vectors=x))
        print(f"append: {took:.1f} s, {len(x) / took:,.0f} rows/s\n", flush=True)
        rows, built = [], []
        for kind in ("hnsw", "ivf"):
            info = reg.build_index("g", kind=kind)
            built.append(info)
            rows += measured(reg, Path(folder), info, queries, truth, options.repeats)
        print(table(["", f"recall@{K}", "one, p50 ms", "one, p99 ms", f"batch of {BATCH}, ms"], rows), flush=True)
        for kind, compression in OTHERS if options.compressions else ():
            built.append(reg.build_index("g", kind=kind, compression=compression))
    shown = [
        [f"{i.kind}, {i.compression}", f"{i.seconds:.1f}", f"{i.bytes / 1e6:.1f}", f"{i.bytes / i.exact_bytes:.2f}",
         f"{1 - i.recall:.3f}"]
        for i in built
    ]  # fmt: skip
    print("\n" + table(["kind, compression", "build s", "MB", "of exact float32", "loss of recall@10"], shown))


if __name__ == "__main__":
    main()
