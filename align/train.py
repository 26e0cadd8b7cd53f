"""Train an encoder, independent of older ones or compatible with them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from align import backbones, heads, prototypes
from align.config import ALIGNED, TrainConfig
from align.data import Array, Dataset
from align.distributed import World, join
from align.encoders import Encoder, pick_device
from align.loop import Checkpoint, Progress, train
from align.tracking import Tracker
from registry.errors import DimensionMismatch, InvalidInput

__all__ = ["TrainConfig", "TrainResult", "run"]

_ROWS = 4096  # images looked at in one piece
_SMALL_BATCH = 1 << 16  # values; a batch of 64 digits has 4,096, one of 64 colour images of 32x32 has 196,608


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a training run made.

    `history` holds one dict for each epoch: epoch (from 1), loss and its terms (means over batches), lr, seconds.
    `labels` (c,) are the labels trained on; prototypes (c, d_old) float32 are the class means of the (newest) old model
    that the training aligned with, in that order, or None.
    """

    encoder: Encoder
    history: tuple[Mapping[str, float], ...]
    config: TrainConfig
    labels: Array
    prototypes: Array | None = None


def run(
    config: TrainConfig,
    data: Dataset,
    *,
    classes: str | None = None,
    old: Encoder | Sequence[Encoder] | None = None,
    reference: Encoder | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train on the training part of `data`; its test part is never looked at.

    On the CPU the result is the same bit for bit for equal config, data and number of threads. Under `torchrun` each
    process takes its share of every batch, and only the first one logs and keeps checkpoints.

    Args:
        config: all options; its method decides what else is needed.
        data: images and labels.
        classes: train on these labels only, such as "0-4"; by default on all.
        old: the encoder to stay compatible with: the new embedding's first `old.dim` dimensions read as its space. In a
            chain of versions, several of them: the prefix of each width is aligned with the encoder of that width.
        reference: for `bt2`, an encoder trained independently on the same classes, from which it learns.
        checkpoint: a file that is written after each epoch; a run that finds it there goes on after its last epoch,
            with the same result as if it had never been stopped.
        tracker: logs parameters, data digest and each epoch to a run; `publish.add_encoder` keeps the encoder there.
        progress: called with each epoch's entry of the history.

    Raises:
        InvalidInput: fewer than two classes, `old` or `reference` missing or not wanted, a `dim` that does not fit, or
            a checkpoint of another training.
        DimensionMismatch: an older encoder takes images of another shape.
    """
    part = data if classes is None else data.only(classes)
    olds = () if old is None else (old,) if isinstance(old, Encoder) else tuple(old)
    _check(config, part, olds, reference)
    device = pick_device(config.device)
    world = join(device)
    if config.batch % world.size:
        raise InvalidInput(f"batch {config.batch} is not shared evenly by {world.size} processes: change it")
    with _threads(config.batch * math.prod(part.in_shape)):
        return _run(config, part, olds, reference, device, world, checkpoint, tracker, progress)


def _run(
    config: TrainConfig,
    part: Dataset,
    olds: tuple[Encoder, ...],
    reference: Encoder | None,
    device: torch.device,
    world: World,
    checkpoint: str | os.PathLike[str] | None,
    tracker: Tracker | None,
    progress: Progress | None,
) -> TrainResult:
    labels, targets = np.unique(part.y_train, return_inverse=True)
    y = torch.from_numpy(targets.astype(np.int64))
    x = torch.from_numpy(part.x_train.copy()).to(device)
    tracker = tracker if world.leads else None
    if tracker is not None:
        tracker.log_training(config, part, old=olds[0] if olds else None)

    def report(entry: Mapping[str, float]) -> None:
        if tracker is not None:
            tracker.log_metrics({name: v for name, v in entry.items() if name != "epoch"}, step=int(entry["epoch"]))
        if progress is not None:
            progress(entry)

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        network = backbones.build(config.backbone, part.in_shape, config.dim)
        head = _head(config, part, olds, labels, targets, device)
        mean, std = _pixel_statistics(part.x_train)
        encoder = Encoder(network.to(device), config.backbone, config.dim, part.in_shape, mean, std)
        kept = None if checkpoint is None else Checkpoint(checkpoint, _identity(config, part, olds, reference))
        teacher = _teacher(config, olds, reference, device)
        history = train(
            config, encoder, head.to(device), x, y.to(device), world=world, teacher=teacher, kept=kept, report=report
        )
    aligned = head.prototypes[0].cpu().numpy() if isinstance(head, heads.BctHead) else None
    return TrainResult(encoder, history, config, labels, aligned)


def _head(
    config: TrainConfig,
    part: Dataset,
    olds: tuple[Encoder, ...],
    labels: Array,
    targets: Array,
    device: torch.device,
) -> heads.ClassHead:
    if config.method == "independent":
        return heads.ClassHead(config, classes=len(labels))
    if config.method == "dsimplex":
        return heads.SimplexHead(config, torch.from_numpy(labels.astype(np.int64)))
    make = {"bct": heads.BctHead, "lce": heads.LceHead, "oca": heads.OcaHead, "bt2": heads.Bt2Head}[config.method]
    known = [
        prototypes.of_encoder(
            old, part.x_train, targets, classes=len(labels), stored=config.keeps_stored, device=str(device)
        )
        for old in olds
    ]
    return make(config, known, classes=len(labels))


def _teacher(
    config: TrainConfig, olds: tuple[Encoder, ...], reference: Encoder | None, device: torch.device
) -> Encoder | None:
    """The encoder whose embedding of each batch the head wants to see."""
    contrasts = config.method == "dsimplex" and olds and config.contrast_weight > 0
    teacher = reference if config.method == "bt2" else olds[0] if contrasts else None
    if teacher is not None:
        teacher.network.to(device).eval()
    return teacher


def _identity(
    config: TrainConfig, part: Dataset, olds: tuple[Encoder, ...], reference: Encoder | None
) -> dict[str, Any]:
    """What decides the result of a training, as JSON values."""
    weights = [old.fingerprint()["weights"] for old in olds]
    taught = reference and reference.fingerprint()["weights"]
    return {**asdict(config), "data": part.digest(), "old": weights, "reference": taught}


@contextmanager
def _threads(pixels: int) -> Iterator[None]:
    """One CPU thread while batches are small: threads would wait for each other longer than they work.

    On two busy cores the digits train in a second with one thread, and in a minute and a half with two.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if pixels < _SMALL_BATCH else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check(config: TrainConfig, data: Dataset, olds: tuple[Encoder, ...], reference: Encoder | None) -> None:
    method = config.method
    if len(np.unique(data.y_train)) < 2:
        raise InvalidInput(f"training needs at least two classes, {data.name} has one: choose more")
    if method == "independent" and olds:
        raise InvalidInput("method 'independent' uses no old encoder, got one: leave it out, or use 'oca'")
    if method in ALIGNED and not olds:
        raise InvalidInput(f"method {method!r} needs the old encoder, got none: pass old=")
    if (method == "bt2") != (reference is not None):
        needs = "learns from an independently trained encoder" if method == "bt2" else "uses no reference encoder"
        raise InvalidInput(f"method {method!r} {needs}, got {'one' if reference else 'none'}: see reference=")
    if method == "dsimplex" and len(data.class_names) > config.dim + 1:
        raise InvalidInput(
            f"a simplex in {config.dim} dimensions has {config.dim + 1} vertices, {data.name} has "
            f"{len(data.class_names)} classes: give dim {len(data.class_names) - 1} or more"
        )
    if method == "dsimplex" and len(olds) > 1:
        raise InvalidInput(f"method 'dsimplex' contrasts with one old encoder, got {len(olds)}: give the newest")
    for encoder, what in [*((old, "old") for old in olds), *([(reference, "reference")] if reference else [])]:
        if encoder.in_shape != data.in_shape:
            raise DimensionMismatch(
                f"the {what} encoder takes images {encoder.in_shape}, {data.name} holds {data.in_shape}"
            )
        if config.dim < encoder.dim:
            raise InvalidInput(
                f"dim must be at least the {what} encoder's {encoder.dim} so that it fits into a prefix, got {config.dim}"
            )


def _pixel_statistics(x: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (c,) of raw images (n, c, h, w); a constant channel gets 1."""
    sums = squares = np.zeros(x.shape[1])
    for start in range(0, len(x), _ROWS):  # a block at a time: whole, it would be copied as float64
        block = x[start : start + _ROWS].astype(np.float64)
        sums, squares = sums + block.sum((0, 2, 3)), squares + np.square(block).sum((0, 2, 3))
    n = x.size / x.shape[1]
    mean = sums / n
    std = np.sqrt(np.maximum(squares / n - np.square(mean), 0))
    return tuple(mean.tolist()), tuple(np.where(std > 1e-6 * np.abs(mean), std, 1.0).tolist())
