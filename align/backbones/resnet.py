"""Residual networks of He et al., CVPR 2016, for images of about 32x32."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from align.backbones.blocks import Block, conv

__all__ = ["ResNet", "resnet10", "resnet18", "resnet34"]


class ResNet(nn.Module):
    """Four stages of basic blocks with 64, 128, 256 and 512 channels, an average, and a linear layer to `dim`.

    The stem is the one that is usual at 32x32: a single 3x3 convolution, without the 7x7 kernel, the stride and the
    pooling by which the ImageNet form would lose 15 of 16 pixels. `depths` are the blocks of each stage: (2, 2, 2, 2)
    is ResNet-18, (3, 4, 6, 3) ResNet-34. Convolutions begin by the rule of He et al., ICCV 2015 (fan-out).
    """

    def __init__(
        self, in_shape: tuple[int, int, int], dim: int, *, depths: tuple[int, int, int, int], width: int = 64
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(in_shape[0], width))
        blocks: list[nn.Module] = []
        c_in = width
        for stage, depth in enumerate(depths):
            c_out = width << stage
            for place in range(depth):
                stride = 2 if stage > 0 and place == 0 else 1
                blocks.append(Block(c_in, c_out, stride=stride, norm_shortcut=True))
                c_in = c_out
        self.blocks = nn.Sequential(*blocks)
        self.out = nn.Linear(c_in, dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, c, h, w) float32 to embeddings (n, dim), not normalised."""
        y: Tensor = self.out(self.blocks(self.stem(x)).mean((2, 3)))
        return y


resnet10 = partial(ResNet, depths=(1, 1, 1, 1))
"""One block a stage: about half of ResNet-18's work."""
resnet18 = partial(ResNet, depths=(2, 2, 2, 2))
resnet34 = partial(ResNet, depths=(3, 4, 6, 3))
