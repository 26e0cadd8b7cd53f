"""Similarities to shared anchors: the way into a relative space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np

from registry.errors import InvalidInput
from registry.transforms.base import Transform, freeze, locked
from registry.vectors import Array, normalize

__all__ = ["Relative", "Similarity"]

Similarity = Literal["cosine", "whitened"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Relative(Transform):
    """Similarities to k shared anchors (Moschella et al., ICLR 2023, eq. 1).

    anchors (k, d), the anchors' vectors in the source space. `cosine` compares directions; `whitened` is the
    affine-invariant inner product (x - mean) precision (a - mean)^T of arXiv 2605.30596 and needs both arrays:
    mean (d,), precision (d, d).
    """

    kind: ClassVar[str] = "relative"
    anchors: Array
    similarity: Similarity = "cosine"
    mean: Array | None = None
    precision: Array | None = None
    _columns: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.anchors.ndim != 2:
            raise InvalidInput(f"anchors must be (k, d), got {self.anchors.shape}")
        freeze(self, "anchors")
        if self.similarity == "cosine":
            columns = normalize(self.anchors).T
        elif self.similarity == "whitened":
            if self.mean is None or self.precision is None:
                raise InvalidInput("whitened similarity needs mean (d,) and precision (d, d): give both")
            freeze(self, "mean", "precision")
            columns = self.precision @ (self.anchors - self.mean).T
        else:
            raise InvalidInput(f"similarity {self.similarity!r} is not known: use 'cosine' or 'whitened'")
        # Computed once: projecting a row is then one matrix product.
        object.__setattr__(self, "_columns", locked(np.ascontiguousarray(columns, dtype=np.float32)))

    @property
    def source_dim(self) -> int:
        return int(self.anchors.shape[1])

    @property
    def target_dim(self) -> int:
        return int(self.anchors.shape[0])

    def arrays(self) -> dict[str, Array]:
        named = {"anchors": self.anchors, "mean": self.mean, "precision": self.precision}
        return {name: a for name, a in named.items() if a is not None}

    def _map(self, x: Array) -> Array:
        y: Array = (x if self.mean is None else x - self.mean) @ self._columns
        return y

    def _extra(self) -> dict[str, Any]:
        return {"similarity": self.similarity}

    @classmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        return cls(
            anchors=arrays["anchors"],
            similarity=header["similarity"],
            mean=arrays.get("mean"),
            precision=arrays.get("precision"),
            **common,
        )
