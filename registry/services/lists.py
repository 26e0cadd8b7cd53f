"""The lists that can be read page by page, by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy.orm import Session

from registry.errors import InvalidInput
from registry.listing import Kind
from registry.services import anchors, audit, backfills, checks, evidence, galleries, models, pages, studies, transforms
from registry.types import Page

__all__ = ["page"]


@dataclass(frozen=True, slots=True)
class _List:
    """How a list is read, and the names of its filters."""

    read: Callable[..., Page[Any]]
    filters: tuple[str, ...] = ()


_LISTS: Mapping[str, _List] = {
    "models": _List(models.models),
    "versions": _List(models.versions, ("model",)),
    "galleries": _List(galleries.galleries),
    "transforms": _List(transforms.transforms, ("model",)),
    "anchor_sets": _List(anchors.anchor_sets),
    "evaluations": _List(evidence.evaluations, ("benchmark", "metric", "label")),
    "studies": _List(studies.studies, ("old", "new", "benchmark", "label")),
    "backfills": _List(backfills.backfills, ("gallery", "going")),
    "changes": _List(audit.changes, ("action", "subject", "who", "since", "until")),
    "encoder_checks": _List(checks.checks, ("ref",)),
}


def page(
    session: Session,
    kind: Kind,
    *,
    after: str | None,
    limit: int,
    filters: Mapping[str, Any],
    among: Collection[str] | None = None,
) -> Page[Any]:
    """A page of the list `kind`; see `Registry.page`.

    With `among`, models and versions are of these models alone, as are encoder checks, and galleries and anchor sets of
    these galleries. Such lists are read on by names, so that nobody may be given a cursor of one whose names are hidden.
    """
    found = _LISTS.get(kind) if isinstance(kind, str) else None
    if found is None:
        raise InvalidInput(f"there is no list {kind!r:.80}: use one of {', '.join(get_args(Kind))}")
    for name in filters:
        if name not in found.filters:
            raise InvalidInput(f"{kind} have no filter {name!r:.80}: use {' or '.join(found.filters) or 'none'}")
    scope = {} if among is None else {"among": among}
    return found.read(session, after=after, limit=pages.checked_limit(limit), **scope, **filters)
