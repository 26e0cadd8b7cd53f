"""Building an index, in a process of its own: `python -m registry.indexes.job`, which a registry starts.

It reads a job as JSON from standard input and writes lines of JSON: {"progress": [done, all]} …, and last
{"built": …} or {"error": …}. Memory: the index, ids and addresses of all rows, a sample for training, and a block of rows.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from registry import wire
from registry.backends import LanceBackend
from registry.errors import InvalidInput, SamespaceError, Unavailable
from registry.gallery import Dataset, OpenDatasets
from registry.index import prepared
from registry.indexes.files import IndexFiles, Rows, written
from registry.indexes.kinds import Recipe
from registry.indexes.making import trained, training_rows
from registry.indexes.tuning import Truth, recall_of, tuned
from registry.vectors import Array, Metric

__all__ = ["Built", "Job", "attempted", "build"]

_QUERIES = 1000
_BLOCK_ROWS = 16384
_TRAINING_BYTES = 1 << 30
_LONGEST_HALF = 60000.0

Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What to build, of which dataset at which version, and where to put it."""

    gallery: str
    version: str
    id_type: str
    uri: str
    lance_version: int
    rows: int
    dim: int
    metric: Metric
    kind: str
    compression: str
    settings: dict[str, int]
    recall: float
    k: int
    seed: int
    faiss: str
    rows_file: str


@dataclass(frozen=True, slots=True)
class Built:
    """What was built and how good it is: `recall` of the exact `k` nearest, of `queries` rows that were held out."""

    settings: dict[str, Any]
    digest: str
    bytes: int
    recall: float
    k: int
    queries: int
    seconds: float


