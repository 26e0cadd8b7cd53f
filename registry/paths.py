"""Paths: spaces are nodes, transforms are directed edges; two spaces compare where both reach a common one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from registry.errors import Incompatible
from registry.refs import is_relative, prefix_of
from registry.types import Path

__all__ = ["NEEDS_SIDE", "Edge", "Graph", "incompatible", "joined_chain", "split_chain"]

NEEDS_SIDE = frozenset({"slerp"})
"""Kinds of transforms that need each query as the target version embedded it, beside the vector that they map."""

_MOST_MAPS = 3
"""Most transforms on both sides together: each learned map loses something, and a fourth has never paid off."""


_CHAIN = ">"


def joined_chain(steps: Sequence[str]) -> str:
    """The steps of a path's side, as a measured cell stores them."""
    return _CHAIN.join(steps)


def split_chain(chain: str) -> tuple[str, ...]:
    """The same back."""
    return tuple(chain.split(_CHAIN)) if chain else ()


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

    def to(self, edge: Edge) -> _Chain:
        """This chain, one edge longer."""
        return _Chain(edge.target, (*self.edges, edge))

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
        self._edges: dict[str, Edge] = {}
        for edge in edges:
            if edge.kind in NEEDS_SIDE:
                self._beside[edge.source, edge.target].append(edge)
                continue
            self._edges[edge.id] = edge
            self._out[edge.source].append(edge)
            for space in (edge.source, edge.target):
                if (cut := prefix_of(space)) is not None:
                    self._prefixes[cut[0]].add(space)

    def meet(self, query: str, gallery: str, *, beside: bool = False) -> Iterator[Path]:
        """Every way to compare vectors of space `query` with stored ones of space `gallery`, shortest first.

        Of equally long ways those come first that leave the stored side as it is. `beside`: each query is also there as
        the gallery's version embedded it.
        """
        left = self._reach(query, gallery, self._distances(gallery, query))
        right = self._reach(gallery, query, self._distances(query, gallery))
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

    def connects(self, query: str, gallery: str) -> bool:
        """Whether `meet`, with `beside`, finds any way; for asking of thousands of pairs, most of which have none."""
        if (query, gallery) in self._beside or any(edge.target == gallery for edge in self._out.get(query, ())):
            return True
        if query != gallery and self._is_alone(query) and self._is_alone(gallery):
            return False
        left, right = self._distances(query, gallery), self._distances(gallery, query)
        return any(length + right.get(space, _MOST_MAPS + 1) <= _MOST_MAPS for space, length in left.items())

    def readable(self, query: str, versions: Iterable[str]) -> set[str]:
        """Of these versions those whose own space `connects` with that of version `query`; for asking of many at once."""
        left = self._distances(query, query)
        return {v for v in versions if (query, v) in self._beside or self._is_met(v, left)}

    def _is_met(self, version: str, left: Mapping[str, int]) -> bool:
        """Whether a version reaches a space that the other side reaches by `left` so many maps, with few enough in all."""
        newest, seen = [version], {version}
        for length in range(_MOST_MAPS + 1):
            if any(left.get(space, _MOST_MAPS + 1) + length <= _MOST_MAPS for space in newest):
                return True
            newest = list({edge.target for space in newest for edge in self._leaving(space, version)} - seen)
            seen.update(newest)
        return False

    def _is_alone(self, space: str) -> bool:
        """Whether nothing leads from a version's own space."""
        return prefix_of(space) is None and space not in self._out and space not in self._prefixes

    def needs_side(self, query: str, gallery: str) -> bool:
        """Whether a slerp edge leads from the one to the other."""
        return (query, gallery) in self._beside

    def lead(self, source: str, target: str) -> Iterator[Path]:
        """Every way to turn vectors of `source` into vectors of `target`, shortest first."""
        chains = self._reach(source, target, {target: 0})
        for length in range(_MOST_MAPS + 1):
            for c in chains(length):
                if c.end == target:
                    yield Path(source, target, target, c.ids, (), c.kinds)

    def way(
        self, query: str, gallery: str, steps: Sequence[str], stored: Sequence[str], *, beside: bool = False
    ) -> Path | None:
        """The way of `meet` that takes these steps on the query side and those on the stored side; None if none does."""
        if beside and not stored and len(steps) == 1:
            for edge in self._beside.get((query, gallery), ()):
                if edge.id == steps[0]:
                    return Path(query, gallery, gallery, (edge.id,), (), (edge.kind,))
        left, right = self._followed(query, steps), self._followed(gallery, stored)
        if left is None or right is None or left.end != right.end or not _first_meet(left, right):
            return None
        if len(left.edges) + len(right.edges) > _MOST_MAPS:
            return None
        return Path(query, gallery, left.end, left.ids, right.ids, left.kinds + right.kinds)

    def _followed(self, start: str, steps: Sequence[str]) -> _Chain | None:
        """The chain of these steps; None where one does not begin where the last one ended, or comes back to a space."""
        chain, seen = _Chain(start), {start}
        for step in steps:
            edge = _cut(chain.end, step) if step.startswith("[:") else self._edges.get(step)
            if edge is None or edge.source != chain.end or edge.target in seen:
                return None
            chain = chain.to(edge)
            seen.add(edge.target)
        return chain

    def _reach(self, start: str, goal: str, ends: Mapping[str, int]) -> Callable[[int], list[_Chain]]:
        """By length, the chains from `start` that visit no space twice; a length is worked out when asked for.

        `ends` are the spaces where a way may end or go on, and by how many maps of the other side. Chains that cannot
        become a part of a way are not followed: in a dense graph, they are nearly all.
        """
        leaving = cache(lambda space: tuple(self._leaving(space, goal)))

        @cache
        def useful(space: str, left: int) -> bool:
            return ends.get(space, left + 1) <= left or (
                left > 0 and any(useful(edge.target, left - 1) for edge in leaving(space))
            )

        def longer(chain: _Chain) -> Iterator[_Chain]:
            seen = {start, *(e.target for e in chain.edges)}
            for edge in leaving(chain.end):
                if edge.target not in seen and useful(edge.target, _MOST_MAPS - len(chain.edges) - 1):
                    yield chain.to(edge)

        found = [[_Chain(start)]]

        def of_length(n: int) -> list[_Chain]:
            while len(found) <= n:
                found.append([further for chain in found[-1] for further in longer(chain)])
            return found[n]

        return of_length

    def _distances(self, start: str, goal: str) -> dict[str, int]:
        """How many maps lead from `start` to each space within reach."""
        found, newest = {start: 0}, [start]
        for length in range(1, _MOST_MAPS + 1):
            targets = (edge.target for space in newest for edge in self._leaving(space, goal))
            newest = [space for space in dict.fromkeys(targets) if space not in found]
            found.update(dict.fromkeys(newest, length))
        return found

    def _leaving(self, space: str, goal: str) -> Iterator[Edge]:
        # A prefix of a space is reached by cutting it. That holds by definition, so nobody has to register it. There
        # is one for each dimension: only those are followed that are asked for, or that a transform begins or ends at.
        outer = prefix_of(space)
        version = outer[0] if outer else space
        for name in sorted(self._prefixes.get(version, set()) | {goal}):
            inner = prefix_of(name)
            cut = _cut(space, f"[:{inner[1]}]") if inner and inner[0] == version else None
            if cut is not None:
                yield cut
        yield from self._out.get(space, ())


def _cut(space: str, step: str) -> Edge | None:
    """The edge that cuts a space to `[:n]` dimensions; None if it has no more than that."""
    outer = prefix_of(space)
    if outer is not None and outer[1] <= int(step[2:-1]):
        return None
    return Edge(step, "prefix", space, f"{outer[0] if outer else space}{step}")


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
