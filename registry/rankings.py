"""What an evaluation ranks: two versions' vectors of a benchmark's items, by the maps of a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.retrieval import Retrieval, retrieval
from registry.transforms import Transform, mapped
from registry.types import Path
from registry.vectors import Array, Metric

if TYPE_CHECKING:
    from registry.benchmarks import Bench
    from registry.home import Home

__all__ = ["KS", "Ranked", "Ranking", "Sides", "here", "naive", "problem", "ranking", "sides_of"]

KS = (1, 5)

Sides = tuple[Array, Array, Metric]
"""Query and gallery vectors, (n, d) each, as they are compared, and by which metric."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Whose vectors meet, by which maps on either side, cut to which width, and by which metric.

    A map with a side is given the same items as `gallery` embedded them.
    """

    query: str
    gallery: str
    query_chain: tuple[Transform, ...]
    gallery_chain: tuple[Transform, ...]
    width: int | None
    metric: Metric


Ranked = Callable[["Bench", Array, Sequence[Ranking], Callable[[Ranking], Sides]], Iterator[Retrieval]]
"""What the items of a benchmark, with labels (n,), find among each other in each of some rankings, in their order.

The last argument gives the sides of one, for whoever computes in this process.
"""


def ranking(home: Home, bench: Bench, path: Path, metric: Metric) -> Ranking:
    """How a path compares the items of a benchmark."""
    ends = ((path.source, path.query), (path.target, path.gallery))
    query, gallery = (
        tuple(home.chain(steps, bench.vectors[ref].shape[1], normalize=bench.metric[ref] == "cosine"))
        for ref, steps in ends
    )
    return Ranking(path.source, path.target, query, gallery, None, metric)


def naive(bench: Bench, query: str, gallery: str) -> Ranking:
    """The mistake that a registry prevents, made on purpose: equal dimensions taken for one space."""
    width = min(bench.vectors[ref].shape[1] for ref in (query, gallery))
    return Ranking(query, gallery, (), (), width, bench.metric[gallery])


def sides_of(ranking: Ranking, vectors: Mapping[str, Array]) -> Sides:
    """Both sides as a ranking compares them, of the vectors (n, d) by version."""
    stored = vectors[ranking.gallery]
    gallery = mapped(ranking.gallery_chain, stored)
    # A side is the same query as the gallery's version embedded it, and the benchmark holds it.
    queries = mapped(ranking.query_chain, vectors[ranking.query], stored)
    return queries[:, : ranking.width], gallery[:, : ranking.width], ranking.metric


def problem(sides: Sides, labels: Array) -> dict[str, Any]:
    """The arguments of `retrieval` for items that are ranked among each other."""
    queries, gallery, metric = sides
    return {
        "queries": queries, "gallery": gallery, "query_labels": labels, "gallery_labels": labels, "ks": KS,
        "same_items": True, "zeros": True, "metric": metric,
    }  # fmt: skip


def here(
    bench: Bench, labels: Array, rankings: Sequence[Ranking], sides: Callable[[Ranking], Sides]
) -> Iterator[Retrieval]:
    """Rank in this process, one after the other."""
    del bench
    return (retrieval(**problem(sides(ranking), labels)) for ranking in rankings)
