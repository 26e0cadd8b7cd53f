"""The audit log as pages show it: each change with its facts in words, and where what it names has a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import url_for

from registry.errors import BadName
from registry.refs import is_relative, parse_version, prefix_of
from registry.types import Change
from web.formats import plain, short

__all__ = ["Fact", "Line", "Part", "lines"]

_OF_SPACES = ("against", "from", "new", "old", "parent", "source", "target", "version", "versions")
_OF_GALLERIES = ("benchmark", "gallery")
_OF_ANYBODY = ("version.tagged",)  # whose facts are named by whoever noted them
_MOST = 12  # values of one fact, such as the versions of an evaluation


@dataclass(frozen=True, slots=True)
class Part:
    """A value in words, and the address of its page if it has one."""

    text: str
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """What a change says of itself under one name; `more` values are left out."""

    name: str
    parts: tuple[Part, ...]
    more: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A change, its subject's page, and its facts; those that are empty are left out."""

    change: Change
    subject: Part
    facts: tuple[Fact, ...]


def lines(changes: Iterable[Change]) -> list[Line]:
    """The changes, each as a line."""
    return [Line(c, Part(c.subject, _subject(c)), tuple(_facts(c))) for c in changes]


def _subject(change: Change) -> str | None:
    kind = change.action.partition(".")[0]
    find = _PAGES.get(kind)
    return find(change.subject) if find else None


def _facts(change: Change) -> Iterator[Fact]:
    for key, value in change.details.items():
        values = value if isinstance(value, list) else [value]
        find = _page_of(change, key)
        parts = [_part(key, one, find) for one in values[:_MOST] if one not in (None, "", [], {})]
        if parts:
            yield Fact(key.replace("_", " "), tuple(parts), max(len(values) - _MOST, 0))


def _part(key: str, value: Any, find: Callable[[str], str | None] | None) -> Part:
    text = plain(value)
    return Part(short(text) if key == "fingerprint" else text, find(text) if find and isinstance(value, str) else None)


def _page_of(change: Change, key: str) -> Callable[[str], str | None] | None:
    if change.action in _OF_ANYBODY:
        return None
    if change.action == "benchmark.studied" and key == "study":
        pair = {name: change.details.get(name) for name in ("old", "new", "label")}
        return lambda _: url_for("pages.compare", benchmark=change.subject, **pair)
    return _space if key in _OF_SPACES else _gallery if key in _OF_GALLERIES else None


def _space(name: str) -> str | None:
    """The page of a version, of the version that a prefix is of, or of the anchors of a relative space."""
    if is_relative(name):
        return url_for("pages.anchors", name=name.partition("/")[2])
    cut = prefix_of(name)
    ref = cut[0] if cut else name
    try:
        version = parse_version(ref)
    except BadName:
        return None
    return url_for("pages.model", name=version.model, _anchor=ref if version.number else None)


def _gallery(name: str) -> str:
    return url_for("pages.gallery", name=name)


def _backfill(id: str) -> str:
    return url_for("pages.backfill", id=id)


def _transform(id: str) -> str:
    return url_for("pages.transform", id=id)


_PAGES: Mapping[str, Callable[[str], str | None]] = {
    "alias": _space,
    "anchors": _space,
    "backfill": _backfill,
    "benchmark": _gallery,
    "canaries": _space,
    "encoder": _space,
    "gallery": _gallery,
    "transform": _transform,
    "version": _space,
}
"""The first word of an action -> where its subject's page is."""
