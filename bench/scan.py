"""Scanning a gallery into another version's space, against reading it with Lance and multiplying bare: 1,000,000 x 512.

    python -m bench.scan                    # 2 GB of vectors; some minutes
    python -m bench.scan --rows 100000

The registry's side does what a user's call does: finds the path, names the items, checks that every vector is finite and
has a direction left, and scales to length 1. The bare side reads the vectors alone and multiplies. Both run in turns in one
process, warm, from blocks of the same size; a ratio is of medians. Memory is that of a process that does nothing but one
scan: what it held at most, above what it held before; of half as many rows too, since it must not grow with them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.measuring import load, peak_bytes, timed
from bench.report import header, table
from registry import connect, transforms

SEED, BLOCK = 0, 65536


def build(home: Path, rows: int, dim: int) -> None:
    """A gallery of `rows` vectors by m/1, and a rotation from m/1 to m/2."""
    rng = np.random.default_rng(SEED)
    rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    with connect(home) as reg:
        reg.register_version("m", dim=dim)
        reg.register_version("m", dim=dim)
        reg.create_gallery("g")

        def parts() -> Iterator[Any]:
            for start in range(0, rows, BLOCK):
                count = min(BLOCK, rows - start)
                ids = [f"item-{i}" for i in range(start, start + count)]
                yield ids, rng.standard_normal((count, dim), dtype=np.float32), None

        reg.append_parts("g", version="m/1", parts=parts())
        forward = transforms.Orthogonal(weight=rotation, bias=np.zeros(dim))
        reg.add_transform(forward, source="m/1", target="m/2")


def scanned(home: Path) -> int:
    """Read the whole gallery into m/2; how many items came."""
    with connect(home) as reg:
        return sum(len(block.ids) for block in reg.scan("g", into="m/2", rows=BLOCK, allow_unmeasured=True))


def bare(home: Path, weight: Any) -> int:
    """Read the vectors with Lance and multiply each block."""
    import lance

    dataset, count = lance.dataset(str(home / "galleries" / "g" / "m-1.lance")), 0
    for batch in dataset.to_batches(columns=["vector"], batch_size=BLOCK):
        rows = batch.column("vector").flatten().to_numpy().reshape(-1, len(weight))
        count += len(rows @ weight)
    return count


def held(home: Path) -> float:
    """MiB that one scan held at most, in a process of its own."""
    child = [sys.executable, "-m", "bench.scan", "--child", str(home)]
    return int(subprocess.run(child, check=True, capture_output=True, text=True).stdout) / 2**20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(peak_bytes(lambda: scanned(options.child)))
        return
    before = load()
    with tempfile.TemporaryDirectory() as folder:
        home, half = Path(folder, "home"), Path(folder, "half")
        build(half, options.rows // 2, options.dim)
        append, _ = timed(lambda: build(home, options.rows, options.dim))
        weight = np.random.default_rng(1).standard_normal((options.dim, options.dim)).astype(np.float32)
        times: dict[str, list[float]] = {"bare": [], "ours": []}
        assert bare(home, weight) == scanned(home) == options.rows  # and everything is in the page cache
        for _ in range(options.repeats):
            times["bare"].append(timed(lambda: bare(home, weight))[0])
            times["ours"].append(timed(lambda: scanned(home))[0])
        whole, of_half = held(home), held(half)
    print(header(seed=SEED))
    middle = {name: statistics.median(some) for name, some in times.items()}
    columns = ("scan", "median s", "rows/s", "rate")
    names = {"bare": "Lance, and a bare product", "ours": "through the registry"}
    lines = [
        (names[name], f"{s:.2f}", f"{options.rows / s:,.0f}", f"{middle['bare'] / s:.2f}") for name, s in middle.items()
    ]
    print(table(columns, lines))
    print(
        f"\n{options.rows:,} x {options.dim}, appended in {append:.1f} s; the scan held at most {whole:.0f} MiB, "
        f"of half as many rows {of_half:.0f}; {options.repeats} repeats in turns; load {before} before, {load()} after; "
        "bar: rate at least 0.60"
    )


if __name__ == "__main__":
    main()
