"""What a check found: in order, worth a look, or broken, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Level", "has_problem"]

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` was looked at, what was `found`, and, unless it is in order, how to `mend` it; each of one line."""

    level: Level
    what: str
    found: str
    mend: str = ""


def has_problem(findings: Iterable[Finding]) -> bool:
    """Whether anything is broken."""
    return any(finding.level == "problem" for finding in findings)
