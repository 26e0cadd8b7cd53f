"""An embedded registry that computes on a Ray cluster: the same methods, with the same results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

from registry import evaluating, indexing, searching
from registry.backfill import running
from registry.cluster import building, encoding, ranking, scanning
from registry.cluster.nodes import Cluster
from registry.cluster.shards import Shards
from registry.embedded import Registry
from registry.fingerprints import Fingerprint
from registry.home import Home
from registry.types import Backfill, Embeddings, Hits, IndexInfo, Matrix

__all__ = ["ClusterRegistry"]


class ClusterRegistry(Registry):
    """A registry whose scans, evaluations, searches, indexes and backfills are computed by nodes; see `docs/cluster.md`.

    The facts are read and written by this process alone. Nodes read vectors where this registry keeps them, so its
    galleries are in a folder that all of them see by the same path, or in an object store.
    """

    def __init__(self, home: Home, cluster: Cluster) -> None:
        super().__init__(home)
        self._cluster = cluster
        self._shards = Shards(cluster)

    @classmethod
    def on(
        cls,
        address: str,
        home: str | os.PathLike[str],
        *,
        database: str | None = None,
        galleries: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Open the registry in `home` to compute on the cluster at `address`, which is reached when it is first needed."""
        cluster = Cluster(address)
        return cls(Home(home, database=database, galleries=galleries), cluster)

    def close(self) -> None:
        """Let go of the cluster, and of all else."""
        self._cluster.close()
        super().close()

    def scan(
        self, gallery: str, *, into: str, rows: int = 65536, allow_unmeasured: bool = False
    ) -> Iterator[Embeddings]:
        """The blocks that `Registry.scan` gives. A file of 131,072 rows for each CPU is under way at a time."""
        return scanning.scan(
            self._cluster, self._home, gallery, into=into, rows=rows, allow_unmeasured=allow_unmeasured
        )

    def evaluate(
        self,
        benchmark: str,
        *,
        versions: Sequence[str] | None = None,
        label: str | None = None,
        seed: int = 0,
        progress: evaluating.Progress | None = None,
    ) -> Matrix:
        """See `Registry.evaluate`: nodes rank, this process draws the intervals and stores what was found."""
        return evaluating.evaluate(
            self._home, benchmark, versions=versions, label=label, seed=seed, progress=progress,
            ranked=partial(ranking.rankings, self._cluster),
        )  # fmt: skip

    def search(
        self,
        gallery: str,
        queries: Any,
        *,
        version: str,
        k: int = 10,
        allow_unmeasured: bool = False,
        shortlist: int | None = None,
        candidates: int | None = None,
        side: Mapping[str, Any] | None = None,
        fingerprint: Fingerprint = None,
        calibrate: bool = True,
        where: Mapping[str, Any] | None = None,
    ) -> Hits:
        """See `Registry.search`: segments without an index are searched by shards, which nodes hold in memory.

        Shards are read anew when their segment changes. With `shortlist` or `where`, and by an index, this process searches.
        """
        return searching.search(
            self._home, gallery, queries, version=version, k=k, allow_unmeasured=allow_unmeasured,
            shortlist=shortlist, candidates=candidates, side=side, fingerprint=fingerprint, calibrate=calibrate, where=where,
            elsewhere=self._shards.search,
        )  # fmt: skip

    def build_index(
        self,
        gallery: str,
        version: str | None = None,
        *,
        kind: str = "auto",
        compression: str = "none",
        recall: float = 0.95,
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
        progress: indexing.Progress | None = None,
    ) -> IndexInfo:
        """See `Registry.build_index`: a node builds it, and this process writes it down."""
        return indexing.build(
            self._home, gallery, version=version, kind=kind, compression=compression, recall=recall, settings=settings,
            seed=seed, progress=progress, worked=partial(building.worked, self._cluster),
        )  # fmt: skip

    def run_backfill(
        self,
        id: str,
        *,
        encode: Callable[[Any], Any] | None = None,
        trust: str | None = None,
        allow_drift: bool = False,
        progress: running.Progress | None = None,
        tracking_uri: str | None = None,
    ) -> Backfill:
        """See `Registry.run_backfill`: nodes encode the pieces of a batch, this process stores the batch.

        A function is one that nodes can import. Batches of some hundred items for each CPU keep them busy.
        """
        return running.run(
            self, id, encode=encode, trust=trust, allow_drift=allow_drift, progress=progress, tracking_uri=tracking_uri,
            elsewhere=partial(encoding.opened, self._cluster),
        )  # fmt: skip
