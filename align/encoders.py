"""`Encoder`: a trained network with all that decides its space, in one safetensors file."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from align import backbones
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, NotFound

__all__ = ["Encoder", "pick_device", "standardize"]

Array = npt.NDArray[Any]

_KEY = "samespace-encoder"


def pick_device(device: str | None) -> torch.device:
    """The device of that name; by default CUDA where there is one, else the CPU.

    Raises:
        InvalidInput: torch does not know the name, or CUDA is asked for and absent.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InvalidInput(f"device {device!r} is not known: use 'cpu', 'cuda' or 'cuda:1'") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InvalidInput(f"device {device!r} is not there, CUDA shows {torch.cuda.device_count()}: use 'cpu'")
    return chosen


def standardize(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Subtract mean and divide by std, each (c,), in images x (n, c, h, w); float32."""
    shape = (1, -1, 1, 1)
    m, s = (torch.tensor(v, dtype=torch.float32, device=x.device).view(shape) for v in (mean, std))
    return (x.float() - m) / s


@dataclass(frozen=True, eq=False)
class Encoder:
    """Maps images (n, c, h, w) to unit vectors (n, dim) of one space.

    `network` is a `backbones.build` module; `mean` and `std` (c,) standardise raw pixel values. `libraries` are the
    releases that it was trained with, so that a file's fingerprint is the same on every machine that reads it.
    """

    network: nn.Module
    backbone: str
    dim: int
    in_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    libraries: Mapping[str, str] = field(default_factory=lambda: library_versions())

    def __post_init__(self) -> None:
        if len(self.mean) != self.in_shape[0] or len(self.std) != self.in_shape[0] or min(self.std) <= 0:
            raise InvalidInput(f"mean and std need {self.in_shape[0]} values, std above 0: got {self.mean}, {self.std}")
        self.network.eval()

    def encode(self, x: Array, *, batch: int = 1024, device: str | None = None) -> Array:
        """Embed images x (n, c, h, w) uint8 or float32, raw pixel values, as float32 (n, dim) with rows of length 1.

        Raises:
            DimensionMismatch: images of another shape than the encoder was trained on.
            InvalidInput: pixels of another type, or an unknown device.
        """
        if x.ndim != 4 or x.shape[1:] != self.in_shape:
            raise DimensionMismatch(
                f"this encoder takes images (n, {', '.join(map(str, self.in_shape))}), got {x.shape}"
            )
        if x.dtype not in (np.uint8, np.float32):
            raise InvalidInput(f"images must be uint8 or float32 raw pixel values, got {x.dtype}: convert them")
        where = pick_device(device)
        self.network.to(where).eval()
        out = np.empty((len(x), self.dim), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(x), batch):
                # Copied because torch warns about arrays that are not writable.
                rows = torch.from_numpy(x[start : start + batch].copy()).to(where)
                h = self.network(standardize(rows, self.mean, self.std))
                out[start : start + batch] = functional.normalize(h).cpu().numpy()
        return out

    def fingerprint(self) -> dict[str, Any]:
        """What decides the space, as JSON values: two encoders with equal ones write comparable vectors."""
        return {
            "weights": weights_digest(self._arrays()),
            "backbone": self.backbone,
            "preprocessing": {"in_shape": list(self.in_shape), "mean": list(self.mean), "std": list(self.std)},
            "pooling": "backbone",
            "dtype": "float32",
            "normalization": "l2",
            "dim": self.dim,
            "metric": "cosine",
            "libraries": dict(self.libraries),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, so that a reader sees all of it or nothing."""
        target = Path(path)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        header = {_KEY: json.dumps(self.fingerprint(), sort_keys=True)}
        part.write_bytes(safetensors.torch.save(self._arrays(), header))
        part.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote, checking the weights' digest.

        Raises:
            NotFound: no such file.
            CorruptFile: not an encoder file, or changed since it was written.
        """
        source = Path(path)
        if not source.is_file():
            raise NotFound(f"no encoder file {source}: train one with `samespace train`")
        header, arrays = _read(source)
        if weights_digest(arrays) != header["weights"]:
            raise CorruptFile(f"{source} fails its checksum: it was damaged or edited; fetch or train it again")
        shape = header["preprocessing"]["in_shape"]
        in_shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        # Building draws weights that are replaced at once: the caller's random numbers must not notice.
        with torch.random.fork_rng(devices=[]):
            network = backbones.build(header["backbone"], in_shape, header["dim"])
        network.load_state_dict(arrays)
        mean, std = (tuple(header["preprocessing"][name]) for name in ("mean", "std"))
        return cls(network, header["backbone"], header["dim"], in_shape, mean, std, header["libraries"])

    def _arrays(self) -> dict[str, Tensor]:
        return {name: a.detach().cpu().contiguous() for name, a in self.network.state_dict().items()}


def weights_digest(arrays: Mapping[str, Tensor]) -> str:
    """sha-256, hex, over names, types, shapes and bytes of contiguous CPU tensors."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        a = arrays[name].numpy()
        sha.update(f"{name} {a.dtype.str} {a.shape}".encode())
        sha.update(a.tobytes())
    return sha.hexdigest()


def library_versions() -> dict[str, str]:
    """Releases that bear on the numbers; without build tags, since a CPU and a CUDA build give the same space."""
    try:
        own = version("samespace")
    except PackageNotFoundError:  # run from a checkout
        own = "unknown"
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "torch": torch.__version__.split("+")[0],
        "samespace": own,
    }


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and weights of an encoder file."""
    data = path.read_bytes()
    try:
        # The header comes first: its length as eight little-endian bytes, then JSON (the safetensors format).
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_KEY])
        return header, safetensors.torch.load(data)
    except Exception as error:  # whatever a damaged file makes a parser raise
        raise CorruptFile(
            f"{path} is not a samespace encoder: {(str(error) or repr(error)).splitlines()[0]}"
        ) from error
