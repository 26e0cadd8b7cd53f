"""`TrainConfig`: every option of a training run, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from align import backbones
from align.losses import Classifier, Prototypes
from registry.errors import InvalidInput

__all__ = ["METHODS", "Method", "TrainConfig"]

Method = Literal["independent", "oca"]
Optimizer = Literal["adam", "adamw"]
Schedule = Literal["constant", "cosine"]
METHODS: tuple[Method, ...] = get_args(Method)

_CHOICES = {
    "method": METHODS,
    "backbone": backbones.NAMES,
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "classifier": get_args(Classifier),
    "prototypes": get_args(Prototypes),
}
_COUNTS = {"dim": 1, "epochs": 1, "batch": 1, "seed": 0, "shift": 0}
_POSITIVE = ("lr", "scale", "align_scale")
_NOT_NEGATIVE = ("weight_decay", "warmup_epochs", "new_weight", "align_weight", "pull_weight")
_FRACTIONS = ("smoothing", "align_smoothing")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train a model; the defaults were chosen on held-out training images of the digits (bench/oca_digits_sweep).

    Network and data:
        dim: width of the embedding; for `oca` the old model's width plus the extra dimensions.
        backbone: a name of `align.backbones`.
        shift: augmentation, up to so many pixels each way; 0 is off. `flip`: mirror half of the images.
    Optimisation:
        warmup_epochs: the learning rate rises linearly for so long, but at most for half of the epochs, then follows
            `schedule`.
        device: None takes CUDA where there is one. `seed` decides weights, order and augmentation.
    New classifier:
        classifier, scale, smoothing: see `losses.class_logits` and `losses.class_loss`.
    Method `oca`, loss = new_weight * class + align_weight * alignment + pull_weight * pull (arXiv 2408.08793):
        align_scale: inverse temperature of the frozen old head. align_smoothing: its label smoothing.
        pull_weight: 0 by default, since the pull, which the published code has and the paper's figure has not, did not
            help on held-out images.
        prototypes: whether the old class means of the frozen head are normalised ("unit") or not ("raw").
        rotation_bias: whether the orthogonal layer also shifts.

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
    seed: int = 0
    shift: int = 1
    flip: bool = False
    device: str | None = None
    classifier: Classifier = "cosine"
    scale: float = 8.0
    smoothing: float = 0.1
    new_weight: float = 1.0
    align_weight: float = 2.0
    pull_weight: float = 0.0
    align_scale: float = 15.0
    align_smoothing: float = 0.1
    prototypes: Prototypes = "unit"
    rotation_bias: bool = True

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                _refuse(name, getattr(self, name), f"one of {', '.join(allowed)}")
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                _refuse(name, value, f"a whole number of at least {least}")
        for name in (*_POSITIVE, *_NOT_NEGATIVE, *_FRACTIONS):
            _check_number(name, getattr(self, name))
        if self.method == "oca" and self.align_weight == self.pull_weight == 0:
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
        """The recipe of the published OCA code: Adam 1e-3, 100 epochs, batch 64, weights 5, 10 and 5, no temperature.

        Its ResNet-50 and 224-pixel images are not part of it: choose a `backbone`.
        """
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
            scale=1.0,
            smoothing=0.1,
            new_weight=5.0,
            align_weight=10.0,
            pull_weight=5.0,
            align_scale=1.0,
            align_smoothing=0.1,
            prototypes="raw",
            rotation_bias=True,
        )


def _check_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        _refuse(name, value, "a finite number of at least 0")
    if name in _POSITIVE and value == 0:
        _refuse(name, value, "above 0")
    if name in _FRACTIONS and value >= 1:
        _refuse(name, value, "below 1")


def _refuse(name: str, value: Any, wanted: str) -> None:
    raise InvalidInput(f"TrainConfig: {name} must be {wanted}, got {value!r}")
