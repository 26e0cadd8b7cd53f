"""The losses of compatible training, as pure functions of tensors.

OCA is Orthogonal Compatible Alignment, arXiv 2408.08793. Its new embedding h (n, d_old + e) is L2-normalised. Training
rotates h with an orthogonal layer T and classifies T h; the prefix h[:, :d_old], normalised again, is classified by the
frozen class means P of the old model. So the rotated space is free to separate the classes, and the prefix stays in the
old space. Afterwards T and the classifier are dropped: h is the embedding, and its prefix is read by the old space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from registry.errors import DimensionMismatch, InvalidInput

__all__ = [
    "Classifier",
    "Rotation",
    "alignment_loss",
    "boundary_loss",
    "class_logits",
    "class_loss",
    "contrast_loss",
    "distil_loss",
    "gallery_loss",
    "nested_loss",
    "orthogonal_layer",
    "prefix_of",
    "pull_loss",
    "simplex",
]

Classifier = Literal["cosine", "linear"]
Rotation = Literal["cayley", "matrix_exp"]


def class_logits(h: Tensor, weight: Tensor, *, scale: float, classifier: Classifier = "cosine") -> Tensor:
    """Logits (n, c) of embeddings h (n, d) for class weights (c, d): scale * cos(h_i, w_j).

    With `classifier="linear"` they are scale * <h_i, w_j>, as OCA was published (there with scale 1).

    >>> class_logits(torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]]), scale=10.0).tolist()
    [[6.0]]

    Raises:
        DimensionMismatch: h and weight differ in width.
    """
    if h.shape[-1] != weight.shape[-1]:
        raise DimensionMismatch(f"embeddings have {h.shape[-1]} dimensions, class weights {weight.shape[-1]}")
    if classifier == "cosine":
        h, weight = functional.normalize(h), functional.normalize(weight)
    return scale * functional.linear(h, weight)


def class_loss(
    h: Tensor, weight: Tensor, y: Tensor, *, scale: float, smoothing: float = 0.0, classifier: Classifier = "cosine"
) -> Tensor:
    """Cross-entropy of labels y (n,) int64 under `class_logits`, with label smoothing; a scalar, the batch's mean.

    The target is (1 - smoothing) * onehot(y) + smoothing / c (Szegedy et al., CVPR 2016, section 7).
    """
    logits = class_logits(h, weight, scale=scale, classifier=classifier)
    return functional.cross_entropy(logits, y, label_smoothing=smoothing)


def prefix_of(h: Tensor, dim: int) -> Tensor:
    """The first `dim` dimensions of h (n, d), L2-normalised: h read as an embedding of the old space.

    Raises:
        DimensionMismatch: h is narrower than `dim`.
    """
    if h.shape[-1] < dim:
        raise DimensionMismatch(f"the prefix keeps {dim} dimensions, embeddings have {h.shape[-1]}")
    return functional.normalize(h[:, :dim])


def alignment_loss(h: Tensor, prototypes: Tensor, y: Tensor, *, scale: float, smoothing: float = 0.0) -> Tensor:
    """OCA's alignment cross-entropy (ACE): the frozen old class means P (c, d_old) classify the prefix of h (n, d).

    -log softmax(scale * P prefix(h))[y], with label smoothing. `scale` is the inverse temperature of the frozen head;
    published OCA has none, which is scale 1.
    """
    prefix = prefix_of(h, prototypes.shape[-1])
    return class_loss(prefix, prototypes, y, scale=scale, smoothing=smoothing, classifier="linear")


def pull_loss(h: Tensor, prototypes: Tensor, y: Tensor) -> Tensor:
    """Mean of 1 - cos(P[y], prefix(h)), P (c, d_old): pulls each prefix to its old class mean.

    OCA's code has this term, its figure has not.
    """
    prefix = prefix_of(h, prototypes.shape[-1])
    return 1 - functional.cosine_similarity(prefix, prototypes[y]).mean()


def boundary_loss(h: Tensor, prototypes: Tensor, radii: Tensor, y: Tensor) -> Tensor:
    """Mean of max(0, radii[y] - cos(P[y], prefix(h))): no item farther from its old class mean than radii (c,) allow.

    After LCE (Meng et al., ICCV 2021), which holds the new classes inside the old ones' boundaries. What a boundary is,
    we chose: radii[c] is the mean cosine of the old class to its own mean, which is the length of that mean when the
    items are unit vectors, so no second pass over the data is needed. P (c, d_old) are unit rows, h (n, d), y (n,).
    """
    prefix = prefix_of(h, prototypes.shape[-1])
    return functional.relu(radii[y] - functional.cosine_similarity(prefix, prototypes[y])).mean()


def distil_loss(rotated: Tensor, taught: Tensor) -> Tensor:
    """Mean of 1 - cos(first d_ref dimensions of the rotated embedding (n, d), reference embedding (n, d_ref)).

    BT2 (Zhou et al., ICCV 2023): after a change of basis the new embedding contains the one of a model that was trained
    without any constraint, so what alignment takes from the prefix is kept in the extra dimensions.
    """
    return 1 - functional.cosine_similarity(prefix_of(rotated, taught.shape[-1]), taught).mean()


def contrast_loss(h: Tensor, taught: Tensor, *, scale: float) -> Tensor:
    """InfoNCE between the new embeddings h (n, d) of a batch and the old ones `taught` (n, d_old) of the same images.

    -mean_i log softmax_j(scale * cos(prefix(h_i), taught_j))[i]: the higher-order contrastive term of d-Simplex-HOC
    (Biondi et al., CVPR 2024), there with scale 10. The other images of the batch are the negatives.
    """
    logits = scale * prefix_of(h, taught.shape[-1]) @ functional.normalize(taught).T
    return functional.cross_entropy(logits, torch.arange(len(h), device=h.device))


def gallery_loss(
    h: Tensor, stored: Tensor, stored_labels: Tensor, y: Tensor, *, scale: float, own: Tensor | None = None
) -> Tensor:
    """How badly the prefixes of h (n, d) find stored embeddings of their own label: what a cross-test asks, made smooth.

    Mean of -log of the softmax share, over `stored` (m, d_old) unit rows with `stored_labels` (m,), of the rows that carry
    the label: softmax of scale * cos, summed over the label (neighbourhood components, Goldberger et al., NeurIPS 2004),
    here across two spaces. Class means forget how a class spreads in the old space; this term does not. `own` (n, m),
    boolean, marks stored embeddings of the query's very image, which are left out. Queries without a stored item of
    their label do not count.

    >>> h, stored = torch.tensor([[1.0, 0.0, 5.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> round(float(gallery_loss(h, stored, torch.tensor([0, 1]), torch.tensor([0]), scale=1.0)), 4)
    0.1269
    """
    logits = scale * prefix_of(h, stored.shape[-1]) @ stored.T
    nothing = torch.finfo(logits.dtype).min  # not -inf: where nothing is left, its gradient would be NaN
    if own is not None:
        logits = logits.masked_fill(own, nothing)
    relevant = logits.masked_fill(y[:, None] != stored_labels, nothing).logsumexp(1)
    counted = relevant > nothing / 2
    missed = (logits.logsumexp(1) - relevant).where(counted, 0.0)
    return missed.sum() / counted.sum().clamp(min=1)


def nested_loss(
    h: Tensor,
    weight: Tensor,
    y: Tensor,
    *,
    dims: Sequence[int],
    scale: float,
    smoothing: float = 0.0,
    classifier: Classifier = "cosine",
) -> Tensor:
    """Mean over `dims` of the class loss of the first m dimensions of h (n, d), under weight (c, max(dims)) cut alike.

    Matryoshka representation learning (Kusupati et al., NeurIPS 2022) with one classifier for all widths (its MRL-E).
    """
    losses = [
        class_loss(prefix_of(h, m), weight[:, :m], y, scale=scale, smoothing=smoothing, classifier=classifier)
        for m in dims
    ]
    return torch.stack(losses).mean()


def simplex(dim: int) -> Tensor:
    """The dim + 1 vertices of a regular simplex, unit rows (dim + 1, dim) whose inner products are all -1 / dim.

    The fixed classifier of d-Simplex training (CoReS, Biondi et al., TPAMI 2023): a class keeps its vertex in every
    version, and the vertices that no class has yet are kept free for later ones.

    >>> w = simplex(3)
    >>> bool(torch.allclose(w @ w.T, torch.full((4, 4), -1 / 3).fill_diagonal_(1.0), atol=1e-6))
    True
    """
    if dim < 1:
        raise InvalidInput(f"a simplex needs at least 1 dimension, got {dim}")
    last = torch.full((1, dim), (1 - math.sqrt(dim + 1)) / dim, dtype=torch.float64)
    vertices = torch.cat([torch.eye(dim, dtype=torch.float64), last])
    return functional.normalize(vertices - vertices.mean(0)).float()


def orthogonal_layer(dim: int, *, bias: bool = True, rotation: Rotation = "cayley") -> nn.Module:
    """OCA's layer T: a linear map (n, dim) -> (n, dim) whose weight stays orthogonal whatever the optimiser does.

    The weight is the Cayley transform of a skew-symmetric matrix, or its matrix exponential (Lezcano-Casado and
    Martinez-Rubio, ICML 2019), as published, which costs more a step (`bench.train_step`).
    With `bias`, as published, T also shifts.
    """
    layer: nn.Module = parametrizations.orthogonal(nn.Linear(dim, dim, bias=bias), orthogonal_map=rotation)
    return layer
