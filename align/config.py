"""`TrainConfig`: every option of a training run, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from align import backbones
from align.losses import Classifier, Rotation
from align.prototypes import Kind
from registry.errors import InvalidInput

__all__ = ["ALIGNED", "METHODS", "Method", "TrainConfig"]

Method = Literal["independent", "bct", "lce", "bt2", "oca", "dsimplex"]
Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine"]
Precision = Literal["float32", "bfloat16"]
METHODS: tuple[Method, ...] = get_args(Method)
ALIGNED: tuple[Method, ...] = ("bct", "lce", "bt2", "oca")
"""Methods that align the new embedding's prefix with an old model, and so need one."""

_CHOICES = {
    "method": METHODS,
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "precision": get_args(Precision),
    "classifier": get_args(Classifier),
    "prototypes": get_args(Kind),
    "rotation": get_args(Rotation),
}
_COUNTS = {"dim": 1, "epochs": 1, "batch": 1, "seed": 0, "shift": 0}
_POSITIVE = ("lr", "scale", "align_scale", "contrast_scale")
_NOT_NEGATIVE = (
    "weight_decay", "warmup_epochs", "new_weight", "align_weight", "pull_weight", "boundary_weight", "distil_weight",
    "nested_weight", "gallery_weight", "instance_weight",
)  # fmt: skip
_FRACTIONS = ("smoothing", "align_smoothing", "contrast_weight")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train a model; the defaults were chosen on held-out training images of the digits (bench/oca_digits_sweep).

    Network and data:
        dim: width of the embedding; for a method that aligns with an old model, its width plus any extra dimensions.
        backbone: a name of `align.backbones`, `module:factory` of yours, or `timm:NAME`.
        shift: augmentation, up to so many pixels each way; 0 is off. `flip`: mirror half of the images.
    Optimisation:
        warmup_epochs: the learning rate rises linearly for so long, but at most for half of the epochs, then follows
            `schedule`. `sgd` has Nesterov momentum 0.9.
        precision: of the network's products; "bfloat16" is faster on a GPU, the losses stay in float32.
        device: None takes CUDA where there is one. `seed` decides weights, order and augmentation.
    New classifier:
        classifier, scale, smoothing: see `losses.class_logits` and `losses.class_loss`; new_weight weighs it.
        nested: prefix widths that are trained to be embeddings of their own (`losses.nested_loss`), such as (32, 64).
    Methods `bct`, `lce`, `bt2`, `oca`, see their heads in `align.heads`; loss = new_weight * class + align_weight *
    alignment, and what the method adds:
        align_scale: inverse temperature of the frozen old head. align_smoothing: its label smoothing.
        gallery_weight: of finding stored old embeddings of the own label (ours; `losses.gallery_loss`). instance_weight:
            of finding the old embedding of the very image in the batch (`losses.contrast_loss` at `contrast_scale`).
            Where either is above 0, the old embeddings of all training images are kept in memory, (n, d_old) float32.
        prototypes: whether the old class means of the frozen head are normalised ("unit") or not ("raw").
        boundary_weight: of `lce`. distil_weight: of `bt2`. pull_weight, rotation (see `losses.orthogonal_layer`),
            rotation_bias: of `oca` and `bt2`; the pull, which OCA's published code has and its figure has not, is 0 since it
            did not help on held-out images.
    Method `dsimplex`, which needs no old model, and with one adds the contrast with it:
        contrast_weight, contrast_scale: see `heads.SimplexHead`.

    Raises:
        InvalidInput: an option that cannot be right, by its name.
    """

    method: Method = "independent"
    dim: int = 32
    backbone: str = "smallconv"
    epochs: int = 60
    batch: int = 32
    optimizer: Optimizer = "adamw"
    lr: float = 3e-3
    weight_decay: float = 1e-2
    schedule: Schedule = "cosine"
    warmup_epochs: float = 2
    precision: Precision = "float32"
    seed: int = 0
    shift: int = 1
    flip: bool = False
    device: str | None = None
    classifier: Classifier = "cosine"
    scale: float = 8.0
    smoothing: float = 0.1
    new_weight: float = 1.0
    nested: tuple[int, ...] = ()
    nested_weight: float = 1.0
    align_weight: float = 2.0
    align_scale: float = 15.0
    align_smoothing: float = 0.1
    prototypes: Kind = "unit"
    gallery_weight: float = 0.0
    instance_weight: float = 0.0
    pull_weight: float = 0.0
    rotation: Rotation = "cayley"
    rotation_bias: bool = True
    boundary_weight: float = 1.0
    distil_weight: float = 1.0
    contrast_weight: float = 0.5
    contrast_scale: float = 10.0

    @property
    def keeps_stored(self) -> bool:
        """Whether the training needs the old embeddings of its images, and not their class means alone."""
        return self.gallery_weight > 0 or self.instance_weight > 0

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                _refuse(name, getattr(self, name), f"one of {', '.join(allowed)}")
        backbones.check(self.backbone)
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                _refuse(name, value, f"a whole number of at least {least}")
        for name in (*_POSITIVE, *_NOT_NEGATIVE, *_FRACTIONS):
            _check_number(name, getattr(self, name))
        object.__setattr__(self, "nested", _widths(self.nested, self.dim))
        if self.method in ALIGNED and self.align_weight == 0 and (self.method == "bct" or self.pull_weight == 0):
            _refuse("align_weight", 0, "above 0 where pull_weight is 0, or nothing ties the model to the old space")

    @classmethod
    def published(
        cls,
        method: Method = "oca",
        *,
        dim: int = 160,
        backbone: str = "smallresnet",
        seed: int = 42,
        device: str | None = None,
    ) -> TrainConfig:
        """The recipe of the published OCA code, and of the baselines beside it: Adam 1e-3, 100 epochs, batch 64.

        Weights (class, alignment, third term): oca 5, 10, 5 as its code has them, without temperature; bct 1, 10; bt2
        1, 10, 5 (arXiv 2408.08793 and its repository). dsimplex: 0.1 and 0.9 at scale 10 (d-Simplex-HOC), and a scale of
        the logits, since our embeddings are unit vectors and its features are not. The ResNet-50 and the 224-pixel
        images are not part of it: choose a `backbone`.
        """
        weights = {
            "oca": {"new_weight": 5.0, "align_weight": 10.0, "pull_weight": 5.0},
            "bct": {"align_weight": 10.0},
            "lce": {"align_weight": 10.0},
            "bt2": {"align_weight": 10.0, "distil_weight": 5.0},
            "dsimplex": {"contrast_weight": 0.9, "contrast_scale": 10.0, "scale": 16.0},
        }
        return cls(
            method=method,
            dim=dim,
            backbone=backbone,
            seed=seed,
            device=device,
            epochs=100,
            batch=64,
            optimizer="adam",
            lr=1e-3,
            weight_decay=3.05e-5,
            schedule="cosine",
            warmup_epochs=5,
            shift=0,
            flip=True,
            classifier="linear",
            smoothing=0.1,
            align_scale=1.0,
            align_smoothing=0.1,
            prototypes="raw",
            rotation="matrix_exp",
            rotation_bias=True,
            **{"scale": 1.0, **weights.get(method, {})},  # type: ignore[arg-type]
        )


def _widths(given: Any, dim: int) -> tuple[int, ...]:
    """Prefix widths, rising, each once."""
    widths = tuple(given) if isinstance(given, list | tuple) else None
    if widths is None or not all(type(m) is int and 0 < m < dim for m in widths):
        _refuse("nested", given, f"a tuple of widths from 1 to {dim - 1}, below dim")
    return tuple(sorted(set(widths or ())))


def _check_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        _refuse(name, value, "a finite number of at least 0")
    if name in _POSITIVE and value == 0:
        _refuse(name, value, "above 0")
    if name in _FRACTIONS and value >= 1:
        _refuse(name, value, "below 1")


def _refuse(name: str, value: Any, wanted: str) -> None:
    raise InvalidInput(f"TrainConfig: {name} must be {wanted}, got {value!r}")
