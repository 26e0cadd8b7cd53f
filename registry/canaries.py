"""Canaries: a few inputs and the vectors that a version's encoder gave of them, to notice later that it gives others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry.errors import CorruptFile, DimensionMismatch, Incompatible, InvalidInput, MissingExtra
from registry.transforms.base import digest_of, locked, safetensors_numpy, unpacked
from registry.vectors import Array, Metric, as_rows, check_finite

__all__ = [
    "FARTHEST",
    "Canaries",
    "Encode",
    "EncoderCheck",
    "Inputs",
    "check_encoder",
    "dumps",
    "kept_deviation",
    "loads",
    "made",
]

Inputs = Sequence[str] | Array
"""What an encoder reads: texts, or an array (n, …) of numbers."""

Encode = Callable[[Any], Any]
"""An encoder: the inputs, in one batch, to vectors (n, d)."""

FARTHEST = 1e6
"""What is kept of a larger deviation, such as that of what is no vector: JSON and charts know no infinity."""

MOST = 1024
_MOST_TEXT = 10_000
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Canaries:
    """`vectors` (n, d) float32 are what the encoder of `version` gave of `inputs`: a tuple of n texts, or an array (n, …)."""

    version: str
    inputs: tuple[str, ...] | Array
    vectors: Array

    def __len__(self) -> int:
        return len(self.vectors)

    def digest(self) -> str:
        """sha-256, hex, of version, inputs and vectors."""
        return digest_of(*_parts(self))


@dataclass(frozen=True, slots=True)
class EncoderCheck:
    """How far an encoder's vectors lie from those that were registered; `str` of it is a line to log.

    A deviation is the length of the difference over the length of what was registered, of directions where the metric is
    cosine: 0 is the same vector, 1.41 an unrelated direction.
    """

    version: str
    deviations: tuple[float, ...]
    tolerance: float
    worst: str

    @property
    def ok(self) -> bool:
        """Whether no canary deviates by more than the tolerance."""
        return max(self.deviations) <= self.tolerance

    def __str__(self) -> str:
        most, count = max(self.deviations), len(self.deviations)
        if self.ok:
            return f"{self.version}: the encoder is the registered one: {count} canaries deviate by {most:.2g} at most"
        far = sum(d > self.tolerance for d in self.deviations)
        return (
            f"{self.version}: the encoder is not the registered one: {far} of {count} canaries deviate by more than "
            f"{self.tolerance:g}, in the median by {float(np.median(self.deviations)):.2g}, {self.worst} most, by {most:.2g}; "
            "compare its weights, preprocessing and pooling with the version's fingerprint"
        )

    def raise_for_drift(self) -> None:
        """Incompatible, with this report, unless `ok`."""
        if not self.ok:
            raise Incompatible(str(self))


def made(version: str, inputs: Inputs, vectors: Any, *, dim: int) -> Canaries:
    """Canaries of what a caller gave.

    Raises:
        InvalidInput: inputs of another kind, none, too many or too large, or not as many as vectors.
        DimensionMismatch, BadVector: vectors that are not of the version's space.
    """
    rows = check_finite(as_rows(vectors, dim=dim)).astype(np.float32, copy=False)
    kept = _checked(inputs)
    if len(rows) != len(kept):
        raise InvalidInput(f"canaries need a vector for each input, got {len(rows)} vectors of {len(kept)} inputs")
    return Canaries(version, kept, locked(np.ascontiguousarray(rows)))


def _checked(inputs: Inputs) -> tuple[str, ...] | Array:
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "biuf":
        if inputs.ndim < 2 or not 1 <= len(inputs) <= MOST or inputs.nbytes > _MOST_BYTES:
            raise InvalidInput(
                f"canary inputs are an array (n, …) of 1 to {MOST} inputs and {_MOST_BYTES >> 20} MiB at most, "
                f"got shape {inputs.shape}"
            )
        return locked(np.ascontiguousarray(inputs))
    texts = list(inputs) if isinstance(inputs, list | tuple | np.ndarray) else []
    if not 1 <= len(texts) <= MOST or not all(isinstance(t, str) and 0 < len(t) <= _MOST_TEXT for t in texts):
        raise InvalidInput(
            f"canary inputs are 1 to {MOST} texts of {_MOST_TEXT:,} characters at most, or an array of numbers, "
            f"got {inputs!r:.80}"
        )
    return tuple(map(str, texts))


def check_encoder(canaries: Canaries, encode: Encode, *, metric: Metric, tolerance: float) -> EncoderCheck:
    """Encode the inputs anew and compare.

    Raises:
        InvalidInput: a tolerance that is no share, or what `encode` gave is not a matrix of numbers.
        DimensionMismatch: it gave vectors of another width.
    """
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 < tolerance <= 1:
        raise InvalidInput(
            f"tolerance must be a share of a vector's length, above 0 and at most 1, got {tolerance!r:.80}"
        )
    inputs = canaries.inputs
    found = as_rows(encode(list(inputs) if isinstance(inputs, tuple) else inputs.copy()), what="what the encoder gave")
    if found.shape != canaries.vectors.shape:
        raise DimensionMismatch(
            f"the encoder gave shape {found.shape} of the canaries of {canaries.version}, whose vectors are "
            f"{canaries.vectors.shape}: is it another version's?"
        )
    here, there = found.astype(np.float64), canaries.vectors.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # what is no vector is as far as can be
        if metric == "cosine":
            here, there = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (here, there))
        far = np.linalg.norm(here - there, axis=1) / np.linalg.norm(there, axis=1)
    far[~np.isfinite(far)] = np.inf
    at = int(np.argmax(far))
    worst = f"number {at}" if not isinstance(inputs, tuple) else f"{inputs[at][:60]!r}"
    return EncoderCheck(canaries.version, tuple(map(float, far)), float(tolerance), worst)


def kept_deviation(deviation: float, tolerance: float) -> float:
    """What is kept of a check's largest deviation: at most `FARTHEST`. InvalidInput for what no check can have found."""
    if not (isinstance(deviation, int | float) and isinstance(tolerance, int | float)) or not (
        deviation >= 0 and 0 < tolerance <= 1
    ):
        raise InvalidInput(
            f"a check has a deviation of 0 or more and a tolerance above 0 and at most 1, got {deviation!r:.80} and "
            f"{tolerance!r:.80}"
        )
    return min(float(deviation), FARTHEST)


