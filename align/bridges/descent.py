"""Gradient descent on pairs, judged on those held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from align.bridges.batches import Batches, Rows
from align.devices import full_precision, pick_device
from align.moments import Progress
from registry.errors import InvalidInput
from registry.transforms import Transform

__all__ = ["Course", "Drawn", "Network", "descend"]

_IN_MEMORY = 1 << 30  # bytes of pairs that are read once and kept on the device; of more, each batch is read anew
_PATIENCE = 8  # epochs without a better score after which a fit ends
_SMALL_STEP = 1 << 26  # products of one batch, below which several threads wait for each other longer than they work

T_co = TypeVar("T_co", bound=Transform, covariant=True)


class Network(Protocol[T_co]):
    """What can be trained: a module of torch that stands for a transform."""

    def __call__(self, x: Tensor, side: Tensor | None) -> Tensor:
        """Map x (n, ds), and side (n, s) if there is one, to (n, dt)."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """What is trained."""

    def to(self, device: str) -> Any:
        """Move all of it to a device."""

    def transform(self, normalize: bool) -> T_co:
        """What is learned so far."""


@dataclass(frozen=True, slots=True)
class Course:
    """How to descend: AdamW, its rate falling to 0 along a cosine over `epochs`."""

    epochs: int
    lr: float
    batch: int
    seed: int
    device: str | None
    progress: Progress | None
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise InvalidInput(f"{name} must be a whole number from 1, got {value!r:.80}")
        if isinstance(self.lr, bool) or not isinstance(self.lr, int | float) or not 0 < self.lr < np.inf:
            raise InvalidInput(f"lr must be a finite number above 0, got {self.lr!r:.80}")


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A batch on the device; see `Rows`."""

    x: Tensor
    y: Tensor
    side: Tensor | None
    codes: Tensor | None

    @classmethod
    def of(cls, rows: Rows, device: str) -> Drawn:
        """Rows as tensors."""
        parts = (rows.x, rows.y, rows.side, rows.labels)
        return cls(*(None if a is None else torch.tensor(a, device=device) for a in parts))  # type: ignore[arg-type]

    def at(self, rows: Tensor) -> Drawn:
        """Some of the rows."""
        side, codes = (None if t is None else t[rows] for t in (self.side, self.codes))
        return Drawn(self.x[rows], self.y[rows], side, codes)


def descend(
    network: Network[T_co],
    batches: Batches,
    course: Course,
    *,
    loss: Callable[[Tensor, Drawn], Tensor],
    judge: Callable[[Transform], float],
) -> tuple[T_co, dict[str, int | float]]:
    """Train `network` on the mean of `loss`, given what it maps a batch to and the batch itself.

    After each epoch `judge` scores the transform on held-out pairs, larger is better. The best one is returned, which is
    the untrained one where no epoch beats it, with the facts of the fit for its report.

    Raises:
        InvalidInput: the loss is not finite any more.
    """
    device = pick_device(course.device)
    network.to(device)
    best = network.transform(batches.normalize)
    started = score = judge(best)
    kept = epoch = 0
    optimizer = torch.optim.AdamW(network.parameters(), lr=course.lr, weight_decay=course.weight_decay)
    steps = course.epochs * -(-len(batches.train) // course.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 + 0.5 * np.cos(np.pi * step / steps))
    with full_precision(device), _threads(network, course.batch):
        draw = _Draw(batches, course, device)
        for epoch in range(1, course.epochs + 1):
            for batch in draw.epoch(epoch):
                value = loss(network(batch.x, batch.side), batch)
                optimizer.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            if not torch.isfinite(value):
                raise InvalidInput(f"the fit diverged in epoch {epoch}: lower lr, got {course.lr}")
            found = network.transform(batches.normalize)
            judged = judge(found)
            if judged > score:
                best, score, kept = found, judged, epoch
            if course.progress is not None:
                course.progress(epoch, course.epochs)
            if epoch - kept >= _PATIENCE:
                break
    return best, {
        "pairs": len(batches.train), "validation_pairs": len(batches.held), "epochs": epoch, "kept_epoch": kept,
        "start_score": started, "score": score,
    }  # fmt: skip


class _Draw:
    """Pairs in a random order, the same for a seed on every device."""

    def __init__(self, batches: Batches, course: Course, device: str) -> None:
        self._batches, self._course, self._device = batches, course, device
        self._whole = Drawn.of(batches.rows(batches.train), device) if batches.nbytes <= _IN_MEMORY else None

    def epoch(self, number: int) -> Iterator[Drawn]:
        """The batches of one epoch."""
        order = np.random.default_rng([self._course.seed, number]).permutation(len(self._batches.train))
        for start in range(0, len(order), self._course.batch):
            rows = order[start : start + self._course.batch]
            if self._whole is not None:
                yield self._whole.at(torch.from_numpy(rows).to(self._device))
            else:  # in ascending order, which reads a file forwards
                yield Drawn.of(self._batches.rows(np.sort(self._batches.train[rows])), self._device)


@contextmanager
def _threads(network: Network[Any], batch: int) -> Iterator[None]:
    """One CPU thread while a step is small, which is also faster where cores are busy."""
    before = torch.get_num_threads()
    small = batch * sum(p.numel() for p in network.parameters()) < _SMALL_STEP
    torch.set_num_threads(1 if small else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
