"""Reading transform files."""

from __future__ import annotations

import os
from pathlib import Path

from registry.errors import CorruptFile, MissingExtra
from registry.transforms.base import SpaceTag, Transform, digest_of, unpacked
from registry.transforms.linear import Affine, LowRank, Orthogonal, Prefix
from registry.transforms.mlp import Mlp
from registry.transforms.relative import Relative
from registry.transforms.slerp import Slerp

__all__ = ["KINDS", "load", "loads"]

KINDS: dict[str, type[Transform]] = {
    cls.kind: cls for cls in (Prefix, Orthogonal, Affine, LowRank, Mlp, Relative, Slerp)
}


def load(path: str | os.PathLike[str]) -> Transform:
    """Read a transform file, checking its checksum.

    Raises:
        CorruptFile: not a transform file, of an unknown kind, or changed since it was written.
    """
    return loads(Path(path).read_bytes(), name=os.fspath(path))


def loads(data: bytes, *, name: str = "transform") -> Transform:
    """Read a transform from the bytes of its file; see `load`."""
    try:
        header, arrays = unpacked(data)
        checksum = header.pop("sha256")
    except MissingExtra:
        raise
    except Exception as error:  # whatever a damaged file makes a parser raise
        raise CorruptFile(
            f"{name} is not a samespace transform: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error
    if digest_of(header, arrays) != checksum:
        raise CorruptFile(f"{name} fails its checksum: it was damaged or edited; fetch or fit it again")
    kind = KINDS.get(str(header.get("kind")))
    if kind is None:
        raise CorruptFile(
            f"{name} is of kind {header.get('kind')!r}, which this release does not know: upgrade samespace"
        )
    try:
        ends = {end: SpaceTag(**header[end]) if header[end] else None for end in ("source", "target")}
        return kind._build(arrays, header, normalize=header["normalize"], report=header["report"], **ends)
    except (KeyError, TypeError, ValueError) as error:  # InvalidInput is a ValueError
        raise CorruptFile(f"{name} does not hold what a {kind.kind} transform needs: {error!r}") from error
