"""Train an encoder, independent of older ones or compatible with one: one loop, the method is only a head."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from align import backbones
from align.config import TrainConfig
from align.data import Array, Dataset
from align.encoders import Encoder, pick_device, standardize
from align.heads import ClassHead, OcaHead
from align.tracking import Tracker
from registry.errors import DimensionMismatch, InvalidInput

__all__ = ["TrainConfig", "TrainResult", "run"]

_SMALL_BATCH = 1 << 16  # values; a batch of 64 digits has 4,096, one of 64 colour images of 32x32 has 196,608

Progress = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a training run made.

    `history` holds one dict for each epoch: epoch (from 1), loss and its terms (means over batches), lr, seconds.
    `labels` (c,) are the labels trained on; prototypes (c, d_old) float32 are the old model's class means that `oca`
    aligned with, in that order, or None.
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
    old: Encoder | None = None,
    tracker: Tracker | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train on the training part of `data`; its test part is never looked at.

    On the CPU the result is the same bit for bit for equal config, data and number of threads.

    Args:
        config: all options; its method decides whether `old` is needed.
        data: images and labels.
        classes: train on these labels only, such as "0-4"; by default on all.
        old: the encoder to stay compatible with: the new embedding's first `old.dim` dimensions read as its space.
        tracker: logs parameters, data digest, each epoch and the encoder to a run.
        progress: called with each epoch's entry of the history.

    Raises:
        InvalidInput: fewer than two classes, `old` missing or not wanted, or a `dim` narrower than the old one.
        DimensionMismatch: the old encoder takes images of another shape.
    """
    part = data if classes is None else data.only(classes)
    _check(config, part, old)
    device = pick_device(config.device)
    with _threads(config.batch * math.prod(part.in_shape)):
        return _run(config, part, old, device, tracker, progress)


def _run(
    config: TrainConfig,
    part: Dataset,
    old: Encoder | None,
    device: torch.device,
    tracker: Tracker | None,
    progress: Progress | None,
) -> TrainResult:
    labels, targets = np.unique(part.y_train, return_inverse=True)
    y = torch.from_numpy(targets.astype(np.int64))
    x = torch.from_numpy(part.x_train.copy()).to(device)
    features = None if old is None else torch.from_numpy(old.encode(part.x_train, device=str(device)))
    if tracker is not None:
        tracker.log_training(config, part, old=old)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        network = backbones.build(config.backbone, part.in_shape, config.dim)
        head = (
            ClassHead(config, classes=len(labels))
            if features is None
            else OcaHead(config, features, y, classes=len(labels))
        )
    mean, std = _pixel_statistics(part.x_train)
    encoder = Encoder(network.to(device), config.backbone, config.dim, part.in_shape, mean, std)
    history = _fit(config, encoder, head.to(device), x, y.to(device), tracker=tracker, progress=progress)
    if tracker is not None:
        tracker.log_encoder(encoder)
    kept = head.prototypes.cpu().numpy() if isinstance(head, OcaHead) else None
    return TrainResult(encoder, history, config, labels, kept)


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


def _check(config: TrainConfig, data: Dataset, old: Encoder | None) -> None:
    if len(np.unique(data.y_train)) < 2:
        raise InvalidInput(f"training needs at least two classes, {data.name} has one: choose more")
    if config.method == "independent":
        if old is not None:
            raise InvalidInput("method 'independent' uses no old encoder, got one: leave it out, or use 'oca'")
        return
    if old is None:
        raise InvalidInput(f"method {config.method!r} needs the old encoder, got none: pass old=")
    if old.in_shape != data.in_shape:
        raise DimensionMismatch(f"the old encoder takes images {old.in_shape}, {data.name} holds {data.in_shape}")
    if config.dim < old.dim:
        raise InvalidInput(f"dim must be at least the old encoder's {old.dim} so that a prefix fits, got {config.dim}")


def _fit(
    config: TrainConfig,
    encoder: Encoder,
    head: ClassHead,
    x: Tensor,
    y: Tensor,
    *,
    tracker: Tracker | None,
    progress: Progress | None,
) -> tuple[Mapping[str, float], ...]:
    """The loop: images x (n, c, h, w) raw on the device, targets y (n,); trains network and head in place."""
    # Random numbers come from the CPU so that every device sees the same order and augmentation.
    random = torch.Generator().manual_seed(config.seed)
    parameters = [*encoder.network.parameters(), *head.parameters()]
    steps = max(1, len(x) // config.batch)
    optimizer, schedule = _optimizer(config, parameters, steps)
    history: list[Mapping[str, float]] = []
    for epoch in range(1, config.epochs + 1):
        started = time.perf_counter()
        encoder.network.train()
        sums: dict[str, Tensor] = {}
        # The few items of an incomplete batch sit this epoch out: so small a batch would spoil batch normalisation.
        order = torch.randperm(len(x), generator=random)[: steps * config.batch].to(x.device)
        for rows in torch.split(order, config.batch):
            images = augment(x[rows].float(), random, shift=config.shift, flip=config.flip)
            h = functional.normalize(encoder.network(standardize(images, encoder.mean, encoder.std)))
            terms = head(h, y[rows])
            optimizer.zero_grad(set_to_none=True)
            terms["loss"].backward()
            optimizer.step()
            schedule.step()
            sums = {name: sums.get(name, 0) + term.detach() for name, term in terms.items()}
        entry = {"epoch": float(epoch), **{name: float(total) / steps for name, total in sums.items()}}
        entry |= {"lr": float(schedule.get_last_lr()[0]), "seconds": time.perf_counter() - started}
        _report(entry, tracker, progress)
        history.append(entry)
    encoder.network.eval()
    return tuple(history)


def _report(entry: Mapping[str, float], tracker: Tracker | None, progress: Progress | None) -> None:
    epoch = int(entry["epoch"])
    if not math.isfinite(entry["loss"]):
        raise InvalidInput(f"TrainConfig: the loss is {entry['loss']} in epoch {epoch}: lower lr, scale or align_scale")
    if tracker is not None:
        tracker.log_metrics({name: value for name, value in entry.items() if name != "epoch"}, step=epoch)
    if progress is not None:
        progress(entry)


def _optimizer(
    config: TrainConfig, parameters: list[nn.Parameter], steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    optimizer = make(parameters, lr=config.lr, weight_decay=config.weight_decay)
    warmup, total = min(config.warmup_epochs, config.epochs / 2) * steps, config.epochs * steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if config.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def augment(x: Tensor, random: torch.Generator, *, shift: int, flip: bool) -> Tensor:
    """Shift each image of x (n, c, h, w) by up to `shift` pixels, filling with 0, and mirror half of them if `flip`."""
    n, c, h, w = x.shape
    if shift:
        offsets = torch.randint(0, 2 * shift + 1, (2, n), generator=random).to(x.device)
        rows = (torch.arange(h, device=x.device) + offsets[0, :, None])[:, None, :, None]
        columns = (torch.arange(w, device=x.device) + offsets[1, :, None])[:, None, None, :]
        items = torch.arange(n, device=x.device)[:, None, None, None]
        channels = torch.arange(c, device=x.device)[None, :, None, None]
        x = functional.pad(x, (shift, shift, shift, shift))[items, channels, rows, columns]
    if flip:
        mirrored = (torch.rand(n, generator=random) < 0.5).to(x.device)
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    return x


def _pixel_statistics(x: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (c,) of raw images (n, c, h, w); a constant channel gets 1."""
    mean = x.mean((0, 2, 3), dtype=np.float64)
    std = x.std((0, 2, 3), dtype=np.float64)
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
