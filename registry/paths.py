"""Paths: spaces are nodes, transforms are directed edges; two spaces compare where both reach a common one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from registry.errors import Incompatible
from registry.refs import is_relative, prefix_of
from registry.types import Path

__all__ = ["Edge", "Graph", "incompatible"]

_MAX_CHAIN = 3
"""Longest chain of transforms on one side: each learned map loses something, and a fourth has never paid off."""


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
    """The spaces that a set of transforms connects."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._out: dict[str, list[Edge]] = defaultdict(list)
        self._prefixes: dict[str, set[str]] = defaultdict(set)
        for edge in edges:
            self._out[edge.source].append(edge)
            for space in (edge.source, edge.target):
                if (cut := prefix_of(space)) is not None:
                    self._prefixes[cut[0]].add(space)

    def meet(self, query: str, gallery: str) -> list[Path]:
        """Every way to compare vectors of space `query` with stored ones of space `gallery`, shortest first."""
        left, right = self._chains(query, gallery), self._chains(gallery, query)
        stored: dict[str, list[_Chain]] = defaultdict(list)
        for chain in right:
            stored[chain.end].append(chain)
        paths = [
            Path(query, gallery, q.end, q.ids, g.ids, q.kinds + g.kinds)
            for q in left
            for g in stored[q.end]
            if _meets_first_here(q, g)
        ]
        return sorted(paths, key=lambda p: (p.length, p.query, p.gallery))

    def lead(self, source: str, target: str) -> list[Path]:
        """Every way to turn vectors of `source` into vectors of `target`, shortest first."""
        chains = [c for c in self._chains(source, target) if c.end == target]
        paths = [Path(source, target, target, c.ids, (), c.kinds) for c in chains]
        return sorted(paths, key=lambda p: (p.length, p.query))

    def _chains(self, start: str, goal: str) -> list[_Chain]:
        """All chains from `start` that visit no space twice, the empty one included."""
        found = [_Chain(start)]
        for chain in found:  # grows while it is read: breadth first
            if len(chain.edges) == _MAX_CHAIN:
                continue
            seen = {start, *(e.target for e in chain.edges)}
            found += [
                _Chain(e.target, (*chain.edges, e)) for e in self._leaving(chain.end, goal) if e.target not in seen
            ]
        return found

    def _leaving(self, space: str, goal: str) -> Iterator[Edge]:
        yield from self._out.get(space, ())
        # A prefix of a space is reached by cutting it. That holds by definition, so nobody has to register it. There
        # is one for each dimension: only those are followed that are asked for, or that a transform begins or ends at.
        outer = prefix_of(space)
        version = outer[0] if outer else space
        for name in sorted(self._prefixes.get(version, set()) | {goal}):
            inner = prefix_of(name)
            if inner and inner[0] == version and (outer is None or outer[1] > inner[1]):
                yield Edge(f"[:{inner[1]}]", "prefix", space, name)


def _meets_first_here(query: _Chain, gallery: _Chain) -> bool:
    """Whether the two chains share no space before their common end, nor end on the same edge twice over."""
    return not ({e.source for e in query.edges} & {e.source for e in gallery.edges})


def incompatible(source: str, target: str, *, paired: bool = False) -> Incompatible:
    """The error for two spaces without a path, saying what is missing and which command would make it."""
    if is_relative(target):
        command = f"samespace fit relative --source {source} --anchors {target.partition('/')[2]}"
    else:
        command = f"samespace fit orthogonal --source {source} --target {target}"
    missing = f"no transform leads from {source} to {target}" + (", nor do both reach a common space" if paired else "")
    return Incompatible(
        f"{source} and {target} cannot be compared: {missing}; make one with '{command}', or train with --old"
    )
