"""GCPA's correction: one small network that draws all versions of a hub nearer to their consensus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from registry.errors import InvalidInput
from registry.transforms import Mlp
from registry.vectors import Array, normalize

if TYPE_CHECKING:
    import torch

__all__ = ["MOST_ROWS", "correction"]

_CHECKED = 100  # steps between looks at whether it still helps
_BETTER = 0.999  # of the best loss so far: what counts as progress
MOST_ROWS = 65_536
"""Items to learn from: more do not fit a small network better, and each stands in memory once for each version."""


def correction(
    mapped: Sequence[Array],
    *,
    hidden: int | None = None,
    tau: float = 0.08,
    weight: float = 0.7,
    lr: float = 2e-3,
    batch: int = 4096,
    steps: int = 10_000,
    patience: int = 5,
    seed: int = 0,
    device: str | None = None,
) -> Mlp:
    """A map T of the hub's space into itself that all versions share, after their own maps (GCPA, arXiv 2602.06205).

    mapped: the same n items' rows (n, d) by each version, already in the hub. With u a row as a direction and c the
    direction of the item's mean, T minimises 1 - cos(T(u), c) + weight relu(1 - cos(T(u), u) - tau): nearer to the
    consensus, but no further than `tau` from where the rotation put it for free.

    T(u) = u + g * (relu(u W + b) V), of `hidden` units, by default 2 d. The gate g (d,) begins at 0, so that T begins as
    the identity, and is multiplied into V in the end. The published network normalises its layer and uses GELU; ReLU
    without a norm makes it an ordinary `mlp` transform. AdamW; at most `steps`, fewer where `patience` looks in a row at
    a tenth of the items, kept aside, saw no progress.

    Raises:
        InvalidInput: fewer than two versions, rows of different shapes, or fewer than 20 items.
    """
    import torch

    u = _directions(mapped, seed)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    rows, aim = (torch.from_numpy(a).to(where) for a in (u, normalize(u.mean(axis=0))))
    rng = torch.Generator().manual_seed(seed)
    count, n, d = rows.shape
    kept = max(1, n // 10)
    net = _Net(d, hidden or 2 * d, rng, where)
    optimizer = torch.optim.AdamW(net.parameters, lr=lr)
    best, since, step = float("inf"), 0, 0
    found = net.copied()
    while step < steps and since < patience:
        step += 1
        at = kept + torch.randint(n - kept, (min(batch, n - kept),), generator=rng).to(where)
        of = torch.randint(count, at.shape, generator=rng).to(where)
        optimizer.zero_grad()
        torch.autograd.backward(net.loss(rows[of, at], aim[at], tau, weight))
        optimizer.step()
        if step % _CHECKED and step < steps:
            continue
        with torch.no_grad():
            now = float(net.loss(rows[:, :kept], aim[:kept], tau, weight))
        since = 0 if now < best * _BETTER else since + 1
        if now < best:
            best, found = now, net.copied()
    first, shift, last, gate = found
    report = {"method": "gcpa", "hidden": len(shift), "tau": tau, "steps": step, "loss": best}
    layers = ((first, shift),)
    return Mlp(weight=np.eye(d), bias=np.zeros(d), layers=layers, out=last * gate, report=report)


class _Net:
    """T: its parameters W (d, h), b (h,), V (h, d) and g (d,), and what they are fitted to."""

    def __init__(self, d: int, width: int, rng: torch.Generator, device: torch.device) -> None:
        import torch

        first = torch.randn(d, width, generator=rng) / d**0.5
        last = torch.randn(width, d, generator=rng) / width**0.5
        begun = (first, torch.zeros(width), last, torch.zeros(d))
        self.parameters = [part.to(device).requires_grad_() for part in begun]

    def loss(self, x: torch.Tensor, goal: torch.Tensor, tau: float, weight: float) -> torch.Tensor:
        """The mean over directions x (..., m, d) that are to come near to `goal` (m, d)."""
        from torch.nn import functional as nnf

        first, shift, last, gate = self.parameters
        moved = nnf.normalize(x + gate * (nnf.relu(x @ first + shift) @ last), dim=-1)
        strayed = 1 - (moved * x).sum(-1)
        return (1 - (moved * goal).sum(-1) + weight * nnf.relu(strayed - tau)).mean()

    def copied(self) -> list[Array]:
        """The parameters as they are now."""
        return [part.detach().cpu().numpy().copy() for part in self.parameters]


def _directions(mapped: Sequence[Array], seed: int) -> Array:
    """(M, n, d) directions, of some of the items where they are many, in a random order."""
    shapes = {np.shape(x) for x in mapped}
    if len(mapped) < 2 or len(shapes) != 1 or len(mapped[0]) < 20:
        raise InvalidInput(
            f"a correction needs 20 items or more by two versions or more, all (n, d); got shapes {shapes}"
        )
    order = np.random.default_rng(seed).permutation(len(mapped[0]))[:MOST_ROWS]
    return np.stack([normalize(np.asarray(x[order], dtype=np.float32)) for x in mapped])
