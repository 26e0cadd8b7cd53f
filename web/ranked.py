"""One query in two versions: two ranked lists, and how items move from the one to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from registry.types import Item, Path
from web.matrices import State

__all__ = ["Found", "Hit", "Move", "Ranked", "Track", "ranked", "summary", "tracks"]

_ROW = 10  # height of a rank in the drawing, which is stretched to the lists
_STUB = 18  # how far a line reaches that leads from one list to nowhere

Move = Literal["up", "down", "same", "new", "gone"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search as one version gave: ids and scores by rank, and the path to what each version stored.

    Where there is no answer, `problem` says why, and `command` what would make one; `state` is `nopath` or `unmeasured` if
    that is the reason.
    """

    version: str
    ids: Sequence[str | int] = ()
    scores: Sequence[float] = ()
    path: Mapping[str, Path] | None = None
    problem: str | None = None
    command: str | None = None
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """An item at a rank from 1, and whether it is of the query's class, None where that is not known.

    `other` is its rank in the other list, None if it is not there; `by` how many ranks it moves from old to new.
    """

    rank: int
    id: str | int
    score: float
    item: Item | None
    is_right: bool | None
    move: Move | None
    by: int
    other: int | None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A list, and how many of it are of the query's class; None where no class is known."""

    found: Found
    hits: Sequence[Hit]
    right: int | None

    @property
    def precision(self) -> float | None:
        """The share of the list that is of the query's class."""
        return None if self.right is None or not self.hits else self.right / len(self.hits)


@dataclass(frozen=True, slots=True)
class Track:
    """A line of the drawing between the lists: its path, and what it says as names of classes."""

    d: str
    looks: str


def ranked(
    old: Found, new: Found, items: Mapping[str | int, Item], wanted: tuple[str, str] | None
) -> tuple[Ranked, Ranked]:
    """Both lists; `wanted` is a label column and the query's value in it."""
    return _ranked(old, new, items, wanted, is_new=False), _ranked(new, old, items, wanted, is_new=True)


def _ranked(
    found: Found, against: Found, items: Mapping[str | int, Item], wanted: tuple[str, str] | None, *, is_new: bool
) -> Ranked:
    there = {id: rank for rank, id in enumerate(against.ids, 1)}
    comparable = against.problem is None
    hits = []
    for rank, (id, score) in enumerate(zip(found.ids, found.scores, strict=True), 1):
        item, other = items.get(id), there.get(id)
        move, by = _move(rank, other, is_new=is_new) if comparable else (None, 0)
        hits.append(Hit(rank, id, score, item, _is_right(item, wanted), move, by, other))
    known = [hit.is_right for hit in hits if hit.is_right is not None]
    return Ranked(found, hits, sum(known) if known and len(known) == len(hits) else None)


def _move(rank: int, other: int | None, *, is_new: bool) -> tuple[Move, int]:
    if other is None:
        return "new" if is_new else "gone", 0
    before, after = (other, rank) if is_new else (rank, other)
    return "same" if before == after else "up" if after < before else "down", abs(before - after)


def _is_right(item: Item | None, wanted: tuple[str, str] | None) -> bool | None:
    if item is None or wanted is None or wanted[0] not in item.labels:
        return None
    return str(item.labels[wanted[0]]) == wanted[1]


def tracks(old: Ranked, new: Ranked) -> list[Track]:
    """A line for each item, from its rank on the left to that on the right, or only out of the one or into the other.

    Bold are the lines that change how many results are right: what comes in and what goes out.
    """
    found = [Track(_across(hit.rank, hit.other), _looks(hit)) for hit in old.hits if hit.other is not None]
    found += [Track(f"M0 {_y(hit.rank)}H{_STUB}", _looks(hit)) for hit in old.hits if hit.move == "gone"]
    found += [Track(f"M{100 - _STUB} {_y(hit.rank)}H100", _looks(hit)) for hit in new.hits if hit.move == "new"]
    return found


def _across(left: int, right: int) -> str:
    return f"M0 {_y(left)}C50 {_y(left)} 50 {_y(right)} 100 {_y(right)}"


def _y(rank: int) -> int:
    return rank * _ROW - _ROW // 2


def _looks(hit: Hit) -> str:
    right = {True: "right", False: "wrong", None: "unknown"}[hit.is_right]
    return f"{right} bold" if hit.move in ("new", "gone") else right


def summary(old: Ranked, new: Ranked) -> str | None:
    """What changes, in a sentence; None unless both sides have an answer."""
    if old.found.problem or new.found.problem:
        return None
    stay = sum(hit.other is not None for hit in old.hits)
    said = f"{stay} of {len(old.hits)} results stay"
    if old.precision is not None and new.precision is not None:
        said += (
            f"; precision at {max(len(old.hits), len(new.hits))} goes from {old.precision:.2f} to {new.precision:.2f}"
        )
    return f"{said}."
