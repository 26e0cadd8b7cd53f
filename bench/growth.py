"""How append, search, evaluation and the search for a path grow with the gallery: 10^4, 10^5 and 10^6 rows.

    python -m bench.growth                          # 128 dimensions; some minutes
    python -m bench.growth --rows 10000000          # one size more, in blocks: 5 GB of disk
    python -m bench.growth --dtype float16

Each time is fitted as a power of the number of rows: the exponent is the slope of log time on log rows by least squares,
with its standard error. 1 is what reading everything once costs; 0 is what does not look at the rows. Search is exact and
warm, of 100 queries of another version that has a measured path; the path alone is a search of no queries, before each of
which the registry forgets the plan that it keeps while the facts do not change. An evaluation compares each item with each
other, and is measured on galleries of its own, of other sizes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from bench.measuring import load, timed
from bench.report import header, table
from registry import connect, transforms

SEED, BLOCK, CLASSES, MORE = 0, 65536, 1000, 1000
SIZES = (10_000, 100_000, 1_000_000)
EVALUATED = (3_000, 10_000, 30_000)


def parts(rng: Any, centres: Any, rows: int) -> Iterator[Any]:
    """Ids, vectors and labels of `rows` items in clusters."""
    for start in range(0, rows, BLOCK):
        many = min(BLOCK, rows - start)
        label = rng.integers(CLASSES, size=many)
        noise = rng.standard_normal((many, centres.shape[1]), dtype=np.float32)
        yield np.arange(start, start + many), centres[label] + noise, {"class": label}


def measured(home: Path, rows: int, dim: int, dtype: str, repeats: int) -> dict[str, float]:
    """Seconds of each operation on a gallery of `rows`, and bytes on disk for each row."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((CLASSES, dim), dtype=np.float32)
    rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    with connect(home) as reg:
        reg.register_version("m", dim=dim, dtype=dtype)
        reg.register_version("m", dim=dim)
        reg.create_gallery("g", id_type="int", labels=["class"])
        found = {"append all": timed(lambda: reg.append_parts("g", version="m/1", parts=parts(rng, centres, rows)))[0]}
        small = next(parts(rng, centres, 2000))
        reg.create_gallery("small", id_type="int", labels=["class"])
        reg.append("small", version="m/1", ids=small[0], vectors=small[1], labels=small[2])
        reg.append("small", version="m/2", ids=small[0], vectors=small[1] @ rotation.T, labels=small[2])
        reg.add_transform(transforms.Orthogonal(weight=rotation, bias=np.zeros(dim)), source="m/2", target="m/1")
        reg.evaluate("small")
        queries = small[1][:100] @ rotation.T

        def repeated(call: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> float:
            times = []
            for _ in range(repeats):
                before()
                times.append(timed(call)[0])
            return statistics.median(times)

        starts, labels = count(rows, MORE), {"class": small[2]["class"][:MORE]}

        def append() -> int:
            first = next(starts)
            ids = range(first, first + MORE)
            return reg.append("g", version="m/1", ids=ids, vectors=small[1][:MORE], labels=labels)

        found["append 1,000 more"] = repeated(append)
        found["first search"] = timed(lambda: reg.search("g", queries, version="m/2", k=10))[0]
        found["search, 100 queries"] = repeated(lambda: reg.search("g", queries, version="m/2", k=10))
        found["path"] = repeated(lambda: reg.search("g", queries[:0], version="m/2", k=10), reg._home.plans.forget)
        found["scan"] = repeated(lambda: sum(len(block.ids) for block in reg.scan("g", into="m/1")))
    segment = home / "galleries" / "g" / "m-1.lance" / "data"
    found["bytes a row"] = sum(file.stat().st_size for file in segment.iterdir()) / (rows + repeats * MORE)
    return found


def evaluated(home: Path, rows: int, dim: int) -> float:
    """Seconds of one evaluation of a benchmark of `rows` items by one version."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((CLASSES, dim), dtype=np.float32)
    with connect(home) as reg:
        reg.register_version("m", dim=dim)
        reg.create_gallery("g", id_type="int", labels=["class"])
        reg.append_parts("g", version="m/1", parts=parts(rng, centres, rows))
        return timed(lambda: reg.evaluate("g"))[0]


def exponent(rows: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """The slope of log seconds on log rows, and its standard error; the error of two points is not known."""
    x, y = np.log(rows), np.log(seconds)
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    left = y - y.mean() - slope * x
    error = float(np.sqrt(left @ left / (len(rows) - 2) / (x @ x))) if len(rows) > 2 else float("nan")
    return slope, error


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append", default=[], help="a size more; may be repeated")
    parser.add_argument("--only", type=int, action="append", default=[], help="these sizes alone")
    parser.add_argument("--evaluated", type=int, action="append", default=[], help="these sizes of evaluations alone")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    sizes, before = sorted(options.only or [*SIZES, *options.rows]), load()
    found = []
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measured(Path(folder, "home"), rows, options.dim, options.dtype, options.repeats))
    print(header(seed=SEED))
    lines = []
    for name in found[0]:
        values = [one[name] for one in found]
        if name == "bytes a row":
            lines.append((name, *(f"{value:.0f}" for value in values), ""))
        else:
            lines.append((f"{name}, s", *(f"{value:.4f}" for value in values), fitted(sizes, values)))
    print(table((f"x {options.dim}, {options.dtype}", *(f"{rows:,} rows" for rows in sizes), "exponent"), lines))
    sizes, seconds = sorted(options.evaluated or EVALUATED), []
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            seconds.append(evaluated(Path(folder, "home"), rows, options.dim))
    line = ("evaluate, s", *(f"{value:.2f}" for value in seconds), fitted(sizes, seconds))
    print("\n" + table(("one version", *(f"{rows:,} items" for rows in sizes), "exponent"), [line]))
    print(f"\n{options.repeats} repeats, medians; load {before} before, {load()} after")


def fitted(rows: Sequence[int], seconds: Sequence[float]) -> str:
    """The exponent as text."""
    slope, error = exponent(rows, seconds)
    return f"{slope:.2f} ± {error:.2f}"


if __name__ == "__main__":
    main()
