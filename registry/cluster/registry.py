"""An embedded registry that computes on a Ray cluster: the same methods, with the same results."""

from __future__ import annotations

import os
from functools import partial

from registry.cluster import building, encoding, ranking, scanning
from registry.cluster.nodes import Cluster
from registry.cluster.shards import Shards
from registry.embedded import Registry, Work
from registry.home import Home

__all__ = ["on"]


def on(
    address: str,
    home: str | os.PathLike[str],
    *,
    database: str | None = None,
    galleries: str | os.PathLike[str] | None = None,
) -> Registry:
    """Open the registry in `home` to compute on the cluster at `address`, reached when it is first needed.

    Nodes compute scans, evaluations, searches, indexes and the vectors of backfills; see `docs/cluster.md`. The facts are
    read and written by this process alone. Nodes read vectors where this registry keeps them, so its galleries are in a
    folder that all of them see by the same path, or in an object store.
    """
    cluster = Cluster(address)
    shards = Shards(cluster)

    def close() -> None:
        shards.close()
        cluster.close()

    work = Work(
        scan=partial(scanning.scan, cluster), ranked=partial(ranking.rankings, cluster), search=shards.search,
        build=partial(building.worked, cluster), encoder=partial(encoding.opened, cluster), close=close,
    )  # fmt: skip
    return Registry(Home(home, database=database, galleries=galleries), work)
