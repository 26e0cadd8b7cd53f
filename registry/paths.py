"""Paths: spaces are nodes, transforms are directed edges; two spaces compare where both reach a common one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from registry.errors import Incompatible
from registry.refs import is_relative, prefix_of
from registry.types import Path

__all__ = ["NEEDS_SIDE", "Edge", "Graph", "incompatible"]

NEEDS_SIDE = frozenset({"slerp"})
"""Kinds of transforms that need each query as the target version embedded it, beside the vector that they map."""

_MOST_MAPS = 3
"""Most transforms on both sides together: each learned map loses something, and a fourth has never paid off."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A transform seen from above."""

    id: str
    kind: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class _Chain:
    """A way from one space to another: the edges in order."""

    end: str
    edges: tuple[Edge, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(e.id for e in self.edges)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(e.kind for e in self.edges)


class Graph:
    """The spaces that a set of transforms connects.

    A slerp edge needs each query in both versions, so it is no step of any chain: it only compares queries of its source
    with vectors that its target stored, by itself, and only where the caller has both vectors.
    """

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._out: dict[str, list[Edge]] = defaultdict(list)
        self._beside: dict[tuple[str, str], list[Edge]] = defaultdict(list)
        self._prefixes: dict[str, set[str]] = defaultdict(set)
        for edge in edges:
            if edge.kind in NEEDS_SIDE:
                self._beside[edge.source, edge.target].append(edge)
                continue
            self._out[edge.source].append(edge)
            for space in (edge.source, edge.target):
                if (cut := prefix_of(space)) is not None:
                    self._prefixes[cut[0]].add(space)

    def meet(self, query: str, gallery: str, *, beside: bool = False) -> Iterator[Path]:
        """Every way to compare vectors of space `query` with stored ones of space `gallery`, shortest first.

        Of equally long ways those come first that leave the stored side as it is. `beside`: each query is also there as
        the gallery's version embedded it.
        """
        left, right = self._reach(query, gallery), self._reach(gallery, query)
        for length in range(_MOST_MAPS + 1):
            for edge in self._beside.get((query, gallery), ()) if beside and length == 1 else ():
                yield Path(query, gallery, gallery, (edge.id,), (), (edge.kind,))
            for mapped in range(length, -1, -1):
                stored: dict[str, list[_Chain]] = defaultdict(list)
                for chain in right(length - mapped):
                    stored[chain.end].append(chain)
                for q in left(mapped):
                    for g in filter(partial(_first_meet, q), stored.get(q.end, ())):
                        yield Path(query, gallery, q.end, q.ids, g.ids, q.kinds + g.kinds)

    def needs_side(self, query: str, gallery: str) -> bool:
        """Whether a slerp edge leads from the one to the other."""
        return (query, gallery) in self._beside

    def lead(self, source: str, target: str) -> Iterator[Path]:
        """Every way to turn vectors of `source` into vectors of `target`, shortest first."""
        chains = self._reach(source, target)
        for length in range(_MOST_MAPS + 1):
            for c in chains(length):
                if c.end == target:
                    yield Path(source, target, target, c.ids, (), c.kinds)

    def _reach(self, start: str, goal: str) -> Callable[[int], list[_Chain]]:
        """By length, all chains from `start` that visit no space twice; a length is worked out when asked for."""
        found = [[_Chain(start)]]

        def of_length(n: int) -> list[_Chain]:
            while len(found) <= n:
                found.append([longer for chain in found[-1] for longer in self._longer(start, chain, goal)])
            return found[n]

        return of_length

    def _longer(self, start: str, chain: _Chain, goal: str) -> Iterator[_Chain]:
        seen = {start, *(e.target for e in chain.edges)}
        for edge in self._leaving(chain.end, goal):
            if edge.target not in seen:
                yield _Chain(edge.target, (*chain.edges, edge))

    def _leaving(self, space: str, goal: str) -> Iterator[Edge]:
        # A prefix of a space is reached by cutting it. That holds by definition, so nobody has to register it. There
        # is one for each dimension: only those are followed that are asked for, or that a transform begins or ends at.
        outer = prefix_of(space)
        version = outer[0] if outer else space
        for name in sorted(self._prefixes.get(version, set()) | {goal}):
            inner = prefix_of(name)
            if inner and inner[0] == version and (outer is None or outer[1] > inner[1]):
                yield Edge(f"[:{inner[1]}]", "prefix", space, name)
        yield from self._out.get(space, ())


def _first_meet(query: _Chain, gallery: _Chain) -> bool:
    """Whether two chains that end in one space share none before it."""
    return not ({e.source for e in query.edges} & {e.source for e in gallery.edges})


def incompatible(source: str, target: str, *, paired: bool = False, needs_side: bool = False) -> Incompatible:
    """The error for two spaces without a path, saying what is missing and which command would make it."""
    if needs_side:
        return Incompatible(
            f"{source} and {target} cannot be compared by these vectors alone: the slerp bridge between them needs each "
            f"query embedded by {target} too; search with side={{'{target}': vectors}}"
        )
    if is_relative(target):
        command = f"samespace fit relative --source {source} --anchors {target.partition('/')[2]}"
    else:
        command = f"samespace fit orthogonal --source {source} --target {target} --gallery GALLERY"
    missing = f"no transform leads from {source} to {target}" + (", nor do both reach a common space" if paired else "")
    return Incompatible(
        f"{source} and {target} cannot be compared: {missing}; make one with '{command}', or train with --old"
    )