def build(job: Job, told: Told) -> Built:
    """Train, add, tune, measure and write an index; `told` hears how many rows are in, of how many.

    Some rows are left out at first: exact search finds their nearest rows, on some of them the knob is tuned and on the
    others recall is measured, as of queries that the index has never seen. Then they are added.
    """
    begun = time.monotonic()
    backend = LanceBackend(
        job.gallery, job.version, job.id_type, Dataset(job.uri, OpenDatasets()), job.lance_version, job.rows
    )
    backend.check()
    recipe = Recipe(job.kind, job.compression, job.settings)
    rng = np.random.default_rng(job.seed)
    held = np.sort(rng.choice(job.rows, min(2 * _QUERIES, job.rows // 5), replace=False))
    told(0, job.rows)
    index = trained(recipe, job.dim, job.metric, _sample(job, recipe, backend, held, rng))
    made = _Filling(job, index, _gathered(job, backend, held), rng)
    for ids, rows, addresses, apart in _blocks(job, backend, held):
        made.add(ids, rows, addresses, apart)
        told(made.rows, job.rows)
    settings, recall, queries = made.measured(recipe)
    covered = made.finished(backend.fragments())
    digest, size = written(IndexFiles(Path(job.faiss), Path(job.rows_file)), index, covered, job.metric)
    told(job.rows, job.rows)
    return Built(settings, digest, size, recall, job.k, queries, time.monotonic() - begun)


class _Filling:
    """An index while rows come in, with the truth about the queries."""

    def __init__(self, job: Job, index: Any, held: Array, rng: np.random.Generator) -> None:
        self._job, self._index, self._held = job, index, held
        self._order = rng.permutation(len(held))
        queries = held[self._order] if len(held) else prepared(np.zeros((0, job.dim), np.float32), job.metric)
        self._truth = Truth(queries, max(1, min(job.k, job.rows - len(held))), job.metric)
        self._ids: list[pa.Array] = []
        self._late: list[pa.Array] = []
        self._addresses: list[Array] = []
        self._late_addresses: list[Array] = []
        self._longest = _longest(held, job)
        self.rows = 0

    def add(self, ids: pa.Array, rows: Array, addresses: Array, apart: Array) -> None:
        """Add the rows (m, d) but those that stand `apart` (m,), which are held out."""
        here = ~apart
        kept = np.ascontiguousarray(rows[here])
        self._longest = max(self._longest, _longest(kept, self._job))
        self._truth.see(kept, int(self._index.ntotal))
        if len(kept):
            self._index.add(kept)
        mask = pa.array(here)
        self._ids.append(ids.filter(mask))
        self._late.append(ids.filter(pa.array(apart)))
        self._addresses.append(addresses[here])
        self._late_addresses.append(addresses[apart])
        self.rows += len(rows)

    def measured(self, recipe: Recipe) -> tuple[dict[str, Any], float, int]:
        """The settings with the knob, the recall, and of how many queries; without rows to hold out all is taken for found."""
        lossless = recipe.compression == "none"
        settings: dict[str, Any] = {**recipe.settings, "target": self._job.recall}
        half = len(self._held) // 2
        knob = None if recipe.knob is None else recipe.settings.get(recipe.knob)
        if recipe.knob and knob is None:
            tuning = self._truth.part(slice(0, max(half, 1)))
            knob = 16 if not len(self._held) else tuned(self._index, tuning, self._job.recall, lossless=lossless)
        if recipe.knob:
            settings[recipe.knob] = knob
        others = self._truth.part(slice(half, None))
        if not len(others.queries):
            return settings, 1.0, 0
        return settings, recall_of(self._index, others, knob, lossless=lossless), len(others.queries)

    def finished(self, fragments: dict[int, tuple[str, int]]) -> Rows:
        """Add the rows that were held out; return what the index covers."""
        if len(self._held):
            self._index.add(self._held)
        return Rows(
            pa.concat_arrays([*self._ids, *self._late]),
            np.concatenate([*self._addresses, *self._late_addresses]).astype(np.uint64),
            fragments,
            len(self._held),
            self._longest,
        )


def _blocks(job: Job, backend: LanceBackend, held: Array) -> Iterator[tuple[pa.Array, Array, Array, Array]]:
    """Ids, prepared rows, addresses, and which are held out, block by block."""
    start = 0
    for ids, rows, addresses in backend.addressed_blocks(_BLOCK_ROWS):
        apart = np.zeros(len(ids), dtype=bool)
        low, high = np.searchsorted(held, (start, start + len(ids)))
        apart[held[low:high] - start] = True
        yield ids, prepared(rows, job.metric), addresses, apart
        start += len(ids)


def _sample(job: Job, recipe: Recipe, backend: LanceBackend, held: Array, rng: np.random.Generator) -> Array:
    """Rows to train on, none of them held out unless there are too few others."""
    many = min(training_rows(recipe, job.rows), max(1024, _TRAINING_BYTES // (4 * job.dim)))
    places = rng.choice(job.rows, min(job.rows, many + len(held)), replace=False) if many else np.empty(0, np.int64)
    others = places[~np.isin(places, held)]
    settings = recipe.settings  # of centroids, and of codes of one part of a vector
    least = max(many * 4 // 5, settings.get("nlist", 1), 1 << settings.get("pq_bits", 0))
    return _gathered(job, backend, np.sort((others if len(others) >= least else places)[:many]))


def _gathered(job: Job, backend: LanceBackend, places: Array) -> Array:
    """The rows at rising `places`, prepared: one by one where they are few, else in one pass, which is then faster."""
    if not len(places):
        return np.zeros((0, job.dim), dtype=np.float32)
    if len(places) * 100 < job.rows:
        return prepared(backend.rows(places), job.metric)
    found, start = [], 0
    for ids, rows in backend.blocks():
        low, high = np.searchsorted(places, (start, start + len(ids)))
        found.append(rows[places[low:high] - start])
        start += len(ids)
    return prepared(np.concatenate(found), job.metric)


def _longest(rows: Array, job: Job) -> float:
    """The greatest length; refused where half precision could not hold it."""
    found = float(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64).max(initial=0)))
    if job.compression == "half" and found > _LONGEST_HALF:
        raise InvalidInput(
            f"vectors measure up to {found:.3g}, more than half precision holds: choose another compression"
        )
    return found


@contextmanager
def attempted() -> Iterator[None]:
    """Say of a build what it ran out of.

    Raises:
        Unavailable: there is no memory or no disk for it.
    """
    try:
        yield
    except SamespaceError:
        raise
    except (MemoryError, OSError, RuntimeError) as error:
        first = (str(error).splitlines() or ["no reason given"])[0]
        raise Unavailable(f"the index cannot be built: {first:.200}; free some and try again") from error


def main() -> None:
    """Do the job on standard input."""
    job = Job(**json.load(sys.stdin))
    try:
        with attempted():
            built = build(job, lambda done, of: _say({"progress": [done, of]}))
        _say({"built": asdict(built)})
    except SamespaceError as error:
        _say({"error": wire.said(error)})


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)  # whoever asked is gone when this fails, and so is the reason to go on


if __name__ == "__main__":
    main()
