"""Transforms: immutable, directed maps between two spaces, applied with NumPy and kept as safetensors.

A transform maps rows (n, source_dim) of one space to rows (n, target_dim) of another, never the other way round.
`align.fit` learns them (with torch, on any device); this module applies, saves and loads them, and needs neither.

A file is one safetensors file: the arrays, and a JSON header under the metadata key `samespace` with the kind, both
dimensions, both spaces with their fingerprints once registered, the fit report and a sha-256 over all of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

import numpy as np

from registry.errors import BadVector, CorruptFile, DimensionMismatch, InvalidInput, MissingExtra
from registry.vectors import Array, normalize

__all__ = ["KINDS", "Affine", "Orthogonal", "Prefix", "Relative", "SpaceTag", "Transform", "load", "loads"]

Similarity = Literal["cosine", "whitened"]


@dataclass(frozen=True, slots=True)
class SpaceTag:
    """Which space an end of a transform is, and the fingerprint that it had when the transform was made."""

    space: str
    fingerprint: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Transform(ABC):
    """What all kinds share.

    `normalize` says that both ends are spaces of directions (metric cosine): rows are L2-normalised before the map and
    after it. `report` holds what the fit measured, JSON values only. `source` and `target` are set at registration.
    """

    kind: ClassVar[str]
    normalize: bool = True
    report: Mapping[str, Any] = field(default_factory=dict)
    source: SpaceTag | None = None
    target: SpaceTag | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "report", MappingProxyType(deepcopy(dict(self.report))))

    @property
    @abstractmethod
    def source_dim(self) -> int:
        """Width of the rows that go in."""

    @property
    @abstractmethod
    def target_dim(self) -> int:
        """Width of the rows that come out."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """The parameters, by name; what the file stores."""

    @abstractmethod
    def _map(self, x: Array) -> Array:
        """Map float32 rows (n, source_dim), or one row (source_dim,); shape is already checked."""

    @classmethod
    @abstractmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        """Make one from what a file holds."""

    def apply(self, x: Array) -> Array:
        """Map rows (n, source_dim) to float32 rows (n, target_dim); one row (source_dim,) gives one row.

        Raises:
            DimensionMismatch: the rows are not of the source's width; never guessed or cut.
        """
        x = np.asarray(x)
        if x.shape[-1:] != (self.source_dim,) or x.ndim > 2:
            raise DimensionMismatch(
                f"this {self.kind} transform maps {self.source_dim} -> {self.target_dim} dimensions, got shape {x.shape}"
            )
        x = normalize(x) if self.normalize else x.astype(np.float32, copy=False)
        y = self._map(x)
        return normalize(y) if self.normalize else y

    def between(self, source: SpaceTag, target: SpaceTag) -> Self:
        """A copy that knows which spaces it connects."""
        return replace(self, source=source, target=target)

    def digest(self) -> str:
        """sha-256, hex, over the header and the arrays: equal digests mean equal transforms."""
        return _digest(self._header(), self.arrays())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file so that a reader sees all of it or nothing."""
        target = Path(path)
        part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        part.write_bytes(self.dumps())
        part.replace(target)

    def dumps(self) -> bytes:
        """The bytes of the file."""
        arrays = {name: np.ascontiguousarray(a) for name, a in self.arrays().items()}
        header = self._header()
        metadata = {"samespace": json.dumps({**header, "sha256": _digest(header, arrays)}, sort_keys=True)}
        return bytes(_safetensors().save(arrays, metadata))

    def _header(self) -> dict[str, Any]:
        ends = {
            end: tag and {"space": tag.space, "fingerprint": tag.fingerprint}
            for end, tag in (("source", self.source), ("target", self.target))
        }
        return {
            "kind": self.kind,
            "source_dim": self.source_dim,
            "target_dim": self.target_dim,
            "normalize": self.normalize,
            "report": dict(self.report),
            **ends,
            **self._extra(),
        }

    def _extra(self) -> dict[str, Any]:
        """Header fields of this kind alone."""
        return {}


@dataclass(frozen=True, eq=False, kw_only=True)
class Prefix(Transform):
    """Keep the first `target_dim` dimensions: how a trained compatible model (OCA, BCT) is read by the old space."""

    kind: ClassVar[str] = "prefix"
    from_dim: int
    to_dim: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.to_dim <= self.from_dim:
            raise InvalidInput(f"a prefix keeps 1 to {self.from_dim} dimensions, got {self.to_dim}")

    @property
    def source_dim(self) -> int:
        return self.from_dim

    @property
    def target_dim(self) -> int:
        return self.to_dim

    def arrays(self) -> dict[str, Array]:
        return {}

    def _map(self, x: Array) -> Array:
        return x[..., : self.to_dim]

    @classmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        return cls(from_dim=header["source_dim"], to_dim=header["target_dim"], **common)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Linear(Transform):
    """`y = x @ weight + bias`; weight (source_dim, target_dim), bias (target_dim,), both float32."""

    weight: Array
    bias: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[1:]:
            raise InvalidInput(f"weight must be (ds, dt) and bias (dt,), got {self.weight.shape} and {self.bias.shape}")
        _freeze(self, "weight", "bias")

    @property
    def source_dim(self) -> int:
        return int(self.weight.shape[0])

    @property
    def target_dim(self) -> int:
        return int(self.weight.shape[1])

    def arrays(self) -> dict[str, Array]:
        return {"weight": self.weight, "bias": self.bias}

    def _map(self, x: Array) -> Array:
        y: Array = x @ self.weight
        y += self.bias
        return y

    @classmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        return cls(weight=arrays["weight"], bias=arrays["bias"], **common)


