"""The similarities of `registry.transforms.similarities` by torch: on a GPU, and with gradients."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from registry.errors import InvalidInput
from registry.transforms import Relative
from registry.transforms.similarities import Similarity, spaced

__all__ = ["Measure", "measure_of", "similarity_to"]


class Measure(Protocol):
    """Similarities of rows (n, d) to anchors that it was made of."""

    def __call__(self, x: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """(n, k), or (n, 4 k); `lengths` are those of the rows, where they are known."""


def measure_of(to: Relative, device: str) -> Measure:
    """What `to.similarities` computes, on a device."""
    anchors = torch.tensor(to.anchors, device=device)
    moments = None
    if to.mean is not None and to.precision is not None:
        moments = torch.tensor(to.mean, device=device), torch.tensor(to.precision, device=device)
    return similarity_to(anchors, to.similarity, moments=moments, quantum=to.quantum)


def similarity_to(
    anchors: Tensor, similarity: Similarity, *, moments: tuple[Tensor, Tensor] | None = None, quantum: float = 0.0
) -> Measure:
    """The similarity to anchors (k, d); without a quantum it can be differentiated, for the anchors as well.

    moments, mean (d,) and precision (d, d), belong to whitened similarity.
    """
    if similarity == "cosine":
        return _rounded(_cosine(anchors), quantum)
    if similarity == "whitened":
        if moments is None:
            raise InvalidInput("whitened similarity needs moments: the mean (d,) and precision (d, d) of the space")
        mean, precision = moments
        columns = precision @ (anchors - mean).T
        return _rounded(lambda x, lengths=None: (x - mean) @ columns, quantum)
    if similarity == "l2":
        return _rounded(_closeness(anchors, 2.0), quantum)
    blocks = [_cosine(anchors), *(_closeness(anchors, p) for p in (1.0, 2.0, float("inf")))]

    def product(x: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        found = [_rounded(block, quantum)(x, lengths=lengths) for block in blocks]
        return torch.cat([normalize(block, dim=1) / 2 for block in found], dim=1)

    return product


def _rounded(measure: Measure, quantum: float) -> Measure:
    if not quantum:
        return measure
    return lambda x, lengths=None: torch.round(measure(x, lengths=lengths) / quantum) * quantum


def _cosine(anchors: Tensor) -> Measure:
    columns = normalize(anchors, dim=1).T

    def cosine(x: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            lengths = torch.linalg.vector_norm(x, dim=1).clamp_min(1e-30)
        return (x @ columns) / lengths[:, None]

    return cosine


def _closeness(anchors: Tensor, p: float) -> Measure:
    """1 - d / s, with s the mean distance between two anchors."""
    centre = anchors.mean(dim=0)
    centred = anchors - centre  # float32 distances cancel where all rows are far from the origin
    some = centred[torch.tensor(spaced(len(anchors)), device=anchors.device)]
    gaps = torch.cdist(some, some, p=p)
    scale = (gaps.sum() - gaps.diagonal().sum()) / (len(some) * (len(some) - 1))
    return lambda x, lengths=None: 1 - torch.cdist(x - centre, centred, p=p) / scale
