"""Linear maps: a cut to a prefix, a rotation, any affine map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from registry.errors import InvalidInput
from registry.transforms.base import Transform, freeze
from registry.vectors import Array

__all__ = ["Affine", "Orthogonal", "Prefix"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Prefix(Transform):
    """Keep the first `target_dim` dimensions: how a trained compatible model (OCA, BCT) is read by the old space."""

    kind: ClassVar[str] = "prefix"
    from_dim: int
    to_dim: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.to_dim <= self.from_dim:
            raise InvalidInput(f"a prefix keeps 1 to {self.from_dim} dimensions, got {self.to_dim}")

    @property
    def source_dim(self) -> int:
        return self.from_dim

    @property
    def target_dim(self) -> int:
        return self.to_dim

    def arrays(self) -> dict[str, Array]:
        return {}

    def _map(self, x: Array) -> Array:
        return x[..., : self.to_dim]

    @classmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        return cls(from_dim=header["source_dim"], to_dim=header["target_dim"], **common)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Linear(Transform):
    """`y = x @ weight + bias`; weight (source_dim, target_dim), bias (target_dim,), both float32."""

    weight: Array
    bias: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[1:]:
            raise InvalidInput(f"weight must be (ds, dt) and bias (dt,), got {self.weight.shape} and {self.bias.shape}")
        freeze(self, "weight", "bias")

    @property
    def source_dim(self) -> int:
        return int(self.weight.shape[0])

    @property
    def target_dim(self) -> int:
        return int(self.weight.shape[1])

    def arrays(self) -> dict[str, Array]:
        return {"weight": self.weight, "bias": self.bias}

    def _map(self, x: Array) -> Array:
        y: Array = x @ self.weight
        y += self.bias
        return y

    @classmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        return cls(weight=arrays["weight"], bias=arrays["bias"], **common)


@dataclass(frozen=True, eq=False, kw_only=True)
class Orthogonal(_Linear):
    """A rotation or reflection (semi-orthogonal where the widths differ), a scale and a shift."""

    kind: ClassVar[str] = "orthogonal"


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine(_Linear):
    """Any linear map and a shift."""

    kind: ClassVar[str] = "affine"
