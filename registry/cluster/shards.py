"""Search on a cluster: a segment in shards, each an exact index in an actor on a node, and again in one on another."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from registry import __version__
from registry.backends import LanceBackend
from registry.cluster.nodes import Cluster, answered, unpacked
from registry.cluster.parts import Segment, segment_of, shared_out, source_of
from registry.errors import Unavailable
from registry.index import FlatIndex, empty_hits, ids_array, merge
from registry.segments import Source, blocks_without
from registry.vectors import Array, Metric

__all__ = ["Sharded", "Shards"]

_LEAST_ROWS = 16384  # of a shard; with fewer, asking takes longer than searching
_KEPT = 8  # segments, each in the state that was searched last
_TRIES = 6

Hits = tuple[Array, Array]


class _Shard:
    """Some fragments of a segment in an exact index; what an actor is."""

    def __init__(self, segment: Segment, fragments: tuple[int, ...], without: pa.Array | None, metric: Metric) -> None:
        self._of = segment, fragments, without, metric
        self._index: FlatIndex | None = None

    def build(self, release: str) -> dict[str, Any]:
        """Read the vectors; says how many there are."""
        return answered(self._built, release)

    def search(self, release: str, queries: Array, k: int) -> dict[str, Any]:
        """The k closest: ids (q * k,) and scores (q, k)."""
        return answered(self._found, release, queries, k)

    def _built(self) -> int:
        segment, fragments, without, metric = self._of
        if self._index is None:
            index: FlatIndex | None = None
            for ids, rows in blocks_without(source_of(segment, fragments), without, zeros=True):
                index = index or FlatIndex(rows.shape[1], metric)
                index.add(ids, rows)
            self._index = index
        return len(self._index.ids) if self._index else 0

    def _found(self, queries: Array, k: int) -> tuple[pa.Array, Array]:
        kind = pa.string() if self._of[0].id_type == "string" else pa.int64()
        if not self._built() or self._index is None:
            ids, scores = empty_hits(len(queries), k, string_ids=kind == pa.string())
        else:
            ids, scores = self._index.search(queries, k)
        return pa.array(ids.ravel(), kind), scores


class _Replicas:
    """The actors that hold one shard."""

    def __init__(self, cluster: Cluster, number: int, arguments: tuple[Any, ...], replicas: int) -> None:
        self._cluster, self._number, self._arguments = cluster, number, arguments
        self._actors = [self._started(number + replica) for replica in range(replicas)]
        self._turn = number
        self._lock = threading.Lock()

    def _started(self, place: int) -> tuple[Any, Any]:
        """An actor on the node whose turn it is, or any other, and the promise that it is built."""
        ray = self._cluster.ray
        nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
        where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(nodes[place % len(nodes)], soft=True)
        actor = ray.remote(_Shard).options(num_cpus=0, scheduling_strategy=where).remote(*self._arguments)
        return actor, actor.build.remote(__version__)

    def asked(self, queries: Any, k: int) -> tuple[Any, Any]:
        """Ask the next that is built, or else the next one: it, and the promise of its answer."""
        ray = self._cluster.ray
        actors = list(self._actors)
        promises = [built for _, built in actors]
        ready, _ = ray.wait(promises, num_returns=len(promises), timeout=0)
        self._turn += 1
        at = self._turn % len(actors)
        order = [*actors[at:], *actors[:at]]
        chosen = next((actor for actor in order if actor[1] in ready), order[0])
        return chosen, chosen[0].search.remote(__version__, queries, k)

    def answer(self, asked: tuple[Any, Any], queries: Any, k: int, timeout: float) -> Any:
        """The answer of one that is there, in time; a dead one is replaced."""
        ray, last = self._cluster.ray, None
        for _ in range(_TRIES):
            chosen, promise = asked
            try:
                unpacked(ray.get(chosen[1]))  # built, however long that takes
                return unpacked(ray.get(promise, timeout=timeout))
            except ray.exceptions.RayTaskError:
                raise  # a fault of ours
            except ray.exceptions.GetTimeoutError as error:
                last = error
            except ray.exceptions.RayError as error:
                last = error
                self._replace(chosen)
            asked = self.asked(queries, k)
        raise Unavailable(
            f"the Ray cluster at {self._cluster.address} has nobody who searches shard {self._number} in {timeout:g} s "
            f"({type(last).__name__}): try again, or add nodes"
        )

    def _replace(self, dead: tuple[Any, Any]) -> None:
        with self._lock:  # of several who notice, one replaces it
            if dead in self._actors:
                at = self._actors.index(dead)
                self._actors[at] = self._started(self._number + at)

    def end(self) -> None:
        for actor, _ in self._actors:
            self._cluster.end(actor)


class Sharded:
    """One segment at one state, in shards on a cluster."""

    def __init__(
        self, cluster: Cluster, segment: Segment, groups: Sequence[tuple[int, ...]], without: pa.Array | None,
        metric: Metric, replicas: int,
    ) -> None:  # fmt: skip
        self._cluster, self._strings = cluster, segment.id_type == "string"
        of, left_out = cluster.put(segment), cluster.put(without)
        self._shards = [
            _Replicas(cluster, number, (of, group, left_out, metric), replicas) for number, group in enumerate(groups)
        ]

    def search(self, queries: Array, k: int, timeout: float) -> Hits:
        """The k closest to each of (q, d): ids (q, k) and scores (q, k), of equal scores those of the first shard first."""
        sent = self._cluster.put(queries)
        asked = [shard.asked(sent, k) for shard in self._shards]
        answers = [shard.answer(a, sent, k, timeout) for shard, a in zip(self._shards, asked, strict=True)]
        best = empty_hits(len(queries), k, string_ids=self._strings)
        for ids, scores in answers:
            best = merge(best, (ids_array(ids).reshape(scores.shape), scores))
        return best

    def end(self) -> None:
        """Let its actors go."""
        for shard in self._shards:
            shard.end()


class Shards:
    """The segments that are searched on a cluster, each in the state that was searched last.

    `replicas` actors hold each shard, on different nodes where there are so many. One that does not answer within `timeout`
    seconds is passed over for another.
    """

    def __init__(self, cluster: Cluster, *, replicas: int = 2, timeout: float = 20.0) -> None:
        self._cluster, self._replicas, self._timeout = cluster, replicas, timeout
        self._kept: OrderedDict[tuple[Any, ...], tuple[Any, Sharded]] = OrderedDict()
        self._lock = threading.Lock()

    def search(
        self, source: Source, better: Sequence[Source], without: pa.Array | None, queries: Array, k: int, metric: Metric
    ) -> Hits | None:
        """The k closest in a segment, `without` what `better` ones hold; None for one that is small, or attached."""
        stored = source.stored
        if (
            not isinstance(stored, LanceBackend)
            or source.rows < _LEAST_ROWS
            or any(s.stored.state is None for s in better)
        ):
            return None
        what = (stored.gallery, stored.version, source.path.gallery, metric)
        state = (stored.state, tuple(s.stored.state for s in better))
        with self._lock:
            known = self._kept.get(what)
            if known is None or known[0] != state:
                groups = shared_out(stored, self._cluster.cpus(), _LEAST_ROWS)
                made = Sharded(self._cluster, segment_of(source, stored), groups, without, metric, self._replicas)
                if known is not None:
                    known[1].end()
                known = self._kept[what] = state, made
            self._kept.move_to_end(what)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)[1][1].end()
        return known[1].search(queries, k, self._timeout)

    def close(self) -> None:
        """Let all actors go, with the memory that they hold."""
        with self._lock:
            while self._kept:
                self._kept.popitem()[1][1].end()
