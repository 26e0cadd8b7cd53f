"""Vectors through HTTP against the same in this process: 1,000,000 x 128 float32, read into NumPy and appended.

    python -m bench.throughput [--rows 1000000] [--dim 128] [--repeats 3]

Reading in-process is of the same Lance data, twice: by Lance's own scanner into a NumPy array, and by `scan` of an embedded
registry. The client reads by `scan` into an array of its own from `samespace serve` on loopback, on the same two cores.
Each repeat does all in turns; a rate is of the median. Memory is RssAnon of the server's largest worker, sampled.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np

from bench.measuring import load, timed
from bench.report import header, table
from bench.served import anonymous_of, served
from registry import connect
from registry.vectors import Array

SEED = 0


def filled(blocks: Any, n: int, dim: int) -> Array:
    """Blocks of vectors as one array."""
    out = np.empty((n, dim), dtype=np.float32)
    start = 0
    for block in blocks:
        out[start : start + len(block)] = block
        start += len(block)
    assert start == n
    return out


def peak_of(pid: int, call: Callable[[], Any]) -> tuple[int, Any]:
    """How much the server's memory grew at most during a call, and what the call gave."""
    before = peak = anonymous_of(pid)
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, anonymous_of(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = call()
    finally:
        done.set()
        watcher.join()
    return peak - before, result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    n, dim = given.rows, given.dim
    x = np.random.default_rng(SEED).standard_normal((n, dim), dtype=np.float32)
    ids = np.arange(n)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        own = connect(home)
        own.register_version("m", dim=dim)
        with served(home, "--workers", "1") as (url, pid):
            there = connect(url, progress=False)
            seconds: dict[str, list[float]] = {}
            grown: dict[str, int] = {}

            def note(what: str, call: Callable[[], Any], *, watch: bool = False) -> Any:
                grew, (took, result) = peak_of(pid, lambda: timed(call)) if watch else (0, timed(call))
                seconds.setdefault(what, []).append(took)
                if watch:
                    grown[what] = max(grown.get(what, 0), grew)
                return result

            for i in range(given.repeats):
                for name, who in ((f"own{i}", own), (f"there{i}", there)):
                    own.create_gallery(name, id_type="int")
                    what = "append" if who is own else "append, HTTP"
                    note(
                        what,
                        lambda name=name, who=who: who.append(name, version="m/1", ids=ids, vectors=x),
                        watch=who is there,
                    )
                data = lance.dataset(str(home / "galleries" / f"own{i}" / "m-1.lance"))
                note(
                    "read, Lance",
                    lambda data=data: filled((_matrix(b, dim) for b in data.to_batches(batch_size=8192)), n, dim),
                )
                for what, who in (("read, embedded", own), ("read, HTTP", there)):
                    got = note(
                        what, lambda who=who, i=i: filled((e.vectors for e in who.scan(f"own{i}", into="m/1")), n, dim),
                        watch=who is there,
                    )  # fmt: skip
                    assert np.array_equal(got, x)
                half = connect(url, progress=False, dtype="float16")
                note(
                    "read, HTTP, float16",
                    lambda half=half, i=i: filled((e.vectors for e in half.scan(f"own{i}", into="m/1")), n, dim),
                )
                some = np.random.default_rng(i).permutation(n)[: n // 10]
                for what, who in (("fetch of a tenth by id", own), ("fetch of a tenth by id, HTTP", there)):
                    note(
                        what,
                        lambda who=who, i=i, some=some: who.fetch(f"own{i}", ids=some, into="m/1"),
                        watch=who is there,
                    )
                time.sleep(0.5)
    report(seconds, grown, n * dim * 4)


def _matrix(batch: Any, dim: int) -> Array:
    rows: Array = batch.column("vector").flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return rows


def report(seconds: dict[str, list[float]], grown: dict[str, int], size: int) -> None:
    """Print the table."""
    print(header(seed=SEED) + f"load {load()}; {size / 1e6:.0f} MB of vectors\n")
    middle = {what: statistics.median(values) for what, values in seconds.items()}
    rows = []
    for what, took in middle.items():
        beside = {"append, HTTP": "append", "fetch of a tenth by id, HTTP": "fetch of a tenth by id"}.get(
            what, "read, Lance"
        )
        part = 0.1 if what.startswith("fetch") else 1
        share = f"{100 * middle[beside] / took:.0f} % of {beside}" if "HTTP" in what else ""
        if what.startswith("read, HTTP"):
            share += f", {100 * middle['read, embedded'] / took:.0f} % of embedded"
        memory = f"{grown[what] / 1e6:.0f}" if what in grown else ""
        rows.append([what, f"{took:.2f}", f"{part * size / took / 1e6:.0f}", share, memory])
    print(table(["", "median s", "MB/s", "rate", "server's memory grew by at most, MB"], rows))


if __name__ == "__main__":
    main()
