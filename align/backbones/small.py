"""Small networks, which a CPU trains in seconds to minutes."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from align.backbones.blocks import Block, conv

__all__ = ["SmallConv", "SmallResNet"]


class SmallConv(nn.Module):
    """Three 3x3 convolutions, two poolings and one linear layer: for images of about 8x8, such as the digits.

    The linear layer sees the whole last feature map, not its average: at 8x8 the place of a stroke is the digit.
    """

    def __init__(self, in_shape: tuple[int, int, int], dim: int, *, width: int = 32) -> None:
        super().__init__()
        c, h, w = in_shape
        self.body = nn.Sequential(
            *conv(c, width),
            *conv(width, width),
            nn.MaxPool2d(2),
            *conv(width, 2 * width),
            nn.MaxPool2d(2),
        )
        self.out = nn.Linear(2 * width * (h // 4) * (w // 4), dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, c, h, w) float32 to embeddings (n, dim), not normalised."""
        y: Tensor = self.out(self.body(x).flatten(1))
        return y


class SmallResNet(nn.Module):
    """Four residual blocks of 1, 2, 4 and 8 times `width` channels and an average: for images of about 32x32."""

    def __init__(self, in_shape: tuple[int, int, int], dim: int, *, width: int = 16) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.stem = nn.Sequential(*conv(in_shape[0], width))
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(*(Block(a, b, stride=1 if i == 0 else 2) for i, (a, b) in enumerate(pairs)))
        self.out = nn.Linear(widths[-1], dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, c, h, w) float32 to embeddings (n, dim), not normalised."""
        y: Tensor = self.out(self.blocks(self.stem(x)).mean((2, 3)))
        return y
