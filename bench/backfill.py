"""Backfill: what a run costs beside bare encoding and appending; and a run that is killed while it stores.

Both halves of the measurement encode the same items in batches of one size with an encoder that takes no time, and store
them with all that was acknowledged on disk: the one by `append`, the other by `run_backfill`, whose batches also note which
vectors are the backfill's and how far it is. An encoder takes a multiple of that, so that the share of a real run is told
for one of 100 and of 1,000 items per second too.

    python -m bench.backfill
    python -m bench.backfill --items 20000 --batch 256
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.faults import killed_after
from bench.report import header, table
from registry import gallery, staging
from registry.backfill import portions, running, undoing
from registry.embedded import Registry
from registry.services import backfills
from registry.vectors import Array

__all__ = ["fill", "run_until_killed", "vectors"]

OLD, NEW = 8, 12
_STORING = [Path(str(module.__file__)) for module in (gallery, staging, portions, running, undoing, backfills)]


def vectors(ids: list[int], width: int = NEW) -> Array:
    """What the encoder gives of whole numbers (n,): (n, width), the same of the same."""
    x = np.asarray(ids, dtype=np.float64)[:, None] * 0.37 + np.arange(width)
    return np.cos(x).astype(np.float32)


def fill(registry: Registry, items: int) -> None:
    """A gallery `shelf` of so many items that m/1 embedded; m/2 is registered."""
    for width in (OLD, NEW):
        registry.register_version("m", dim=width)
    registry.create_gallery("shelf", id_type="int")
    ids = list(range(items))
    registry.append("shelf", version="m/1", ids=ids, vectors=vectors(ids, OLD))


def run_until_killed(home: str, database: str | None, id: str, lines: int, step: str) -> str:
    """Run a backfill, or roll it back, in this process, which is killed when so many lines of ours were run."""
    with Registry.open(home, database=database) as registry:
        killed_after(lines, _STORING)
        found = registry.run_backfill(id, encode=vectors) if step == "run" else registry.roll_back_backfill(id)
    return found.status


def _appended(folder: Path, items: int, batch: int) -> float:
    """Seconds to encode and append in batches, bare."""
    with Registry.open(folder) as registry:
        fill(registry, items)
        order = np.random.default_rng(0).permutation(items).tolist()
        begun = time.perf_counter()
        for start in range(0, items, batch):
            part = order[start : start + batch]
            registry.append("shelf", version="m/2", ids=part, vectors=vectors(part))
        return time.perf_counter() - begun


def _run(folder: Path, items: int, batch: int) -> float:
    """Seconds of a run of the same."""
    with Registry.open(folder) as registry:
        fill(registry, items)
        plan = registry.plan_backfill("shelf", into="m/2", batch=batch)
        begun = time.perf_counter()
        done = registry.run_backfill(plan.id, encode=vectors)
        seconds = time.perf_counter() - begun
        assert done.written == items
        return seconds


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--items", type=int, default=8192)
    arguments.add_argument("--batch", type=int, default=256)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    print(header(seed=0))
    found = []
    for number in range(given.rounds):  # in turn, so that a busy machine is shared alike
        with tempfile.TemporaryDirectory() as folder:
            bare = _appended(Path(folder) / f"a{number}", given.items, given.batch)
            run = _run(Path(folder) / f"b{number}", given.items, given.batch)
            found.append((bare, run))
    bare, run = (float(np.median(seconds)) for seconds in zip(*found, strict=True))
    ratios = [b / a for a, b in found]
    rows = [
        ("append, bare", f"{bare:.2f}", f"{given.items / bare:,.0f}", "1"),
        ("run", f"{run:.2f}", f"{given.items / run:,.0f}", f"{np.median(ratios):.2f}"),
    ]
    print(table(("", "seconds", "items/s", "ratio"), rows))
    for rate in (100, 1000):
        encoding = given.items / rate
        print(f"with an encoder of {rate:,} items per second: {(encoding + run) / (encoding + bare):.3f} times as long")


if __name__ == "__main__":
    main()
