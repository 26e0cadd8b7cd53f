"""What leads three versions or more into one space: a map for each, and one more for a version that comes later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from align.bridges import closed
from align.moments import Part, accumulate
from registry.errors import InvalidInput
from registry.transforms import Mlp, Orthogonal
from registry.vectors import Array, normalize

__all__ = ["Hub"]

_ROWS = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Hub:
    """Maps of M versions into one space, that of version `reference`; `maps[reference]` is the identity.

    `misfit`, in [0, 1], is the share of the versions' variance, each scaled to 1, that lies off their consensus.
    `correction` is GCPA's: a further map that all versions go through after their own, or None.
    """

    maps: tuple[Orthogonal, ...]
    reference: int
    misfit: float
    iterations: int
    normalize: bool
    correction: Mlp | None = None

    def consensus(self, rows: Sequence[Array | None]) -> Array:
        """The mean (n, d) in the hub of the same items' `rows` by each version; None for versions that have none."""
        mapped = [m.apply(x) for m, x in zip(self.maps, rows, strict=True) if x is not None]
        total: Array = np.sum(mapped, axis=0) / np.float32(len(mapped))
        return normalize(total) if self.normalize else total

    def add(self, rows: Array, known: Sequence[Array | None], *, device: str | None = None) -> Hub:
        """The hub with one more version, and all other maps as they are: the Procrustes map to the consensus.

        rows (n, d): the new version's vectors of some items; `known`: these items' vectors (n, d_m) by each version of the
        hub, None for those that did not embed them.

        Raises:
            InvalidInput: no version knows the items, or not row by row the same ones.
        """
        given = [x for x in known if x is not None]
        if len(known) != len(self.maps) or not given or any(len(x) != len(rows) for x in given):
            raise InvalidInput(
                f"a new version is added by items that the hub knows: give {len(rows)} rows for each of its {len(self.maps)} "
                "versions, None for those that have none, but not for all"
            )

        def blocks() -> Iterator[tuple[Array, Array]]:
            for start in range(0, len(rows), _ROWS):
                part = slice(start, start + _ROWS)
                yield rows[part], self.consensus([None if x is None else x[part] for x in known])

        parts: tuple[Part, ...] = ("xx", "xy")
        m = accumulate(blocks(), parts=parts, normalize=self.normalize, device=device)
        added = closed.orthogonal(m, normalize=self.normalize)
        added = replace(added, report={**added.report, "method": "gpa", "reference": self.reference})
        return replace(self, maps=(*self.maps, added))
