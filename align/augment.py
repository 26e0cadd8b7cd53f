"""Augmentation of a batch of images, on the device that holds them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["augment"]


def augment(
    x: Tensor,
    random: torch.Generator,
    *,
    shift: int,
    flip: bool,
    batch: int | None = None,
    share: slice = slice(None),
) -> Tensor:
    """Shift each image of x (n, c, h, w) by up to `shift` pixels, filling with 0, and mirror half of them if `flip`.

    Where x is the `share` of a batch of `batch` images, numbers are drawn for the whole batch, so that an image is
    changed alike however many processes share the work. `random` is a CPU generator: every device sees the same.
    """
    n, c, h, w = x.shape
    drawn = n if batch is None else batch
    if shift:
        offsets = torch.randint(0, 2 * shift + 1, (2, drawn), generator=random)[:, share].to(x.device)
        rows = (torch.arange(h, device=x.device) + offsets[0, :, None])[:, None, :, None]
        columns = (torch.arange(w, device=x.device) + offsets[1, :, None])[:, None, None, :]
        items = torch.arange(n, device=x.device)[:, None, None, None]
        channels = torch.arange(c, device=x.device)[None, :, None, None]
        x = functional.pad(x, (shift, shift, shift, shift))[items, channels, rows, columns]
    if flip:
        mirrored = (torch.rand(drawn, generator=random)[share] < 0.5).to(x.device)
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    return x
