"""Alignment: train compatible models, fit bridges between spaces, build relative spaces, measure all of it.

`align.fit` and the modules are imported when first used, so that `import align` alone brings no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from align import anchors, backbones, bridges, data, metrics, moments, relative, train
    from align.bridges import fit

__all__ = [
    "__version__",
    "anchors",
    "backbones",
    "bridges",
    "data",
    "fit",
    "metrics",
    "moments",
    "relative",
    "train",
]

__version__ = "0.1.0"

_MODULES = ("anchors", "backbones", "bridges", "data", "metrics", "moments", "relative", "train")


def __getattr__(name: str) -> Any:
    if name == "fit":
        from align.bridges import fit

        return fit
    if name in _MODULES:
        return importlib.import_module(f"align.{name}")
    raise AttributeError(f"module 'align' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
