"""The graph of a model as a page draws it: spaces in rows, what was trained from what on the left, transforms on the right.

Rows stay legible however many there are, and so do arcs: each has places of its own at both ends, so that no two begin
or end at one point, and an arc that spans another encloses it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from registry.paths import Edge
from registry.refs import is_relative, prefix_of
from registry.services.evidence import release_order
from registry.services.links import Link
from registry.types import Version

__all__ = ["CLASSES", "Arc", "Class", "Graph", "Node", "class_of", "draw"]

Class = Literal["compatible", "inconclusive", "incompatible", "unmeasured"]
CLASSES: tuple[Class, ...] = ("compatible", "inconclusive", "incompatible", "unmeasured")

_LEFT = 58  # for lineage
_ROW, _PORT, _GAP = 32, 9, 20  # a row without arcs, the place of an arc's end, between groups of rows
_INDENT = 18
_HEAD = 8  # the length of an arrow's head
_LETTER, _SMALL = 7.4, 6.3  # about the width of one
_LONGEST, _LONGEST_ALIAS = 26, 14
_WIDEST_RIGHT, _WIDEST_LEFT = 300, 40


@dataclass(frozen=True, slots=True)
class Node:
    """A space in its row: a box at (x, y), and what is written in it; `cut` is the line from what a prefix is cut from."""

    space: str
    label: str
    note: str
    x: float
    y: float
    width: float
    height: float
    cut: str = ""
    compared: tuple[str, str] | None = None

    @property
    def middle(self) -> float:
        """The height of its text."""
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Arc:
    """A line from one box to another, and its arrow's head; `link` is None where it is lineage."""

    source: str
    target: str
    line: str
    head: str
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class Graph:
    """All that is drawn, in units of a CSS pixel."""

    width: int
    height: int
    nodes: tuple[Node, ...]
    lineage: tuple[Arc, ...]
    arcs: tuple[Arc, ...]


def class_of(link: Link) -> Class:
    """What was measured of a transform, in a word."""
    return "unmeasured" if link.evaluation is None else link.evaluation.verdict or "inconclusive"


def draw(versions: Sequence[Version], links: Sequence[Link], parents: Mapping[str, str]) -> Graph:
    """The graph of these versions, in their order, and of what links lead from and to; `parents` by version."""
    spaces = _rows(versions, links, parents)
    order = {space: i for i, space in enumerate(s for group in spaces for s in group)}
    ports = _ports([link.edge for link in links], order)
    notes = {v.ref: _aka(v.aliases) for v in versions}
    nodes = _placed(spaces, ports, notes, _compared(links))
    edge = _LEFT + max((n.x - _LEFT + n.width for n in nodes.values()), default=0)
    arcs = [_arc(link, ports, nodes, edge) for link in links]
    lineage = [_inherited(nodes[parent], nodes[child]) for child, parent in parents.items()]
    last = max((n.y + n.height for n in nodes.values()), default=0)
    reach = max((_bulge(a, b, _WIDEST_RIGHT) for a, b in _spans(links, ports, nodes)), default=0)
    return Graph(round(edge + 0.75 * reach + 12), round(last + 4), tuple(nodes.values()), tuple(lineage), tuple(arcs))


def _rows(versions: Sequence[Version], links: Sequence[Link], parents: Mapping[str, str]) -> list[list[str]]:
    """The spaces from top to bottom in three groups: these versions, other versions, relative spaces."""
    used = dict.fromkeys(space for link in links for space in (link.edge.source, link.edge.target))
    shown = [v.ref for v in versions]
    others = {_owner(s) for s in (*used, *parents.values()) if not is_relative(s)} - {*shown}
    prefixes: dict[str, list[str]] = defaultdict(list)
    for space in used:
        if prefix_of(space):
            prefixes[_owner(space)].append(space)

    def with_prefixes(refs: Iterable[str]) -> list[str]:
        return [s for ref in refs for s in (ref, *sorted(prefixes[ref], key=_width, reverse=True))]

    groups = [with_prefixes(shown), with_prefixes(sorted(others, key=release_order)), sorted(filter(is_relative, used))]
    return [group for group in groups if group]


def _owner(space: str) -> str:
    cut = prefix_of(space)
    return cut[0] if cut else space


def _width(space: str) -> int:
    cut = prefix_of(space)
    return cut[1] if cut else 0


_Ports = Mapping[str, Sequence[tuple[str, bool]]]
"""By space, from top to bottom: the id of a transform, and whether it begins here."""