def _parts(canaries: Canaries) -> tuple[dict[str, Any], dict[str, Array]]:
    header: dict[str, Any] = {"kind": "canaries", "version": canaries.version}
    arrays = {"vectors": canaries.vectors}
    if isinstance(canaries.inputs, tuple):
        return {**header, "inputs": list(canaries.inputs)}, arrays
    return header, {**arrays, "inputs": canaries.inputs}


def dumps(canaries: Canaries) -> bytes:
    """The bytes of their file: safetensors, with the texts in its header."""
    header, arrays = _parts(canaries)
    return bytes(safetensors_numpy().save(arrays, {"samespace": json.dumps(header, sort_keys=True)}))


def loads(data: bytes, *, name: str, digest: str | None = None) -> Canaries:
    """The canaries of a file, whose digest may be known; CorruptFile if it holds anything else."""
    try:
        header, arrays = unpacked(data)
        inputs = tuple(header["inputs"]) if "inputs" in header else arrays["inputs"]
        found = Canaries(header["version"], inputs, arrays["vectors"])
        sound = digest in (None, found.digest())
    except MissingExtra:
        raise
    except Exception as error:  # whatever a damaged file makes a parser raise
        raise CorruptFile(f"{name} holds no canaries: restore it from a backup") from error
    if not sound:
        raise CorruptFile(f"{name} fails its checksum: it was damaged or edited; restore it from a backup")
    return found
