"""Long lists, read a part at a time: the same for an embedded registry and for a client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from registry.types import Backfill, Change, Evaluation, Gallery, Model, Page, Study, TransformInfo, Version

__all__ = ["Kind", "Lists"]

Kind = Literal[
    "models",
    "versions",
    "galleries",
    "transforms",
    "anchor_sets",
    "evaluations",
    "studies",
    "backfills",
    "changes",
    "encoder_checks",
]


class Lists(ABC):
    """What has `page`, and reads whole lists through it."""

    @abstractmethod
    def page(self, kind: Kind, *, after: str | None = None, limit: int = 100, **filters: Any) -> Page[Any]:
        """At most `limit` items of a list, in its order; the first ones, or those behind the cursor `after`."""

    def _each(self, kind: Kind, rows: int, **filters: Any) -> Iterator[Any]:
        after = None
        while True:
            found = self.page(kind, after=after, limit=rows, **filters)
            yield from found.items
            after = found.next
            if after is None:
                return

    def iter_models(self, *, page: int = 1000) -> Iterator[Model]:
        """All models by name, read `page` at a time as they are asked for."""
        return self._each("models", page)

    def iter_versions(self, model: str | None = None, *, page: int = 1000) -> Iterator[Version]:
        """The versions of a model, or of all, as `versions` gives them, read `page` at a time."""
        return self._each("versions", page, model=model)

    def iter_galleries(self, *, page: int = 1000) -> Iterator[Gallery]:
        """All galleries by name, read `page` at a time."""
        return self._each("galleries", page)

    def iter_transforms(self, *, model: str | None = None, page: int = 1000) -> Iterator[TransformInfo]:
        """The transforms of a model, or all, as `transforms` gives them, read `page` at a time."""
        return self._each("transforms", page, model=model)

    def iter_evaluations(
        self,
        benchmark: str | None = None,
        *,
        metric: str | None = None,
        label: str | None = None,
        page: int = 1000,
    ) -> Iterator[Evaluation]:
        """The newest measurement of each pair, as `evaluations` gives it, read `page` at a time.

        Cells of a measurement that is made meanwhile come in place of those that they replace, unless those of the pair
        were read already.
        """
        return self._each("evaluations", page, benchmark=benchmark, metric=metric, label=label)

    def iter_studies(
        self,
        *,
        old: str | None = None,
        new: str | None = None,
        benchmark: str | None = None,
        label: str | None = None,
        page: int = 100,
    ) -> Iterator[Study]:
        """Studies, newest first, as `studies` gives them, read `page` at a time: each takes some ten kilobytes."""
        return self._each("studies", page, old=old, new=new, benchmark=benchmark, label=label)

    def newest_study(
        self, old: str, new: str, *, benchmark: str | None = None, label: str | None = None
    ) -> Study | None:
        """The newest study of replacing `old` by `new`, on this benchmark and label column if they are named."""
        found = self.page("studies", limit=1, old=old, new=new, benchmark=benchmark, label=label).items
        return found[0] if found else None

    def iter_backfills(self, *, gallery: str | None = None, going: bool = False, page: int = 100) -> Iterator[Backfill]:
        """Backfills, newest first: of a gallery if it is named, and only those that can still be run if `going`."""
        return self._each("backfills", page, gallery=gallery, going=going)

    def iter_changes(
        self,
        *,
        action: str | None = None,
        subject: str | None = None,
        who: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        page: int = 1000,
    ) -> Iterator[Change]:
        """The audit log, newest first and filtered as `changes` does, read `page` at a time."""
        return self._each("changes", page, action=action, subject=subject, who=who, since=since, until=until)
