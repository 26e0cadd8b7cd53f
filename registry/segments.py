"""The segments of a gallery, each with the path by which it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.backends import Backend
from registry.backends.base import BLOCK_ROWS, chosen
from registry.errors import BadVector, Incompatible
from registry.index import ids_array
from registry.transforms import Transform
from registry.types import Path
from registry.vectors import Array, check_finite

if TYPE_CHECKING:  # the facts, which a node of a cluster reads segments without
    from registry.home import Home
    from registry.tables import GalleryRow

__all__ = ["Source", "blocks", "blocks_without", "held_by", "sources_of", "through"]


@dataclass(frozen=True, slots=True)
class Source:
    """A segment to read: where it is, by which path, through which transforms on the stored side."""

    stored: Backend
    rows: int
    path: Path
    chain: tuple[Transform, ...]

    @property
    def version(self) -> str:
        """Whose vectors these are."""
        return self.stored.version

    def mapped(self, ids: pa.Array, rows: Array, *, zeros: bool = False) -> Array:
        """Stored rows of `ids` in the path's space; an item that has no direction there is named."""
        try:
            return through(self.chain, rows, zeros=zeros)
        except BadVector as error:
            item = ids[error.row or 0].as_py()
            raise BadVector(
                f"the vector that {self.version} stored of item {item!r:.80} has no direction left in {self.path.space}: "
                f"leave the item out, or read it into {self.version}"
            ) from error


def through(chain: Sequence[Transform], rows: Array, *, side: Array | None = None, zeros: bool = False) -> Array:
    """Map rows through a chain; a row that ends as only zeros has no direction left, and is refused unless `zeros`."""
    for transform in chain:
        mapped = transform.apply(rows, side if transform.side_dim else None)
        rows = check_finite(mapped, what=f"vectors mapped by {transform.kind}", zeros=zeros)
    return rows.astype(np.float32, copy=False)


def sources_of(
    home: Home,
    row: GalleryRow,
    *,
    way: Callable[[str], Path],
    steps: Callable[[Path], Sequence[str]],
    wanted: pa.Array | None = None,
) -> list[Source]:
    """Every segment of a gallery that `way` can read, with the stored-side `steps` of its path, the best first.

    Raises:
        Incompatible: a segment cannot be read, and it holds items, of those `wanted`, that no other segment has.
    """
    found: list[Source] = []
    unread: list[tuple[Incompatible, pa.Array]] = []
    for segment in (s for s in row.segments if s.lance_version):
        version = segment.version
        stored = home.stored(row, segment)
        try:
            path = way(version.ref)
        except Incompatible as error:
            unread.append((error, stored.ids() if wanted is None else stored.known(wanted)))
            continue
        stored.check()
        chain = home.chain(steps(path), version.dim, normalize=version.metric == "cosine")
        found.append(Source(stored, segment.rows, path, tuple(chain)))
    for why, ids in unread:
        for source in found:
            ids = ids.filter(pc.invert(pc.is_in(ids, value_set=source.stored.ids())))
        if len(ids):
            raise why
    return sorted(found, key=_by_quality)


def _by_quality(source: Source) -> tuple[bool, float, int]:
    """Native vectors first, then those with the best evidence, then the shortest path."""
    path = source.path
    return (path.length > 0, -(path.evidence.value if path.evidence else 0.0), path.length)


def blocks(
    source: Source, better: Sequence[Source], rows: int = BLOCK_ROWS, *, zeros: bool = False,
    among: pa.Array | None = None,
) -> Iterator[tuple[Array, Array]]:  # fmt: skip
    """(ids, mapped rows) of a segment, without the items that a better segment holds: an item counts once.

    With `among` only of these items.

    A search admits `zeros`: an item that a map leaves without direction is close to nothing, and the rest is found.
    """
    return blocks_without(source, held_by(better), rows, zeros=zeros, among=among)


def blocks_without(
    source: Source, without: pa.Array | None, rows: int = BLOCK_ROWS, *, zeros: bool = False,
    among: pa.Array | None = None,
) -> Iterator[tuple[Array, Array]]:  # fmt: skip
    """The same, without the items that are named."""
    for ids, block in source.stored.blocks(rows):
        kept = chosen(ids, without=without, among=among)
        if kept is not None and not kept.all():
            ids, block = ids.filter(pa.array(kept)), block[kept]
        if len(ids):
            yield ids_array(ids), source.mapped(ids, block, zeros=zeros)


def held_by(sources: Sequence[Source]) -> pa.Array | None:
    """The ids of all items that these segments hold; None without segments."""
    return pa.concat_arrays([s.stored.ids() for s in sources]) if sources else None
