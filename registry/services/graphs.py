"""The graph of the transforms, kept from call to call."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.paths import Graph
from registry.services import transforms
from registry.tables import TransformRow

__all__ = ["Graphs"]


class Graphs:
    """Gives each reading session the graph that its snapshot holds, built anew only when transforms were added.

    Transforms are never changed nor removed, so what one snapshot holds is a part of what any later one does: two with
    as many transforms hold the same ones, whichever process added them. A session that writes must not ask, since what
    it added itself may be rolled back.
    """

    def __init__(self) -> None:
        self._kept: tuple[int, Graph] | None = None

    def of(self, session: Session) -> Graph:
        """The graph as this session sees it."""
        size = session.scalar(select(func.count()).select_from(TransformRow)) or 0
        kept = self._kept
        if kept is None or kept[0] != size:
            kept = size, transforms.graph(session)
            self._kept = kept  # both at once: threads share this
        return kept[1]
