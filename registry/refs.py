"""Names and references: `products`, `products/2`, `products@champion`, `products/2[:128]`, `relative/words`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.errors import BadName, InvalidInput

__all__ = [
    "RELATIVE",
    "VersionRef",
    "check_name",
    "is_relative",
    "parse_version",
    "parse_versions",
    "prefix_of",
    "relative",
]

RELATIVE = "relative"
"""The reserved first word of relative spaces; no model may be called that."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_VERSION = re.compile(
    r"(?P<model>[a-z0-9][a-z0-9._-]{0,99})(?:/(?P<number>[1-9][0-9]{0,8})|@(?P<alias>[a-z0-9][a-z0-9._-]{0,99}))"
)
_PREFIX = re.compile(r"(?P<version>[^\[\]]+)\[:(?P<dim>[1-9][0-9]{0,8})\]")


@dataclass(frozen=True, slots=True)
class VersionRef:
    """A parsed reference to one version, by number or by alias; exactly one of the two is set."""

    model: str
    number: int | None = None
    alias: str | None = None


def check_name(name: str, what: str) -> str:
    """Return `name` if it can name a `what` (it becomes part of paths and addresses), else raise `BadName`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadName(
            f"{what} name {name!r:.120} is not allowed: use 1 to 100 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"
        )
    if what == "model" and name == RELATIVE:
        raise BadName(f"a model cannot be called {RELATIVE!r}: that word begins the names of relative spaces")
    return name


def parse_version(ref: str) -> VersionRef:
    """Parse `products/2` or `products@champion`; raise `BadName` for anything else."""
    match = _VERSION.fullmatch(ref) if isinstance(ref, str) else None
    if match is None:
        raise BadName(f"{ref!r:.120} is not a version: write it like 'products/2' or 'products@champion'")
    number = match["number"]
    return VersionRef(match["model"], int(number) if number else None, match["alias"])


def parse_versions(refs: Sequence[str]) -> Mapping[str, VersionRef]:
    """Parse a list of versions, at least one."""
    if isinstance(refs, str) or not isinstance(refs, Sequence) or not refs:
        raise InvalidInput(f"versions must be a list of some, got {refs!r:.80}: write ['products/1', 'products/2']")
    return {ref: parse_version(ref) for ref in refs}


def prefix_of(space: str) -> tuple[str, int] | None:
    """`products/2[:128]` -> (`products/2`, 128); None if `space` is no prefix space."""
    match = _PREFIX.fullmatch(space) if space.endswith("]") else None  # most are none, and graphs ask for thousands
    return (match["version"], int(match["dim"])) if match else None


def relative(anchors: str) -> str:
    """The name of the relative space that an anchor set defines."""
    return f"{RELATIVE}/{anchors}"


def is_relative(space: str) -> bool:
    """Whether `space` is a relative space."""
    return space.startswith(f"{RELATIVE}/")
