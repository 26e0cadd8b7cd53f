"""Between the old query and the new one, on the sphere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from registry.errors import InvalidInput
from registry.transforms.linear import Linear
from registry.vectors import Array, normalize

__all__ = ["Slerp"]

_LEVEL = 1e-6  # the sine below which two float32 directions are parallel, or opposite


@dataclass(frozen=True, eq=False, kw_only=True)
class Slerp(Linear):
    """The point a fraction `alpha` of the way from the old vector of a query to its new one (arXiv 2609.39836).

    `apply(new, side=old)`: new (n, source_dim) is rotated as by `Orthogonal`, z = new @ weight + bias, and both are
    scaled to length 1. With theta the angle between them, the result is
    (sin((1 - alpha) theta) old + sin(alpha theta) z) / sin(theta) (Shoemake, SIGGRAPH 1985): alpha = 0 is the old
    vector itself, 1 is what the rotation alone gives. Where the two point opposite ways there is no one shortest way
    between them: the nearer of the two is taken, and the old one half way.

    Both ends are spaces of directions, so `normalize` is always True. The model that wrote the target space must still
    embed the queries.
    """

    kind: ClassVar[str] = "slerp"
    alpha: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.normalize:
            raise InvalidInput("a slerp transform is of directions: normalize must be True, for the metric cosine")
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float) or not 0 <= self.alpha <= 1:
            raise InvalidInput(f"alpha must be a number from 0 (old) to 1 (new), got {self.alpha!r:.80}")

    @property
    def side_dim(self) -> int:
        return self.target_dim

    def _map_beside(self, x: Array, side: Array) -> Array:
        return interpolate(normalize(side), normalize(super()._map(x)), self.alpha)

    def _extra(self) -> dict[str, Any]:
        return {"alpha": float(self.alpha)}

    @classmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        return cls(weight=arrays["weight"], bias=arrays["bias"], alpha=header["alpha"], **common)


def interpolate(old: Array, new: Array, alpha: float) -> Array:
    """The points a fraction `alpha` of the way along the arcs from unit rows old (n, d) to unit rows new (n, d).

    Of length 1 up to rounding, float32; see `Slerp` for rows that point opposite ways.

    >>> import numpy as np
    >>> np.round(interpolate(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), 1 / 3), 3)
    array([[0.866, 0.5  ]], dtype=float32)
    """
    cosine = np.vecdot(old, new)[..., None]
    # Along the part of `new` that is at right angles to `old`: unlike the textbook form, exact for small angles too.
    across = new - cosine * old
    sine = np.sqrt(np.vecdot(across, across))[..., None]
    angle = alpha * np.arctan2(sine, cosine)
    along = np.sin(angle) / np.maximum(sine, _LEVEL)
    between = np.cos(angle) * old + along * across
    flat = sine < _LEVEL
    if flat.any():
        between = np.where(flat & (cosine < 0), new if alpha > 0.5 else old, between)
    return np.asarray(between, dtype=np.float32)
