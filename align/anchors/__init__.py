"""Anchors: the items whose vectors, in each version, span a relative space that all versions share.

`Anchors` is what they are, `select` chooses them in one version, `learn` optimises them over several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from align.anchors.base import Anchors
from align.anchors.selection import STRATEGIES, select

if TYPE_CHECKING:
    from align.anchors.learning import learn

__all__ = ["STRATEGIES", "Anchors", "learn", "select"]


def __getattr__(name: str) -> Any:
    if name != "learn":
        raise AttributeError(f"module 'align.anchors' has no attribute {name!r}")
    from align.anchors.learning import learn  # needs torch

    return learn
