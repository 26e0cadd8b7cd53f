"""Small networks from an image to an embedding, chosen by name; plain torch, no download."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from registry.errors import InvalidInput

__all__ = ["NAMES", "build"]


class SmallConv(nn.Module):
    """Three 3x3 convolutions, two poolings and one linear layer: for images of about 8x8, such as the digits.

    The linear layer sees the whole last feature map, not its average: at 8x8 the place of a stroke is the digit.
    """

    def __init__(self, in_shape: tuple[int, int, int], dim: int, *, width: int = 32) -> None:
        super().__init__()
        c, h, w = in_shape
        self.body = nn.Sequential(
            *_conv(c, width),
            *_conv(width, width),
            nn.MaxPool2d(2),
            *_conv(width, 2 * width),
            nn.MaxPool2d(2),
        )
        self.out = nn.Linear(2 * width * (h // 4) * (w // 4), dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, c, h, w) float32 to embeddings (n, dim), not normalised."""
        y: Tensor = self.out(self.body(x).flatten(1))
        return y


class Block(nn.Module):
    """The basic residual block of He et al., CVPR 2016: two 3x3 convolutions beside a shortcut."""

    def __init__(self, c_in: int, c_out: int, *, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.second = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        same = c_in == c_out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(c_in, c_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c_in, h, w) to (n, c_out, h / stride, w / stride)."""
        y = functional.relu(self.norm1(self.first(x)))
        return functional.relu(self.norm2(self.second(y)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """Four residual blocks of 1, 2, 4 and 8 times `width` channels and an average: for images of about 32x32."""

    def __init__(self, in_shape: tuple[int, int, int], dim: int, *, width: int = 16) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.stem = nn.Sequential(*_conv(in_shape[0], width))
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(*(Block(a, b, stride=1 if i == 0 else 2) for i, (a, b) in enumerate(pairs)))
        self.out = nn.Linear(widths[-1], dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, c, h, w) float32 to embeddings (n, dim), not normalised."""
        y: Tensor = self.out(self.blocks(self.stem(x)).mean((2, 3)))
        return y


def _conv(c_in: int, c_out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)


_BACKBONES: dict[str, tuple[Callable[[tuple[int, int, int], int], nn.Module], int]] = {
    "smallconv": (SmallConv, 4),
    "smallresnet": (SmallResNet, 8),
}
NAMES: tuple[str, ...] = tuple(_BACKBONES)


def build(name: str, in_shape: tuple[int, int, int], dim: int) -> nn.Module:
    """Make the backbone `name` for images `in_shape` (c, h, w), with weights drawn from torch's global generator.

    The module maps float32 (n, c, h, w) to embeddings (n, dim) that are not normalised.

    Raises:
        InvalidInput: an unknown name, a width below 1, or images smaller than the backbone takes.
    """
    if name not in _BACKBONES:
        raise InvalidInput(f"backbone {name!r} is not known: use one of {', '.join(NAMES)}")
    make, smallest = _BACKBONES[name]
    if dim < 1:
        raise InvalidInput(f"dim must be at least 1, got {dim}")
    if len(in_shape) != 3 or in_shape[0] < 1 or min(in_shape[1:]) < smallest:
        raise InvalidInput(f"backbone {name} takes images (c, h, w) of at least {smallest}x{smallest}, got {in_shape}")
    module = make(in_shape, dim)
    # Convolutions on the CPU are about a third faster this way, and the results are the same.
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
