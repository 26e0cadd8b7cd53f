"""Linear maps: a cut to a prefix, a rotation, any affine map, one through fewer dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

from registry.errors import InvalidInput
from registry.transforms.base import Transform, freeze
from registry.vectors import Array

__all__ = ["Affine", "Linear", "LowRank", "Orthogonal", "Prefix"]


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
        return x[..., : self.to_dim].copy()  # a view would keep the whole row alive

    @classmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        return cls(from_dim=header["source_dim"], to_dim=header["target_dim"], **common)


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Transform):
    """`y = x @ weight + bias`; weight (source_dim, target_dim), bias (target_dim,), both float32."""

    weight: Array
    bias: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[1:]:
            raise InvalidInput(f"weight must be (ds, dt) and bias (dt,), got {self.weight.shape} and {self.bias.shape}")
        freeze(self, "weight", "bias")

    @cached_property
    def source_dim(self) -> int:
        return int(self.weight.shape[0])

    @cached_property
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
class Orthogonal(Linear):
    """A rotation or reflection (semi-orthogonal where the widths differ), a scale and a shift."""

    kind: ClassVar[str] = "orthogonal"


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine(Linear):
    """Any linear map and a shift."""

    kind: ClassVar[str] = "affine"


@dataclass(frozen=True, eq=False, kw_only=True)
class LowRank(Transform):
    """`y = x @ down @ up + bias`: an affine map of rank r, at the cost of r (ds + dt) products for each row.

    down (source_dim, r), up (r, target_dim), bias (target_dim,), all float32.
    """

    kind: ClassVar[str] = "lowrank"
    down: Array
    up: Array
    bias: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        freeze(self, "down", "up", "bias")
        shapes = self.down.shape, self.up.shape, self.bias.shape
        if [len(s) for s in shapes] != [2, 2, 1] or not 0 < shapes[0][1] == shapes[1][0] or shapes[1][1:] != shapes[2]:
            raise InvalidInput("down must be (ds, r), up (r, dt) and bias (dt,), got {}, {} and {}".format(*shapes))

    @property
    def source_dim(self) -> int:
        return int(self.down.shape[0])

    @property
    def target_dim(self) -> int:
        return int(self.up.shape[1])

    @property
    def rank(self) -> int:
        """r: how many directions of the source get through."""
        return int(self.down.shape[1])

    def arrays(self) -> dict[str, Array]:
        return {"down": self.down, "up": self.up, "bias": self.bias}

    def _map(self, x: Array) -> Array:
        y: Array = x @ self.down @ self.up
        y += self.bias
        return y

    @classmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        return cls(down=arrays["down"], up=arrays["up"], bias=arrays["bias"], **common)
