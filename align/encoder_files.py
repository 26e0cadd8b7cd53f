"""Files of encoders: one safetensors file, whose header says what decides the space. No pickle, and no import."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from align import backbones
from registry.errors import CorruptFile, InvalidInput

__all__ = ["KEY", "Facts", "read", "require_trust", "restore", "weights_digest"]

KEY = "samespace-encoder"
"""The header's entry that holds the encoder's fingerprint, as JSON."""

_LARGEST = 65536


@dataclass(frozen=True, slots=True)
class Facts:
    """What a header says, checked: sizes are whole numbers in bounds, and numbers are finite."""

    backbone: str
    dim: int
    in_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: str
    libraries: Mapping[str, str]


def read(path: Path) -> tuple[Facts, dict[str, Tensor]]:
    """Facts and weights of an encoder file, the weights checked against their digest.

    Raises:
        CorruptFile: not an encoder file, or changed since it was written.
    """
    data = path.read_bytes()
    try:
        # The header comes first: its length as eight little-endian bytes, then JSON (the safetensors format).
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][KEY])
        facts, arrays = _facts(header), safetensors.torch.load(data)
    except Exception as error:  # whatever a damaged file makes a parser raise
        raise CorruptFile(
            f"{path} is not a samespace encoder: {(str(error) or repr(error)).splitlines()[0]:.200}"
        ) from error
    if weights_digest(arrays) != facts.weights:
        raise CorruptFile(f"{path} fails its checksum: it was damaged or edited; fetch or train it again")
    return facts, arrays


def require_trust(path: Path, backbone: str, trust: bool | str | Collection[str]) -> None:
    """Raise InvalidInput if the backbone's code would be imported from a module that the caller does not trust."""
    named = (trust,) if isinstance(trust, str) else trust  # in a text, `in` would look for a part of it
    if not backbones.is_foreign(backbone) or named is True or (named and backbone in named):
        return
    raise InvalidInput(
        f"{path} names the backbone {backbone!r:.200}, and reading it would run that module: pass trust={backbone!r:.200} "
        "if you know its code"
    )


def restore(path: Path, facts: Facts, arrays: Mapping[str, Tensor]) -> nn.Module:
    """The network that the facts describe, with these weights.

    Raises:
        CorruptFile: the weights are not those of such a network.
    """
    try:
        if facts.backbone in backbones.NAMES:
            _check_shapes(facts, arrays)
        # Building draws weights that are replaced at once: the caller's random numbers must not notice.
        with torch.random.fork_rng(devices=[]):
            network = backbones.build(facts.backbone, facts.in_shape, facts.dim)
        network.load_state_dict(arrays)
    except RuntimeError as error:
        raise CorruptFile(
            f"{path} holds no weights of backbone {facts.backbone} with dim {facts.dim} for images {facts.in_shape}: "
            "it was damaged or edited; fetch or train it again"
        ) from error
    return network


def weights_digest(arrays: Mapping[str, Tensor]) -> str:
    """sha-256, hex, over names, types, shapes and bytes of contiguous CPU tensors."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        a = arrays[name].numpy()
        sha.update(f"{name} {a.dtype.str} {a.shape}".encode())
        sha.update(a.tobytes())
    return sha.hexdigest()


def _check_shapes(facts: Facts, arrays: Mapping[str, Tensor]) -> None:
    """Compare with a network that has no memory yet: an edited header must not make us allocate what it says."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        wanted = backbones.build(facts.backbone, facts.in_shape, facts.dim).state_dict()
    if {name: a.shape for name, a in wanted.items()} != {name: a.shape for name, a in arrays.items()}:
        raise RuntimeError("other names or shapes")


def _facts(header: Any) -> Facts:
    """Check a header; whatever is raised here makes the file a corrupt one."""
    backbone, dim, weights, libraries = (header[name] for name in ("backbone", "dim", "weights", "libraries"))
    shape, mean, std = (header["preprocessing"][name] for name in ("in_shape", "mean", "std"))
    sizes = [dim, *shape]
    if len(shape) != 3 or not all(type(size) is int and 0 < size <= _LARGEST for size in sizes):
        raise ValueError(f"dim {dim!r:.80} and in_shape {shape!r:.80} are not sizes")
    if not all(type(value) in (int, float) and math.isfinite(value) for value in [*mean, *std]):
        raise ValueError("mean and std are not finite numbers")
    if not all(isinstance(text, str) for text in (backbone, weights, *libraries, *libraries.values())):
        raise ValueError("backbone, weights and libraries are not texts")
    return Facts(backbone, dim, tuple(shape), tuple(mean), tuple(std), weights, libraries)
