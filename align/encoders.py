"""`Encoder`: a trained network with all that decides its space, in one safetensors file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
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

from align import backbones, encoder_files
from align.encoder_files import weights_digest
from registry.errors import DimensionMismatch, InvalidInput, NotFound

__all__ = ["Encoder", "pick_device", "standardize"]

Array = npt.NDArray[Any]

# Positions (images x height x width) of a batch: the first feature maps of that many fit a CPU's caches.
_CPU_POSITIONS = 1 << 16
_GPU_POSITIONS = 1 << 21


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
        channels = self.in_shape[0]
        if len(self.mean) != channels or len(self.std) != channels or not min(self.std) > 0:
            raise InvalidInput(f"mean and std need {channels} values, std above 0: got {self.mean}, {self.std}")
        self.network.eval()

    def encode(
        self, x: Array, *, batch: int | None = None, device: str | None = None, out: Array | None = None
    ) -> Array:
        """Embed images x (n, c, h, w) uint8 or float32, raw pixel values, as float32 (n, dim) with rows of length 1.

        Images are read a batch at a time, so x may be a memory map of any size; with `out` (n, dim) float32, which may
        be one too, vectors are written there and `out` is returned. On the CPU batches are shared out among torch's
        threads, each of which works alone on a whole one: the vectors are the same bit for bit however many there are.

        Args:
            x: the images.
            batch: images at a time; by default as many as the caches of a CPU hold well, or many more on a GPU.
            device: None takes CUDA where there is one.
            out: where to write.

        Raises:
            DimensionMismatch: images of another shape than the encoder was trained on, or an `out` of another than
                (n, dim).
            InvalidInput: pixels or an `out` of another type, a batch below 1, or an unknown device.
        """
        self._check(x, batch, out)
        where = pick_device(device)
        self.network.to(where).eval()
        positions = _CPU_POSITIONS if where.type == "cpu" else _GPU_POSITIONS
        batch = batch or max(1, positions // (self.in_shape[1] * self.in_shape[2]))
        result = np.empty((len(x), self.dim), dtype=np.float32) if out is None else out

        def work(start: int) -> None:
            with torch.inference_mode():
                # Copied because torch warns about arrays that are not writable.
                rows = torch.from_numpy(np.array(x[start : start + batch])).to(where)
                h = self.network(standardize(rows, self.mean, self.std))
                result[start : start + batch] = functional.normalize(h).cpu().numpy()

        starts = range(0, len(x), batch)
        # A network that is not ours may keep something between calls, which threads would mix up.
        if where.type == "cpu" and not backbones.is_foreign(self.backbone):
            _share_out(work, starts)
        else:
            for start in starts:
                work(start)
        return result

    def _check(self, x: Array, batch: int | None, out: Array | None) -> None:
        if x.ndim != 4 or x.shape[1:] != self.in_shape:
            raise DimensionMismatch(
                f"this encoder takes images (n, {', '.join(map(str, self.in_shape))}), got {x.shape}"
            )
        if x.dtype not in (np.uint8, np.float32):
            raise InvalidInput(f"images must be uint8 or float32 raw pixel values, got {x.dtype}: convert them")
        if batch is not None and batch < 1:
            raise InvalidInput(f"batch must be at least 1, got {batch}")
        if out is not None and out.shape != (len(x), self.dim):
            raise DimensionMismatch(f"out must be ({len(x)}, {self.dim}), got {out.shape}")
        if out is not None and (out.dtype != np.float32 or not out.flags.writeable):
            raise InvalidInput(f"out must be writable float32, got {out.dtype}")

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
        header = {encoder_files.KEY: json.dumps(self.fingerprint(), sort_keys=True)}
        # Copied because the format refuses weights that share memory, as tied ones do.
        arrays = {name: a.clone() for name, a in self._arrays().items()}
        part.write_bytes(safetensors.torch.save(arrays, header))
        part.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, trust: bool | str | Collection[str] = ()) -> Self:
        """Read what `save` wrote, checking the weights' digest.

        A file may name a backbone `module:factory`, and reading it imports that module: it is done only if `trust` is
        that name, holds it, or is True.

        Raises:
            NotFound: no such file, or a trusted module or timm network that is not there.
            CorruptFile: not an encoder file, or changed since it was written.
            InvalidInput: a backbone that the caller does not trust.
            MissingExtra: the backbone is of timm, which is not installed.
        """
        source = Path(path)
        if not source.is_file():
            raise NotFound(f"no encoder file {source}: train one with `samespace train`")
        facts, arrays = encoder_files.read(source)
        encoder_files.require_trust(source, facts.backbone, trust)
        network = encoder_files.restore(source, facts, arrays)
        return cls(network, facts.backbone, facts.dim, facts.in_shape, facts.mean, facts.std, facts.libraries)

    def _arrays(self) -> dict[str, Tensor]:
        return {name: a.detach().cpu().contiguous() for name, a in self.network.state_dict().items()}


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


def _share_out(work: Callable[[int], None], starts: range) -> None:
    """Call `work` for each start, on as many threads as torch would use for one batch, each computing alone.

    Within a batch of small images threads wait for each other at every layer: on two idle cores this way is faster, and
    on busy ones several times so.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that begin now take it over
    try:
        if threads == 1 or len(starts) < 2:
            for start in starts:
                work(start)
        else:
            with ThreadPoolExecutor(min(threads, len(starts))) as pool:
                for _ in pool.map(work, starts):
                    pass
    finally:
        torch.set_num_threads(threads)
