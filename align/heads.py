"""What a method adds to the training loop: a head that turns a batch's embeddings and labels into loss terms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from align.config import TrainConfig
from align.losses import alignment_loss, class_loss, class_means, orthogonal_layer, pull_loss

__all__ = ["ClassHead", "OcaHead"]


class ClassHead(nn.Module):
    """Method `independent`: classify the embedding; weight (c, d) is learned and dropped after training."""

    def __init__(self, config: TrainConfig, *, classes: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(classes, config.dim), std=config.dim**-0.5))

    def forward(self, h: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Loss terms of unit embeddings h (n, d) with labels y (n,); "loss" is what to minimise."""
        loss = self.classify(h, y)
        return {"loss": loss, "class_loss": loss}

    def classify(self, h: Tensor, y: Tensor) -> Tensor:
        """The new classifier's cross-entropy."""
        c = self.config
        return class_loss(h, self.weight, y, scale=c.scale, smoothing=c.smoothing, classifier=c.classifier)


class OcaHead(ClassHead):
    """Method `oca` (arXiv 2408.08793): classify the rotated embedding, align its prefix with the old class means.

    features (n, d_old) are the old model's embeddings of the whole training set, y (n,) its labels, all `classes`,
    also those that the old model never saw. `prototypes` (c, d_old) is the frozen old classifier made of them.
    """

    prototypes: Tensor

    def __init__(self, config: TrainConfig, features: Tensor, y: Tensor, *, classes: int) -> None:
        super().__init__(config, classes=classes)
        self.rotation = orthogonal_layer(config.dim, bias=config.rotation_bias)
        self.register_buffer("prototypes", class_means(features, y, classes=classes, kind=config.prototypes))

    def forward(self, h: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Loss terms of unit embeddings h (n, d) with labels y (n,); "loss" is the weighted sum."""
        c = self.config
        terms = {
            "class_loss": self.classify(self.rotation(h), y),
            "align_loss": alignment_loss(h, self.prototypes, y, scale=c.align_scale, smoothing=c.align_smoothing),
            "pull_loss": pull_loss(h, self.prototypes, y),
        }
        weights = (c.new_weight, c.align_weight, c.pull_weight)
        total = torch.stack([w * term for w, term in zip(weights, terms.values(), strict=True)]).sum()
        return {"loss": total, **terms}
