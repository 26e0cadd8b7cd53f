"""The losses of compatible training, as pure functions of tensors.

OCA is Orthogonal Compatible Alignment, arXiv 2408.08793. Its new embedding h (n, d_old + e) is L2-normalised. Training
rotates h with an orthogonal layer T and classifies T h; the prefix h[:, :d_old], normalised again, is classified by the
frozen class means P of the old model. So the rotated space is free to separate the classes, and the prefix stays in the
old space. Afterwards T and the classifier are dropped: h is the embedding, and its prefix is read by the old space.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from registry.errors import DimensionMismatch, InvalidInput

__all__ = [
    "Classifier",
    "Prototypes",
    "alignment_loss",
    "class_logits",
    "class_loss",
    "class_means",
    "orthogonal_layer",
    "prefix_of",
    "pull_loss",
]

Classifier = Literal["cosine", "linear"]
Prototypes = Literal["unit", "raw"]


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


def class_means(features: Tensor, y: Tensor, *, classes: int, kind: Prototypes = "unit") -> Tensor:
    """Means (classes, d) of unit features (n, d) by label y (n,): OCA's frozen old classifier P.

    Args:
        features: float32; rows are normalised first.
        y: int64, below `classes`; a class without an item keeps a zero row.
        classes: how many rows to return.
        kind: "unit" normalises each mean; "raw" keeps its length below 1, as OCA was published.

    Raises:
        InvalidInput: a label is not below `classes`, or the lengths differ.
    """
    if len(features) != len(y) or (len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes):
        raise InvalidInput(f"class means need one label below {classes} for each of {len(features)} rows, got {len(y)}")
    # Counted by a matrix product: index_add_ is not deterministic on CUDA.
    member = functional.one_hot(y, classes).to(features.dtype)
    sums = member.T @ functional.normalize(features)
    means = sums / member.sum(0).clamp(min=1)[:, None]
    return functional.normalize(means) if kind == "unit" else means


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


def orthogonal_layer(dim: int, *, bias: bool = True) -> nn.Module:
    """OCA's layer T: a linear map (n, dim) -> (n, dim) whose weight stays orthogonal whatever the optimiser does.

    The weight is the matrix exponential of a skew-symmetric matrix (Lezcano-Casado and Martinez-Rubio, ICML 2019).
    With `bias`, as published, T also shifts.
    """
    layer: nn.Module = parametrizations.orthogonal(nn.Linear(dim, dim, bias=bias), orthogonal_map="matrix_exp")
    return layer
