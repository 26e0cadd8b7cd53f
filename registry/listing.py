"""Long lists, read a part at a time: the same for an embedded registry and for a client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

from registry.types import Change, Evaluation, Gallery, Model, Page, TransformInfo, Version

__all__ = ["Kind", "Lists"]

Kind = Literal["models", "versions", "galleries", "transforms", "anchor_sets", "evaluations", "changes"]


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

    def iter_transforms(self, *, page: int = 1000) -> Iterator[TransformInfo]:
        """All transforms, oldest first, read `page` at a time."""
        return self._each("transforms", page)

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

    def iter_changes(self, *, page: int = 1000) -> Iterator[Change]:
        """The whole audit log, newest first, read `page` at a time."""
        return self._each("changes", page)