def _ports(edges: Sequence[Edge], order: Mapping[str, int]) -> _Ports:
    """Where arcs begin and end: those that lead up above those that lead down, and enclosing ones outside of others."""
    found: dict[str, list[tuple[tuple[int, int, int], str, bool]]] = defaultdict(list)
    for rank, e in enumerate(edges):
        for here, there, begins in ((e.source, e.target, True), (e.target, e.source, False)):
            far = order[there] - order[here]
            key = (0, -far, rank) if far < 0 else (1, -far, -rank)
            found[here].append((key, e.id, begins))
    return {space: [(id, begins) for _, id, begins in sorted(ends)] for space, ends in found.items()}


def _placed(
    spaces: Sequence[Sequence[str]], ports: _Ports, notes: Mapping[str, str], compared: Mapping[str, tuple[str, str]]
) -> dict[str, Node]:
    """A box for each space, as wide as the widest text."""
    texts = {s: (_label(s), notes.get(s, "")) for group in spaces for s in group}
    widest = max((_indent(s) + _measured(*text) for s, text in texts.items()), default=0)
    nodes: dict[str, Node] = {}
    y = 2.0
    for group in spaces:
        for space in group:
            height = max(_ROW - 6, _PORT * len(ports.get(space, ())) + 8)
            x = _LEFT + _indent(space)
            owner = nodes.get(_owner(space))
            cut = ""
            if owner is not None:
                cut = f"M{_LEFT + 8} {owner.y + owner.height:g}V{y + height / 2:g}H{x}"
            label, note = texts[space]
            nodes[space] = Node(space, label, note, x, y, widest - _indent(space), height, cut, compared.get(space))
            y += height + 6
        y += _GAP
    return nodes


def _compared(links: Sequence[Link]) -> dict[str, tuple[str, str]]:
    """By prefix the pair (old, new) that it was cut for: what reads another version by it, or is read by another."""
    found: dict[str, tuple[str, str]] = {}
    for source, target in ((link.edge.source, link.edge.target) for link in links):
        if not is_relative(target) and _owner(source) != _owner(target):
            found.update({s: (_owner(target), _owner(source)) for s in (source, target) if prefix_of(s)})
    return found


def _indent(space: str) -> int:
    return _INDENT if prefix_of(space) else 0


def _label(space: str) -> str:
    """A prefix by its cut; of a long name the beginning and the end, where the number is."""
    cut = prefix_of(space)
    text = f"[:{cut[1]}]" if cut else space
    return text if len(text) <= _LONGEST else f"{text[:11]}…{text[-14:]}"


def _aka(aliases: Sequence[str]) -> str:
    """The first alias, and how many more there are."""
    if not aliases:
        return ""
    first = aliases[0] if len(aliases[0]) <= _LONGEST_ALIAS else f"{aliases[0][: _LONGEST_ALIAS - 1]}…"
    return f"@{first}" + (f" +{len(aliases) - 1}" if len(aliases) > 1 else "")


def _measured(label: str, note: str) -> int:
    return math.ceil(24 + _LETTER * len(label) + (8 + _SMALL * len(note) if note else 0))


def _at(ports: _Ports, node: Node, id: str, begins: bool) -> float:
    """The height of an arc's end."""
    ends = ports[node.space]
    return node.middle + _PORT * (ends.index((id, begins)) - (len(ends) - 1) / 2)


def _bulge(y: float, z: float, most: float) -> float:
    """How far an arc's handles stand out: the further it leads the more, up to a limit that is never reached."""
    span = abs(y - z)
    return 22 + most / 0.75 * span / (span + 1.4 * most)


def _spans(links: Sequence[Link], ports: _Ports, nodes: Mapping[str, Node]) -> Iterator[tuple[float, float]]:
    for e in (link.edge for link in links):
        yield _at(ports, nodes[e.source], e.id, True), _at(ports, nodes[e.target], e.id, False)


def _arc(link: Link, ports: _Ports, nodes: Mapping[str, Node], x: float) -> Arc:
    """An arc on the right, from the source's box to the target's."""
    e = link.edge
    ((y, z),) = _spans([link], ports, nodes)
    out = x + _bulge(y, z, _WIDEST_RIGHT)
    line = f"M{x:g} {y:g}C{out:.1f} {y:g} {out:.1f} {z:g} {x + _HEAD:g} {z:g}"
    head = f"M{x:g} {z:g}l{_HEAD} -4v8z"
    return Arc(e.source, e.target, line, head, link)


def _inherited(parent: Node, child: Node) -> Arc:
    """An arc on the left, from the parent's box to the child's."""
    y, z = parent.middle - 4, child.middle + 4
    out = _LEFT - _bulge(y, z, _WIDEST_LEFT)
    line = f"M{_LEFT} {y:g}C{out:.1f} {y:g} {out:.1f} {z:g} {_LEFT - _HEAD} {z:g}"
    return Arc(parent.space, child.space, line, f"M{_LEFT} {z:g}l-{_HEAD} -4v8z")
