"""What a method adds to the training loop: a head that turns a batch's embeddings and labels into loss terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from align import losses
from align.config import TrainConfig
from align.prototypes import Old

__all__ = ["BctHead", "Bt2Head", "ClassHead", "LceHead", "OcaHead", "SimplexHead"]

Terms = dict[str, tuple[float, Tensor]]

_STORED = 16384  # stored embeddings that a batch is compared with: more cost time and change the gradient little


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Unit embeddings h (n, d), labels y (n,), positions in the training set (n,), the teacher's embeddings (n, d_t)."""

    h: Tensor
    y: Tensor
    rows: Tensor | None
    taught: Tensor | None


class ClassHead(nn.Module):
    """Method `independent`: classify the embedding; weight (c, d) is learned and dropped after training.

    Every other head is this one with more terms. With `config.nested`, the class loss is also taken of prefixes.
    """

    weight: Tensor

    def __init__(self, config: TrainConfig, *, classes: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(_drawn(classes, config.dim))
        if config.nested:
            self.nested_weight = nn.Parameter(_drawn(classes, max(config.nested)))

    def forward(
        self, h: Tensor, y: Tensor, *, rows: Tensor | None = None, taught: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Loss terms of unit embeddings h (n, d) with labels y (n,); "loss" is the weighted sum, to be minimised.

        rows (n,): the images' positions in the training set. taught (n, d_t): what the method's teacher makes of the
        same images, for the methods that have one.
        """
        weighted = self.terms(_Batch(h, y, rows, taught))
        if self.config.nested:
            weighted["nested_loss"] = (self.config.nested_weight, self._nested(h, y))
        total = torch.stack([weight * term for weight, term in weighted.values()]).sum()
        return {"loss": total, **{name: term for name, (_, term) in weighted.items()}}

    def terms(self, batch: _Batch) -> Terms:
        """The method's terms by name, each with its weight."""
        return {"class_loss": (self.config.new_weight, self.classify(batch.h, batch.y))}

    def classify(self, h: Tensor, y: Tensor) -> Tensor:
        """The new classifier's cross-entropy."""
        c = self.config
        return losses.class_loss(h, self.weight, y, scale=c.scale, smoothing=c.smoothing, classifier=c.classifier)

    def _nested(self, h: Tensor, y: Tensor) -> Tensor:
        c = self.config
        return losses.nested_loss(
            h, self.nested_weight, y, dims=c.nested, scale=c.scale, smoothing=c.smoothing, classifier=c.classifier
        )


class BctHead(ClassHead):
    """Method `bct` (Shen et al., CVPR 2020): the frozen old classifier must classify the new embedding too.

    Its term, the influence loss, is the mean over the old models that are to read the new embedding. Class means say
    nothing of how a class spreads, so two terms of ours may be added: with `gallery_weight` the prefix must also find the
    old embeddings of its label (`losses.gallery_loss`), with `instance_weight` that of its own image.
    """

    def __init__(self, config: TrainConfig, olds: Sequence[Old], *, classes: int) -> None:
        super().__init__(config, classes=classes)
        self.olds = len(olds)
        for i, old in enumerate(olds):
            unit = config.prototypes == "unit"
            self.register_buffer(f"prototypes{i}", functional.normalize(old.means) if unit else old.means)
            if config.keeps_stored:
                self.register_buffer(f"stored{i}", old.stored, persistent=False)
                self.register_buffer("labels", old.y, persistent=False)

    @property
    def prototypes(self) -> list[Tensor]:
        """The frozen old classifiers, one for each old model."""
        return [getattr(self, f"prototypes{i}") for i in range(self.olds)]

    def terms(self, batch: _Batch) -> Terms:
        """The class loss and the alignment with the old models."""
        return {**super().terms(batch), **self.alignment(batch)}

    def alignment(self, batch: _Batch) -> Terms:
        """The old classifiers' cross-entropy of the prefixes, and the galleries' where it has a weight."""
        c = self.config
        classified = [
            losses.alignment_loss(batch.h, p, batch.y, scale=c.align_scale, smoothing=c.align_smoothing)
            for p in self.prototypes
        ]
        found = {"align_loss": (c.align_weight, torch.stack(classified).mean())}
        if c.gallery_weight > 0:
            found["gallery_loss"] = (c.gallery_weight, self._retrieve(batch))
        if c.instance_weight > 0 and batch.rows is not None:
            pairs = [losses.contrast_loss(batch.h, s[batch.rows], scale=c.contrast_scale) for s in self._stored]
            found["instance_loss"] = (c.instance_weight, torch.stack(pairs).mean())
        return found

    @property
    def _stored(self) -> list[Tensor]:
        return [getattr(self, f"stored{i}") for i in range(self.olds)]

    def _retrieve(self, batch: _Batch) -> Tensor:
        labels: Tensor = self.labels  # type: ignore[assignment]
        n = len(labels)
        drawn = torch.randperm(n)[:_STORED].to(labels.device) if n > _STORED else torch.arange(n, device=labels.device)
        own = None if batch.rows is None else batch.rows[:, None] == drawn
        each = [
            losses.gallery_loss(
                batch.h, stored[drawn], labels[drawn], batch.y, scale=self.config.align_scale, own=own,
            )
            for stored in self._stored
        ]  # fmt: skip
        return torch.stack(each).mean()


class LceHead(BctHead):
    """Method `lce` (Meng et al., ICCV 2021): class centres aligned with the old ones, inside the old boundaries."""

    def __init__(self, config: TrainConfig, olds: Sequence[Old], *, classes: int) -> None:
        super().__init__(config, olds, classes=classes)
        for i, old in enumerate(olds):
            self.register_buffer(f"radii{i}", old.means.norm(dim=1))

    def terms(self, batch: _Batch) -> Terms:
        """Those of `bct`, and the boundary's."""
        each = [
            losses.boundary_loss(batch.h, p, getattr(self, f"radii{i}"), batch.y) for i, p in enumerate(self.prototypes)
        ]
        return {**super().terms(batch), "boundary_loss": (self.config.boundary_weight, torch.stack(each).mean())}


class OcaHead(BctHead):
    """Method `oca` (arXiv 2408.08793): classify the rotated embedding, align its prefix with the old class means.

    The orthogonal layer leaves the classifier free to use all dimensions, while the prefix stays in the old space.
    """

    def __init__(self, config: TrainConfig, olds: Sequence[Old], *, classes: int) -> None:
        super().__init__(config, olds, classes=classes)
        self.rotation = losses.orthogonal_layer(config.dim, bias=config.rotation_bias, rotation=config.rotation)

    def terms(self, batch: _Batch) -> Terms:
        """The class loss of the rotated embedding, the alignment and the pull."""
        return self._rotated_terms(self.rotation(batch.h), batch)

    def _rotated_terms(self, rotated: Tensor, batch: _Batch) -> Terms:
        c = self.config
        found = {"class_loss": (c.new_weight, self.classify(rotated, batch.y)), **self.alignment(batch)}
        if c.pull_weight > 0:
            pulls = [losses.pull_loss(batch.h, p, batch.y) for p in self.prototypes]
            found["pull_loss"] = (c.pull_weight, torch.stack(pulls).mean())
        return found


class Bt2Head(OcaHead):
    """Method `bt2` (Zhou et al., ICCV 2023): as `oca`, and the rotated embedding also contains the reference's.

    What the head is taught (n, d_ref) is the embedding by the reference, a model trained without constraint.
    """

    def terms(self, batch: _Batch) -> Terms:
        """Those of `oca`, and the distillation from the reference."""
        assert batch.taught is not None  # noqa: S101 - the loop gives it to methods with a teacher
        rotated = self.rotation(batch.h)
        distil = (self.config.distil_weight, losses.distil_loss(rotated, batch.taught))
        return {**self._rotated_terms(rotated, batch), "distil_loss": distil}


class SimplexHead(ClassHead):
    """Method `dsimplex` (CoReS, TPAMI 2023; d-Simplex-HOC, CVPR 2024): the classifier is a fixed regular simplex.

    vertices: which vertex (c,) each class has: its number in the data set, the same in every version. With an old model
    and `contrast_weight` w, the loss is (1 - w) * class + w * contrast, as published with w 0.9.
    """

    vertices: Tensor

    def __init__(self, config: TrainConfig, vertices: Tensor) -> None:
        super().__init__(config, classes=len(vertices))
        del self.weight
        self.register_buffer("weight", losses.simplex(config.dim))
        self.register_buffer("vertices", vertices)

    def terms(self, batch: _Batch) -> Terms:
        """The class loss under the fixed classifier and the contrast with the old embedding."""
        c = self.config
        share = 0.0 if batch.taught is None else c.contrast_weight
        found = {"class_loss": ((1 - share) * c.new_weight, self.classify(batch.h, self.vertices[batch.y]))}
        if batch.taught is not None:
            contrast = losses.contrast_loss(batch.h, batch.taught, scale=c.contrast_scale)
            found["contrast_loss"] = (share, contrast)
        return found


def _drawn(classes: int, dim: int) -> Tensor:
    return nn.init.normal_(torch.empty(classes, dim), std=dim**-0.5)
