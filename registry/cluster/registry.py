"""An embedded registry that computes on a Ray cluster: the same methods, with the same results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

from registry import evaluating, searching
from registry.cluster import ranking, scanning
from registry.cluster.nodes import Cluster
from registry.cluster.shards import Shards
from registry.embedded import Registry
from registry.fingerprints import Fingerprint
from registry.home import Home
from registry.types import Embeddings, Hits, Matrix

__all__ = ["ClusterRegistry"]


class ClusterRegistry(Registry):
    """A registry whose scans and evaluations are computed by the nodes of a cluster; see `docs/cluster.md`.

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
