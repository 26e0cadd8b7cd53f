"""Parts of a segment, as a node reads them: fragments of a Lance dataset at the version that was acknowledged."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path as FilePath

import pyarrow as pa

from registry.backends import LanceBackend
from registry.backends.base import BLOCK_ROWS
from registry.errors import Unavailable
from registry.gallery import Dataset, OpenDatasets
from registry.segments import Source
from registry.transforms import Transform, loads
from registry.types import Path
from registry.vectors import Array

__all__ = ["Segment", "grouped", "require_seen", "segment_of", "shared_out", "source_of"]


@dataclass(frozen=True, slots=True)
class Segment:
    """What a node needs to know to read a segment into the space of a path: where it is, at which version, by which maps."""

    gallery: str
    version: str
    id_type: str
    uri: str
    lance_version: int
    rows: int
    path: Path
    chain: tuple[bytes, ...]


class _Fragments(LanceBackend):
    """Some fragments of a segment, in their order; None for all."""

    some: Sequence[int] | None = None

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[pa.Array, Array]]:
        """The blocks that a scan of the whole segment gives of these fragments."""
        for ids, vectors, _ in self.addressed_blocks(rows, fragments=self.some):
            yield ids, vectors


def segment_of(source: Source, stored: LanceBackend) -> Segment:
    """A source, whose vectors are `stored` as Lance, in the form that a node reads it."""
    return Segment(
        stored.gallery, stored.version, stored.id_type, str(stored.dataset.uri), stored.lance_version, source.rows,
        source.path, tuple(transform.dumps() for transform in source.chain),
    )  # fmt: skip


def source_of(segment: Segment, fragments: Sequence[int] | None = None) -> Source:
    """The source on a node, of some fragments if they are named.

    Raises:
        Unavailable: the node does not see the folder.
    """
    require_seen(segment.uri)
    dataset = Dataset(segment.uri, _opened())
    stored = _Fragments(segment.gallery, segment.version, segment.id_type, dataset, segment.lance_version, segment.rows)
    stored.some = fragments
    return Source(stored, segment.rows, segment.path, _chain(segment.chain))


def require_seen(uri: str) -> None:
    """Refuse a segment in a folder that this node does not see."""
    if not uri.startswith("s3://") and not FilePath(uri).is_dir():
        raise Unavailable(
            f"{uri} is not there on the node {platform.node()}: keep galleries in a folder that every node sees, or in an "
            "object store"
        )


@cache
def _opened() -> OpenDatasets:
    """What this worker has open."""
    return OpenDatasets()


@lru_cache(16)
def _chain(files: tuple[bytes, ...]) -> tuple[Transform, ...]:
    return tuple(loads(data) for data in files)


def grouped(stored: LanceBackend, rows: int) -> list[tuple[int, ...]]:
    """The fragments of a segment, in the order of a scan, side by side in groups of `rows` rows or one fragment."""
    groups: list[tuple[int, ...]] = []
    size = rows
    for number, held in stored.fragment_rows():
        if size >= rows:
            groups.append(())
            size = 0
        groups[-1] = (*groups[-1], number)
        size += held
    return groups


def shared_out(stored: LanceBackend, shares: int, least: int) -> list[tuple[int, ...]]:
    """The fragments in at most so many groups of about as many rows, side by side; none of fewer than `least` but the last."""
    held = stored.fragment_rows()
    total = sum(rows for _, rows in held)
    size = max(least, -(-total // max(1, shares)))
    return grouped(stored, size)
