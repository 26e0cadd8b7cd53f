"""`Transform`: what all kinds share."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from registry.descriptions import check_depth
from registry.errors import BadVector, DimensionMismatch, InvalidInput, MissingExtra
from registry.vectors import Array, normalize

__all__ = [
    "SpaceTag",
    "Transform",
    "digest_of",
    "freeze",
    "locked",
    "mapped",
    "safetensors_numpy",
    "sound",
    "unpacked",
    "write_whole",
]

_BLOCK_BYTES = 8 << 20  # of one temporary: what is applied to a gallery stays in the cache between its steps
_SHORT, _LONG = 1e-18, np.inf  # lengths between which float32 squares neither vanish nor overflow


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
        if not isinstance(self.report, Mapping):
            raise InvalidInput(f"report must be a mapping of what was measured, got {self.report!r:.80}")
        check_depth("a report", self.report)
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
        """Map float32 rows (n, source_dim), or one row (source_dim,), to a new array; shape is already checked."""

    @classmethod
    @abstractmethod
    def _build(cls, arrays: dict[str, Array], header: dict[str, Any], **common: Any) -> Self:
        """Make one from what a file holds."""

    @property
    def side_dim(self) -> int:
        """Width of what the map must know of each row beside its vector; 0, for most kinds, is nothing."""
        return 0

    def apply(self, x: Array, side: Array | None = None) -> Array:
        """Map rows (n, source_dim) to float32 rows (n, target_dim); one row (source_dim,) gives one row.

        `side` (n, side_dim) belongs to kinds that need it, see `side_dim`, and to no other. Many rows are mapped a
        block at a time, so that temporaries stay small beside what is returned, which is always a new array.

        Raises:
            DimensionMismatch: the rows are not of the source's width; never guessed or cut.
            InvalidInput: `side` is missing, not wanted, or not of one row for each of x.
        """
        x = np.asarray(x)
        if x.shape[-1:] != (self.source_dim,) or x.ndim > 2:
            raise DimensionMismatch(
                f"this {self.kind} transform maps {self.source_dim} -> {self.target_dim} dimensions, got shape {x.shape}"
            )
        if side is not None or self.side_dim:
            side = self._checked(side, x)
        if x.ndim == 1:
            return self._block(x, side)
        if len(x) == 1:  # one query: vectors cost half of what matrices of one row do
            return self._block(x[0], None if side is None else side[0])[None]
        rows = max(1, _BLOCK_BYTES // (4 * self._widest))
        if len(x) <= rows:
            return self._block(x, side)
        y = np.empty((len(x), self.target_dim), dtype=np.float32)
        for start in range(0, len(x), rows):
            part = slice(start, start + rows)
            y[part] = self._block(x[part], None if side is None else side[part])
        return y

    @property
    def _widest(self) -> int:
        """Width of the widest rows on the way from source to target."""
        return max(self.source_dim, self.target_dim)

    def _block(self, x: Array, side: Array | None) -> Array:
        """Map checked rows (n, source_dim), or one row, that are few enough to be mapped at once."""
        x = x.astype(np.float32, copy=False)
        if not self.normalize:
            return self._map(x) if side is None else self._map_beside(x, side)
        x = _unit(x)
        return _scale_to_unit(self._map(x) if side is None else self._map_beside(x, side))

    def _checked(self, side: Array | None, x: Array) -> Array:
        wanted = (*x.shape[:-1], self.side_dim)
        if side is None or not self.side_dim or np.shape(side) != wanted:
            got = "none" if side is None else f"shape {np.shape(side)}"
            needs = f"needs side {wanted} beside each row" if self.side_dim else "takes no side"
            raise InvalidInput(f"this {self.kind} transform {needs}, got {got}")
        return np.asarray(side)

    def _map_beside(self, x: Array, side: Array) -> Array:
        """The same with side (n, side_dim), of any float type; kinds with a `side_dim` have it instead of `_map`."""
        raise NotImplementedError

    def between(self, source: SpaceTag, target: SpaceTag) -> Self:
        """A copy that knows which spaces it connects."""
        return replace(self, source=source, target=target)

    def digest(self) -> str:
        """sha-256, hex, over the header and the arrays: equal digests mean equal transforms."""
        return digest_of(self._header(), self.arrays())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file so that a reader sees all of it or nothing."""
        write_whole(Path(path), self.dumps())

    def dumps(self) -> bytes:
        """The bytes of the file."""
        arrays = {name: np.ascontiguousarray(a) for name, a in self.arrays().items()}
        header = self._header()
        metadata = {"samespace": json.dumps({**header, "sha256": digest_of(header, arrays)}, sort_keys=True)}
        return bytes(safetensors_numpy().save(arrays, metadata))

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


def mapped(chain: Iterable[Transform], x: Array, side: Array | None = None) -> Array:
    """Rows (n, d) through a chain; `side` (n, s) goes to the maps that need one, see `Transform.apply`."""
    for transform in chain:
        x = transform.apply(x, side if transform.side_dim else None)
    return x


def write_whole(target: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError:
        part.unlink(missing_ok=True)  # what there was room for
        raise


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Our header and the arrays of a safetensors file. MissingExtra, or whatever a damaged file makes a parser raise."""
    # The header comes first: its length as eight little-endian bytes, then JSON (the safetensors format).
    size = int.from_bytes(data[:8], "little")
    header = dict(json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["samespace"]))
    return header, dict(safetensors_numpy().load(data))


def digest_of(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """sha-256, hex, over a header without its checksum and the arrays by name, type, shape and bytes."""
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {a.dtype.str} {a.shape}".encode())
        sha.update(a.tobytes())
    return sha.hexdigest()


def freeze(transform: Transform, *names: str) -> None:
    """Store each array as a read-only float32 copy, refusing values that would poison every vector."""
    for name in names:
        object.__setattr__(transform, name, sound(transform, name, getattr(transform, name)))


def sound(transform: Transform, name: str, values: Array) -> Array:
    """A read-only float32 copy of an array of a transform; BadVector if it holds NaN or infinity."""
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which is refused below
        a = np.array(values, dtype=np.float32, order="C")
    if not np.isfinite(a).all():
        raise BadVector(f"{name} of this {transform.kind} transform holds NaN or infinity: fit it again")
    return locked(a)


def _unit(x: Array) -> Array:
    """`normalize` of float32 rows, quicker for a single one."""
    if x.ndim > 1:
        return normalize(x)
    length = math.sqrt(x.dot(x))
    return x / length if _SHORT < length < _LONG else normalize(x)


def _scale_to_unit(y: Array) -> Array:
    """The same in place: y is this module's own."""
    if y.ndim == 1:
        length = math.sqrt(y.dot(y))
        if not _SHORT < length < _LONG:
            return normalize(y)
        y /= length
        return y
    with np.errstate(over="ignore"):  # becomes infinity, and `normalize` knows what to do then
        lengths = np.sqrt(np.vecdot(y, y))
    if not (lengths.min(initial=1) > _SHORT and lengths.max(initial=1) < _LONG):
        return normalize(y)
    y /= lengths[:, None]
    return y


def locked(a: Array) -> Array:
    """A copy over immutable bytes: unlike a flag, that cannot be turned back. Transforms are shared by all callers."""
    return np.frombuffer(a.tobytes(), dtype=a.dtype).reshape(a.shape)


def safetensors_numpy() -> Any:
    """The library that reads and writes the files, imported where it is needed."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise MissingExtra(
            "transform files need safetensors: pip install 'samespace[align]' or 'samespace[server]'"
        ) from error
    return safetensors.numpy
