"""Networks from an image to an embedding, chosen by name; no download.

Names are the built-in ones (`NAMES`), `timm:NAME` where timm is installed, and `module:factory` for a callable
`(in_shape, dim) -> torch.nn.Module` of the user's own.
"""

from align.backbones.building import build
from align.backbones.names import NAMES, check, is_foreign

__all__ = ["NAMES", "build", "check", "is_foreign"]
