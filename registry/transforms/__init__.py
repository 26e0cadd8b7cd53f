"""Transforms: immutable, directed maps between two spaces, applied with NumPy and kept as safetensors.

A transform maps rows (n, source_dim) of one space to rows (n, target_dim) of another, never the other way round.
`align.fit` learns them (with torch, on any device); this package applies, saves and loads them, and needs neither.

A file is one safetensors file: the arrays, and a JSON header under the metadata key `samespace` with the kind, both
dimensions, both spaces with their fingerprints once registered, the fit report and a sha-256 over all of it.
"""

from registry.transforms.base import SpaceTag, Transform, mapped
from registry.transforms.files import KINDS, load, loads
from registry.transforms.linear import Affine, LowRank, Orthogonal, Prefix
from registry.transforms.mlp import Mlp
from registry.transforms.relative import Relative
from registry.transforms.slerp import Slerp

__all__ = [
    "KINDS", "Affine", "LowRank", "Mlp", "Orthogonal", "Prefix", "Relative", "Slerp", "SpaceTag", "Transform", "load", "loads",
    "mapped",
]  # fmt: skip
