"""A linear map and what a small network adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from registry.errors import InvalidInput
from registry.transforms.base import Transform, freeze, sound
from registry.vectors import Array

__all__ = ["Mlp"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Mlp(Transform):
    """`y = x @ weight + bias + h @ out`, where h = relu(… relu([x, side] @ w_1 + b_1) …) is the last hidden layer.

    weight (source_dim, target_dim), bias (target_dim,). layers: (w_i, b_i) of each hidden layer, w_1 of shape
    (source_dim + side_dim, h_1), w_i of (h_(i-1), h_i), b_i of (h_i,); out (h_last, target_dim). All are float32.

    The linear part is there so that the network only learns what a linear map misses. ReLU is exact in NumPy and costs
    one pass. `side` is what is known of a row beside its vector (FCT, CVPR 2022), as the fit saw it, never normalised.

    >>> import numpy as np
    >>> absolute = Mlp(weight=[[-1.0]], bias=[0.0], layers=(([[1.0]], [0.0]),), out=[[2.0]], normalize=False)
    >>> absolute.apply(np.array([[-3.0], [2.0]])).tolist()
    [[3.0], [2.0]]
    """

    kind: ClassVar[str] = "mlp"
    weight: Array
    bias: Array
    layers: tuple[tuple[Array, Array], ...]
    out: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        freeze(self, "weight", "bias", "out")
        layers = tuple(
            (sound(self, f"layers.{i}.weight", w), sound(self, f"layers.{i}.bias", b))
            for i, (w, b) in enumerate(self.layers)
        )
        object.__setattr__(self, "layers", layers)
        self._check()

    def _check(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[1:]:
            raise InvalidInput(f"weight must be (ds, dt) and bias (dt,), got {self.weight.shape} and {self.bias.shape}")
        if not self.layers or self.layers[0][0].ndim != 2 or self.side_dim < 0:
            raise InvalidInput(f"the first hidden layer must take {self.source_dim} dimensions or more: give layers")
        width = len(self.layers[0][0])
        for i, (w, b) in enumerate(self.layers):
            if w.ndim != 2 or len(w) != width or b.shape != w.shape[1:]:
                raise InvalidInput(f"hidden layer {i} must be ({width}, h) and (h,), got {w.shape} and {b.shape}")
            width = w.shape[1]
        if self.out.shape != (width, self.target_dim):
            raise InvalidInput(f"out must be {(width, self.target_dim)}, got {self.out.shape}")

    @property
    def source_dim(self) -> int:
        return int(self.weight.shape[0])

    @property
    def target_dim(self) -> int:
        return int(self.weight.shape[1])

    @property
    def side_dim(self) -> int:
        return len(self.layers[0][0]) - self.source_dim

    @property
    def _widest(self) -> int:
        return max(super()._widest, *(len(b) for _, b in self.layers))

    def arrays(self) -> dict[str, Array]:
        weights = {f"layers.{i}.weight": w for i, (w, _) in enumerate(self.layers)}
        biases = {f"layers.{i}.bias": b for i, (_, b) in enumerate(self.layers)}
        return {"weight": self.weight, "bias": self.bias, "out": self.out, **weights, **biases}

    def _map(self, x: Array) -> Array:
        return self._through(x, x @ self.layers[0][0])

    def _map_beside(self, x: Array, side: Array) -> Array:
        first, split = self.layers[0][0], self.source_dim
        hidden: Array = x @ first[:split]
        hidden += side.astype(np.float32, copy=False) @ first[split:]
        return self._through(x, hidden)

    def _through(self, x: Array, hidden: Array) -> Array:
        """The sum of both branches, from the first layer's products (n, h_1), which are used up."""
        for i, (w, b) in enumerate(self.layers):
            if i:
                hidden = hidden @ w
            hidden += b
            np.maximum(hidden, 0, out=hidden)
        y: Array = x @ self.weight
        y += self.bias
        y += hidden @ self.out
        return y

    @classmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        count = sum(name.startswith("layers.") for name in arrays) // 2
        layers = tuple((arrays[f"layers.{i}.weight"], arrays[f"layers.{i}.bias"]) for i in range(count))
        return cls(weight=arrays["weight"], bias=arrays["bias"], layers=layers, out=arrays["out"], **common)
