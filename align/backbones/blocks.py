"""The parts that the built-in networks share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Block", "conv"]


class Block(nn.Module):
    """The basic residual block of He et al., CVPR 2016: two 3x3 convolutions beside a shortcut.

    A shortcut that must change shape is a 1x1 convolution, followed by batch normalisation if `norm_shortcut` (the
    paper's option B, as it is commonly built).
    """

    def __init__(self, c_in: int, c_out: int, *, stride: int, norm_shortcut: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.second = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        self.shortcut: nn.Module = nn.Identity()
        if c_in != c_out or stride != 1:
            self.shortcut = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            if norm_shortcut:
                self.shortcut = nn.Sequential(self.shortcut, nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c_in, h, w) to (n, c_out, h / stride, w / stride)."""
        y = functional.relu(self.norm1(self.first(x)))
        return functional.relu(self.norm2(self.second(y)) + self.shortcut(x))


def conv(c_in: int, c_out: int) -> tuple[nn.Module, ...]:
    """A 3x3 convolution that keeps height and width, batch normalisation and ReLU."""
    return nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)
