"""Training shared by several processes, as `torchrun` starts them: each takes its share of every batch.

Gradients are averaged, and batch normalisation sees the whole batch, so the losses are those of one process up to the
rounding of sums.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

__all__ = ["World", "average_gradients", "join", "shared_normalisation", "total"]


@dataclass(frozen=True, slots=True)
class World:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    @property
    def share(self) -> slice:
        """This process's items of a batch."""
        return slice(self.rank, None, self.size)

    @property
    def leads(self) -> bool:
        """Whether this is the process that logs, saves and reports."""
        return self.rank == 0


def join(device: torch.device) -> World:
    """The processes that `torchrun` started, joined until they exit; or this one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return World()
    if not distributed.is_initialized():
        # Once in a process: torchrun's store cannot be joined a second time after parting.
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(distributed.destroy_process_group)
    return World(distributed.get_rank(), distributed.get_world_size())


def average_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Replace each gradient by its mean over the processes, in one message."""
    if world.size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    distributed.all_reduce(flat)
    flat /= world.size
    means = torch.split(flat, [g.numel() for g in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def total(value: Tensor, world: World) -> Tensor:
    """The sum of a value over the processes."""
    if world.size > 1:
        distributed.all_reduce(value)
    return value


@contextmanager
def shared_normalisation(network: nn.Module, world: World) -> Iterator[None]:
    """Let the batch normalisations of `network` take their statistics over all processes while the block runs.

    torch's own SyncBatchNorm wants CUDA. The modules only change their class and change it back, so the optimiser and
    whoever saves the network notice nothing.
    """
    modules = [m for m in network.modules() if type(m) is nn.BatchNorm2d] if world.size > 1 else []
    for module in modules:
        module.__class__ = _SharedBatchNorm
    try:
        yield
    finally:
        for module in modules:
            module.__class__ = nn.BatchNorm2d


class _SharedBatchNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (n, c, h, w) by the mean and variance over all processes' batches, of equal sizes."""
        if not self.training:
            return super().forward(x)
        n = x.numel() // x.shape[1] * distributed.get_world_size()
        mean = _sum_over_processes(x.sum((0, 2, 3))) / n
        centred = x - mean[:, None, None]
        variance = _sum_over_processes(centred.square().sum((0, 2, 3))) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr,arg-type]
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)  # type: ignore[union-attr,arg-type]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        scale = (variance + self.eps).rsqrt() * self.weight
        y: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return y


class _Sum(torch.autograd.Function):
    """The sum over processes, through which gradients flow to all of them."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        summed = value.clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone()
        distributed.all_reduce(summed)
        return summed


def _sum_over_processes(value: Tensor) -> Tensor:
    summed: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return summed
