"""Relative spaces: an item is described by its similarities to anchors that every version knows."""

from align.relative.building import transform
from align.relative.inversion import inverse
from align.relative.projection import project

__all__ = ["inverse", "project", "transform"]
