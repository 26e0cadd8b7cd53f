"""What learned maps are made of: modules of torch that know the transform they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from align.moments import Moments
from registry.transforms import Affine, Mlp
from registry.vectors import Array

__all__ = ["NearlyOrthogonal", "Residual", "deviation", "supervised_contrast"]

_GAIN = 0.3  # deviation of what the hidden layers see: at 1 they overfit word vectors sooner, at 0.1 they learn slowly


class Residual(nn.Module):
    """An affine map and what hidden layers of ReLU add to it: nothing, before training.

    `start` is the affine map, `m` the moments of the pairs, `widths` those of the hidden layers, `beside` the mean (s,) and
    scale of side information. The layers see centred inputs of one small variance and answer in units of the target's
    spread, so one learning rate suits all spaces; `transform` folds that into the weights. What is trained of the affine map is its
    difference from the start, so that weight decay pulls to the start and not to 0.
    """

    _weight: Tensor
    _bias: Tensor
    _mean: Tensor
    _side_mean: Tensor

    def __init__(
        self, start: Affine, m: Moments, widths: Sequence[int], beside: tuple[Array, float] | None, seed: int
    ) -> None:
        super().__init__()
        ds, dt = start.weight.shape
        side_mean, side_scale = beside or (np.zeros(0), 1.0)
        self._kept("weight", start.weight)
        self._kept("bias", start.bias)
        self._kept("mean", m.mean_x)
        self._kept("side_mean", side_mean)
        self.side_scale = side_scale / _GAIN
        self.scale, self.unit = float(np.sqrt(m.spread_x / ds)) / _GAIN, float(np.sqrt(m.spread_y / dt))
        self.delta = nn.Parameter(torch.zeros(ds, dt))
        self.shift = nn.Parameter(torch.zeros(dt))
        sizes = [ds + len(side_mean), *widths]
        # A generator of its own: the caller's random numbers are not touched. He initialisation, for ReLU.
        random = torch.Generator().manual_seed(seed)
        drawn = [torch.randn(a, b, generator=random) * (2 / a) ** 0.5 for a, b in pairwise(sizes)]
        self.weights = nn.ParameterList(drawn)
        self.biases = nn.ParameterList(torch.zeros(b) for b in widths)
        self.out = nn.Parameter(torch.zeros(widths[-1], dt))

    def _kept(self, name: str, values: Array) -> None:
        self.register_buffer(f"_{name}", torch.tensor(np.asarray(values, dtype=np.float32)))

    def forward(self, x: Tensor, side: Tensor | None) -> Tensor:
        """Map x (n, ds), and side (n, s) if there is one, to (n, dt)."""
        centred = (x - self._mean) / self.scale
        h = centred if side is None else torch.cat([centred, (side - self._side_mean) / self.side_scale], dim=1)
        for w, b in zip(self.weights, self.biases, strict=True):
            h = functional.relu(torch.addmm(b, h, w))
        return x @ self._weight + self._bias + self.unit * (centred @ self.delta + self.shift + h @ self.out)

    def transform(self, normalize: bool) -> Mlp:
        """What is learned so far."""
        weights, biases = ([_array(p) for p in layer] for layer in (self.weights, self.biases))
        mean, side_mean = _array(self._mean), _array(self._side_mean)
        first, ds = weights[0], len(mean)
        weights[0] = np.concatenate([first[:ds] / self.scale, first[ds:] / self.side_scale])
        biases[0] = biases[0] - np.concatenate([mean, side_mean]) @ weights[0]
        delta = self.unit * _array(self.delta) / self.scale
        return Mlp(
            weight=_array(self._weight) + delta,
            bias=_array(self._bias) + self.unit * _array(self.shift) - mean @ delta,
            layers=tuple(zip(weights, biases, strict=True)),
            out=self.unit * _array(self.out),
            normalize=normalize,
        )


class NearlyOrthogonal(nn.Module):
    """y = scale * x @ W + bias, where W (ds, dt) begins as a `rotation` and only `strict` keeps it one.

    Strict: W is the leading part of Q exp(A - A^T), Q the square orthogonal matrix that completes the rotation, so that
    its rows, or its columns where ds > dt, stay orthonormal whatever the optimiser does.
    """

    _first: Tensor

    def __init__(self, rotation: Array, bias: Array, scale: float, *, strict: bool) -> None:
        super().__init__()
        self.shape, self.scale, self.strict = rotation.shape, scale, strict
        first = _completed(rotation) if strict else rotation
        self.register_buffer("_first", torch.tensor(np.asarray(first, dtype=np.float32)))
        self.delta = nn.Parameter(torch.zeros(first.shape))
        self.bias = nn.Parameter(torch.tensor(np.asarray(bias, dtype=np.float32)))

    @property
    def weight(self) -> Tensor:
        """W (ds, dt)."""
        if not self.strict:
            return self._first + self.delta
        turned: Tensor = self._first @ torch.linalg.matrix_exp(self.delta - self.delta.T)
        return turned[: self.shape[0], : self.shape[1]]

    def forward(self, x: Tensor, side: Tensor | None) -> Tensor:
        """Map x (n, ds) to (n, dt)."""
        return self.scale * (x @ self.weight) + self.bias

    def transform(self, normalize: bool) -> Affine:
        """What is learned so far."""
        return Affine(weight=self.scale * _array(self.weight), bias=_array(self.bias), normalize=normalize)


def deviation(weight: Tensor) -> Tensor:
    """How far W (ds, dt) is from orthogonal: |W W^T - I|_F, or of W^T W where that is the smaller one.

    >>> float(deviation(torch.eye(3)[:, :2]))
    0.0
    """
    gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
    distance: Tensor = torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device))
    return distance


def supervised_contrast(mapped: Tensor, target: Tensor, codes: Tensor, *, temperature: float) -> Tensor:
    """Contrast of mapped rows (n, d) with target rows (n, d) of the same code (n,) (Khosla et al., NeurIPS 2020, L_out).

    The mean over i of -1/|P_i| times the sum over P_i, the rows j of i's code, i itself included, of
    log softmax_j(cos(mapped_i, target_j) / temperature).

    >>> x = torch.eye(2)
    >>> round(float(supervised_contrast(x, x, torch.tensor([0, 1]), temperature=1.0)), 4)  # log(1 + 1/e)
    0.3133
    """
    logits = functional.normalize(mapped) @ functional.normalize(target).T / temperature
    same = (codes[:, None] == codes).float()
    loss: Tensor = -((logits.log_softmax(1) * same).sum(1) / same.sum(1)).mean()
    return loss


def _completed(rotation: Array) -> Array:
    """A square orthogonal matrix whose leading part is `rotation`, with orthonormal rows or columns."""
    ds, dt = rotation.shape
    u, _, vt = np.linalg.svd(np.asarray(rotation, dtype=np.float64), full_matrices=True)
    return np.concatenate([rotation, vt[ds:]]) if ds < dt else np.concatenate([rotation, u[:, dt:]], axis=1)


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(np.float64)
