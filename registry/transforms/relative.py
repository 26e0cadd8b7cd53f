"""Similarities to shared anchors: the way into a relative space."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from registry.errors import InvalidInput
from registry.transforms.base import Transform, freeze
from registry.transforms.similarities import (
    WIDTHS,
    Cosine,
    Euclidean,
    Measure,
    Product,
    Similarity,
    Whitened,
    quantize,
)
from registry.vectors import Array

__all__ = ["Relative", "Similarity", "checked_quantum"]

_UNIT = np.ones(1, dtype=np.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class Relative(Transform):
    """Similarities to k shared anchors (Moschella et al., ICLR 2023), by one of `registry.transforms.similarities`.

    anchors (k, d), the anchors' vectors in the source space, for a space of directions (`normalize`) the weighted means
    of rows of length 1. `whitened` needs the moments of the source space: mean (d,), precision (d, d). `quantum` rounds
    each similarity to its whole multiples, so that small differences between versions vanish; 0 is off. A row whose
    similarities all round to zero has no direction left.
    """

    kind: ClassVar[str] = "relative"
    anchors: Array
    similarity: Similarity = "cosine"
    mean: Array | None = None
    precision: Array | None = None
    quantum: float = 0.0
    _measure: Measure = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.anchors.ndim != 2 or not self.anchors.size:
            raise InvalidInput(f"anchors must be (k, d), got {self.anchors.shape}")
        object.__setattr__(self, "quantum", checked_quantum(self.quantum))
        freeze(self, "anchors")
        object.__setattr__(self, "_measure", self._prepared())

    def _prepared(self) -> Measure:
        if self.similarity == "whitened":
            if self.mean is None or self.precision is None:
                raise InvalidInput("whitened similarity needs mean (d,) and precision (d, d): give both")
            freeze(self, "mean", "precision")
            if (self.mean.shape, self.precision.shape) != ((self.source_dim,), (self.source_dim,) * 2):
                raise InvalidInput(
                    f"mean must be ({self.source_dim},) and precision ({self.source_dim}, {self.source_dim}), "
                    f"got {self.mean.shape} and {self.precision.shape}"
                )
            return Whitened(self.anchors, self.mean, self.precision)
        if self.mean is not None or self.precision is not None:
            raise InvalidInput(f"mean and precision belong to whitened similarity, not {self.similarity!r:.80}")
        if self.similarity == "cosine":
            return Cosine(self.anchors)
        if self.similarity == "l2":
            return Euclidean(self.anchors)
        if self.similarity == "product":
            return Product(self.anchors, self.quantum)
        raise InvalidInput(f"similarity {self.similarity!r:.80} is not known: use one of {', '.join(WIDTHS)}")

    @property
    def source_dim(self) -> int:
        return int(self.anchors.shape[1])

    @property
    def target_dim(self) -> int:
        return len(self.anchors) * WIDTHS[self.similarity]

    def arrays(self) -> dict[str, Array]:
        named = {"anchors": self.anchors, "mean": self.mean, "precision": self.precision}
        return {name: a for name, a in named.items() if a is not None}

    def similarities(self, x: Array, *, lengths: Array | None = None) -> Array:
        """The similarities (n, target_dim) of float32 rows (n, d) as they are; `lengths` (n,) are theirs, if known."""
        y = self._measure(x, lengths=lengths)
        return y if self.similarity == "product" else quantize(y, self.quantum)

    def _map(self, x: Array) -> Array:
        y = self.similarities(np.atleast_2d(x), lengths=_UNIT if self.normalize else None)
        return y.reshape(*x.shape[:-1], self.target_dim)

    def _extra(self) -> dict[str, Any]:
        return {"similarity": self.similarity, "quantum": self.quantum}

    @classmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        return cls(
            anchors=arrays["anchors"],
            similarity=header["similarity"],
            mean=arrays.get("mean"),
            precision=arrays.get("precision"),
            quantum=header["quantum"],
            **common,
        )


def checked_quantum(quantum: float | None) -> float:
    """The width of a bin, 0 for none.

    Raises:
        InvalidInput: not a finite number from 0 up.
    """
    if quantum is None:
        return 0.0
    number = isinstance(quantum, int | float | np.floating | np.integer) and not isinstance(quantum, bool)
    if not number or not 0 <= quantum < math.inf:
        raise InvalidInput(f"quantum must be a finite number from 0 up, 0 for no rounding, got {quantum!r:.80}")
    return float(quantum)
