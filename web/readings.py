"""Who reads a gallery, as its page shows it: a version in a row, a cell for each version that stored vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry.paths import incompatible
from registry.services.readers import Reader, Stored
from registry.types import Path
from web import visible
from web.access import Caller
from web.matrices import State

__all__ = ["Reading", "rows", "way"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a version does on what another one stored: the path that a search takes, and what was measured of it.

    `says` is what is missing, and `command` what would make it, where there is no path or nobody measured it.
    """

    stored: str
    state: State
    path: Path | None
    says: str = ""
    command: str | None = None


def rows(readers: Sequence[Reader], stored: Sequence[Stored], who: Caller) -> list[tuple[Reader, list[Reading]]]:
    """The table, row by row, as somebody sees it: of a benchmark that is not covered the verdict alone."""
    return [(reader, [_reading(reader, s.version, who) for s in stored]) for reader in readers]


def _reading(reader: Reader, stored: str, who: Caller) -> Reading:
    path = reader.paths.get(stored)
    if path is None:
        says = str(incompatible(reader.version, stored, paired=True, needs_side=stored in reader.needs_side))
        needs = stored in reader.needs_side
        fit = f"samespace fit orthogonal --source {reader.version} --target {stored} --gallery GALLERY"
        return Reading(stored, "nopath", None, says if needs else "Nothing leads there.", None if needs else fit)
    if not path.length:
        return Reading(stored, "own", path)
    if path.evidence is None:
        command = f"samespace evaluate BENCHMARK --version {reader.version} --version {stored}"
        return Reading(stored, "unmeasured", path, "Searches refuse a path that nobody measured.", command)
    return Reading(stored, path.evidence.verdict or "inconclusive", visible.path(who, path))


def way(path: Path) -> str:
    """A path in words, as `Evaluation.way` says it."""
    if not path.length:
        return "own space"
    kinds = " + ".join(path.kinds).replace("relative + relative", "relative anchors")
    side = "on both sides" if path.query and path.gallery else "on the query" if path.query else "on stored vectors"
    return f"{kinds}, {side}"
