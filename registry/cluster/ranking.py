"""Evaluations on a cluster: blocks of queries are ranked by its nodes, in the shapes in which one process ranks them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from registry.cluster.nodes import Cluster
from registry.rankings import KS, Ranking, Sides, problem, sides_of
from registry.retrieval import Retrieval, Task, prepare, summarize
from registry.retrieval.ranking import ranked
from registry.retrieval.task import BLOCK_BYTES
from registry.transforms import loads
from registry.vectors import Array, Metric

if TYPE_CHECKING:
    from registry.benchmarks import Bench

__all__ = ["rankings"]

_PARTS_PER_CPU = 8  # of a ranking, at most: little is left to do when one node ends early
_KEPT = 2
_PREPARED: OrderedDict[str, Task] = OrderedDict()
"""What this worker ranked last, to go on with."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A ranking as a node is told of it: transforms are the bytes of their files."""

    id: str
    query_chain: tuple[bytes, ...]
    gallery_chain: tuple[bytes, ...]
    width: int | None
    metric: Metric
    pieces: int


def rankings(
    cluster: Cluster, bench: Bench, labels: Array, rankings: Sequence[Ranking], sides: Callable[[Ranking], Sides]
) -> Iterator[Retrieval]:
    """See `registry.rankings.Ranked`. Each node gets the vectors once, and maps them itself."""
    del sides
    vectors = {ref: cluster.put(found) for ref, found in bench.vectors.items()}
    known, n = cluster.put(labels), len(labels)
    pieces = max(1, min(_PARTS_PER_CPU * cluster.cpus(), -(-4 * n * n // BLOCK_BYTES)))

    def parts() -> Iterator[tuple[Any, ...]]:
        for ranking in rankings:
            job = cluster.put(_job(ranking, pieces))
            for piece in range(pieces):
                yield piece, job, vectors[ranking.query], vectors[ranking.gallery], known

    found = cluster.map(_rank, parts())
    for _ in rankings:
        columns = np.full((n, len(KS) + 3), np.nan)
        for rows, values in islice(found, pieces):
            columns[rows] = values
        yield summarize(columns, KS)


def _job(ranking: Ranking, pieces: int) -> _Job:
    query, gallery = (tuple(t.dumps() for t in chain) for chain in (ranking.query_chain, ranking.gallery_chain))
    return _Job(uuid4().hex, query, gallery, ranking.width, ranking.metric, pieces)


def _rank(piece: int, job: _Job, queries: Array, gallery: Array, labels: Array) -> tuple[Array, Array]:
    """The queries (m,) of a piece, and their metrics (m, c); in a worker."""
    task = _PREPARED.get(job.id)
    if task is None:
        task = _PREPARED[job.id] = _prepared(job, queries, gallery, labels)
        while len(_PREPARED) > _KEPT:
            _PREPARED.popitem(last=False)
    blocks = list(task.blocks(task.rows(None)))
    first, last = (len(blocks) * at // job.pieces for at in (piece, piece + 1))
    found = list(ranked(task, blocks[first:last]))
    if not found:
        return np.empty(0, dtype=np.int64), np.empty((0, task.width))
    return np.concatenate([rows for rows, _ in found]), np.concatenate([values for _, values in found])


def _prepared(job: _Job, queries: Array, gallery: Array, labels: Array) -> Task:
    query_chain, gallery_chain = (tuple(map(loads, chain)) for chain in (job.query_chain, job.gallery_chain))
    vectors = {"query": queries, "gallery": gallery}
    ranking = Ranking("query", "gallery", query_chain, gallery_chain, job.width, job.metric)
    return prepare(**problem(sides_of(ranking, vectors), labels), block=None)