@dataclass(frozen=True, eq=False, kw_only=True)
class Orthogonal(_Linear):
    """A rotation or reflection (semi-orthogonal where the widths differ), a scale and a shift."""

    kind: ClassVar[str] = "orthogonal"


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine(_Linear):
    """Any linear map and a shift."""

    kind: ClassVar[str] = "affine"


@dataclass(frozen=True, eq=False, kw_only=True)
class Relative(Transform):
    """Similarities to k shared anchors (Moschella et al., ICLR 2023, eq. 1).

    anchors (k, d), the anchors' vectors in the source space. `cosine` compares directions; `whitened` is the
    affine-invariant inner product (x - mean) precision (a - mean)^T of arXiv 2605.30596 and needs both arrays:
    mean (d,), precision (d, d).
    """

    kind: ClassVar[str] = "relative"
    anchors: Array
    similarity: Similarity = "cosine"
    mean: Array | None = None
    precision: Array | None = None
    _columns: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.anchors.ndim != 2:
            raise InvalidInput(f"anchors must be (k, d), got {self.anchors.shape}")
        _freeze(self, "anchors")
        if self.similarity == "cosine":
            columns = normalize(self.anchors).T
        elif self.similarity == "whitened":
            if self.mean is None or self.precision is None:
                raise InvalidInput("whitened similarity needs mean (d,) and precision (d, d): give both")
            _freeze(self, "mean", "precision")
            columns = self.precision @ (self.anchors - self.mean).T
        else:
            raise InvalidInput(f"similarity {self.similarity!r} is not known: use 'cosine' or 'whitened'")
        # Computed once: projecting a row is then one matrix product.
        object.__setattr__(self, "_columns", _locked(np.ascontiguousarray(columns, dtype=np.float32)))

    @property
    def source_dim(self) -> int:
        return int(self.anchors.shape[1])

    @property
    def target_dim(self) -> int:
        return int(self.anchors.shape[0])

    def arrays(self) -> dict[str, Array]:
        named = {"anchors": self.anchors, "mean": self.mean, "precision": self.precision}
        return {name: a for name, a in named.items() if a is not None}

    def _map(self, x: Array) -> Array:
        y: Array = (x if self.mean is None else x - self.mean) @ self._columns
        return y

    def _extra(self) -> dict[str, Any]:
        return {"similarity": self.similarity}

    @classmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        return cls(
            anchors=arrays["anchors"],
            similarity=header["similarity"],
            mean=arrays.get("mean"),
            precision=arrays.get("precision"),
            **common,
        )


KINDS: dict[str, type[Transform]] = {cls.kind: cls for cls in (Prefix, Orthogonal, Affine, Relative)}


def load(path: str | os.PathLike[str]) -> Transform:
    """Read a transform file, checking its checksum.

    Raises:
        CorruptFile: not a transform file, of an unknown kind, or changed since it was written.
    """
    return loads(Path(path).read_bytes(), name=os.fspath(path))


def loads(data: bytes, *, name: str = "transform") -> Transform:
    """Read a transform from the bytes of its file; see `load`."""
    try:
        # The header comes first: its length as eight little-endian bytes, then JSON (the safetensors format).
        size = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["samespace"])
        arrays = dict(_safetensors().load(data))
        checksum = header.pop("sha256")
    except MissingExtra:
        raise
    except Exception as error:  # whatever a damaged file makes a parser raise
        raise CorruptFile(
            f"{name} is not a samespace transform: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error
    if _digest(header, arrays) != checksum:
        raise CorruptFile(f"{name} fails its checksum: it was damaged or edited; fetch or fit it again")
    kind = KINDS.get(str(header.get("kind")))
    if kind is None:
        raise CorruptFile(
            f"{name} is of kind {header.get('kind')!r}, which this release does not know: upgrade samespace"
        )
    try:
        ends = {end: SpaceTag(**header[end]) if header[end] else None for end in ("source", "target")}
        return kind._build(arrays, header, normalize=header["normalize"], report=header["report"], **ends)
    except (KeyError, TypeError, InvalidInput) as error:
        raise CorruptFile(f"{name} does not hold what a {kind.kind} transform needs: {error!r}") from error


def _digest(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {a.dtype.str} {a.shape}".encode())
        sha.update(a.tobytes())
    return sha.hexdigest()


def _freeze(transform: Transform, *names: str) -> None:
    """Store each array as a read-only float32 copy, refusing values that would poison every vector."""
    for name in names:
        with np.errstate(over="ignore"):  # an overflow becomes infinity, which is refused below
            a = np.array(getattr(transform, name), dtype=np.float32, order="C")
        if not np.isfinite(a).all():
            raise BadVector(f"{name} of this {transform.kind} transform holds NaN or infinity: fit it again")
        object.__setattr__(transform, name, _locked(a))


def _locked(a: Array) -> Array:
    """A copy over immutable bytes: unlike a flag, that cannot be turned back. Transforms are shared by all callers."""
    return np.frombuffer(a.tobytes(), dtype=a.dtype).reshape(a.shape)


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise MissingExtra(
            "transform files need safetensors: pip install 'samespace[align]' or 'samespace[server]'"
        ) from error
    return safetensors.numpy
