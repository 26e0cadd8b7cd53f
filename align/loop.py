"""The training loop: one for all methods, which differ in their head alone."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from align import checkpoint
from align.augment import augment
from align.config import TrainConfig
from align.distributed import World, average_gradients, shared_normalisation, total
from align.encoders import Encoder, standardize
from align.heads import ClassHead
from registry.errors import InvalidInput

__all__ = ["Checkpoint", "Progress", "train"]

Progress = Callable[[Mapping[str, float]], None]
"""Called with each epoch's entry of the history."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a training keeps its state, and which training it is."""

    path: str | os.PathLike[str]
    identity: Mapping[str, Any]


def train(
    config: TrainConfig,
    encoder: Encoder,
    head: ClassHead,
    x: Tensor,
    y: Tensor,
    *,
    world: World,
    teacher: Encoder | None = None,
    kept: Checkpoint | None = None,
    report: Progress,
) -> tuple[Mapping[str, float], ...]:
    """Train network and head in place on raw images x (n, c, h, w) and targets y (n,), both on the device.

    With `kept`, goes on after the last epoch that was kept there, and reports the epochs before it again.
    """
    # Random numbers come from the CPU so that every device sees the same order and augmentation.
    random = torch.Generator().manual_seed(config.seed)
    parameters = [*encoder.network.parameters(), *head.parameters()]
    steps = max(1, len(x) // config.batch)
    optimizer, schedule = _optimizer(config, parameters, steps)
    state = checkpoint.State(encoder.network, head, optimizer, schedule, random)
    history = checkpoint.restore(kept.path, state, identity=kept.identity) if kept else []
    for entry in history:
        report(entry)
    step = _Step(config, encoder, head, teacher, world, optimizer, parameters)
    with shared_normalisation(encoder.network, world):
        for epoch in range(len(history) + 1, config.epochs + 1):
            started = time.perf_counter()
            encoder.network.train()
            sums: dict[str, Tensor] = {}
            for images, targets, rows in _batches(config, x, y, random, steps, world):
                terms = step(images, targets, rows)
                schedule.step()
                sums = {name: sums.get(name, 0) + term.detach() for name, term in terms.items()}
            entry = {"epoch": float(epoch)}
            entry |= {name: float(total(value, world)) / steps / world.size for name, value in sums.items()}
            entry |= {"lr": float(schedule.get_last_lr()[0]), "seconds": time.perf_counter() - started}
            _check_finite(entry)
            history.append(entry)
            if kept and world.leads:
                checkpoint.save(kept.path, state, history, identity=kept.identity)
            report(entry)
    encoder.network.eval()
    return tuple(history)


def _batches(
    config: TrainConfig, x: Tensor, y: Tensor, random: torch.Generator, steps: int, world: World
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """This process's share of each batch of an epoch: augmented raw images, targets, and positions."""
    # The few items of an incomplete batch sit this epoch out: so small a batch would spoil batch normalisation.
    order = torch.randperm(len(x), generator=random)[: steps * config.batch].to(x.device)
    for batch in torch.split(order, config.batch):
        rows = batch[world.share]
        images = augment(
            x[rows].float(), random, shift=config.shift, flip=config.flip, batch=len(batch), share=world.share
        )
        yield images, y[rows], rows


@dataclass(frozen=True, eq=False)
class _Step:
    """One step of the optimiser."""

    config: TrainConfig
    encoder: Encoder
    head: ClassHead
    teacher: Encoder | None
    world: World
    optimizer: torch.optim.Optimizer
    parameters: list[nn.Parameter]

    def __call__(self, images: Tensor, targets: Tensor, rows: Tensor) -> dict[str, Tensor]:
        h = self._embed(self.encoder, images)
        taught = None
        if self.teacher is not None:
            with torch.no_grad():  # it sees the same augmented images
                taught = self._embed(self.teacher, images)
        terms: dict[str, Tensor] = self.head(h, targets, rows=rows, taught=taught)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        average_gradients(self.parameters, self.world)
        self.optimizer.step()
        return terms

    def _embed(self, encoder: Encoder, images: Tensor) -> Tensor:
        bfloat16 = self.config.precision == "bfloat16"
        x = standardize(images, encoder.mean, encoder.std)
        if bfloat16 and images.is_cuda:  # the layout in which tensor cores convolve; a network keeps it to its end
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
            h = encoder.network(x)
        return functional.normalize(h.float())


def _check_finite(entry: Mapping[str, float]) -> None:
    if not math.isfinite(entry["loss"]):
        raise InvalidInput(
            f"TrainConfig: the loss is {entry['loss']} in epoch {entry['epoch']:.0f}: lower lr, scale or align_scale"
        )


def _optimizer(
    config: TrainConfig, parameters: list[nn.Parameter], steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    optimizer: torch.optim.Optimizer
    if config.optimizer == "sgd":
        decay = config.weight_decay
        optimizer = torch.optim.SGD(parameters, lr=config.lr, momentum=0.9, nesterov=True, weight_decay=decay)
    else:
        make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        optimizer = make(parameters, lr=config.lr, weight_decay=config.weight_decay)
    warmup, all_steps = min(config.warmup_epochs, config.epochs / 2) * steps, config.epochs * steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if config.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (all_steps - warmup)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
