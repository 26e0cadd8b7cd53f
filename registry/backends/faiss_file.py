"""A saved FAISS index: searched as it is; its vectors are read only where the index can give them back.

FAISS parses a file in C++, which a hostile file could misuse: it is the operator who attaches one, its sha-256 is kept, and
a process holds the file against that before it parses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
import pyarrow as pa

from registry.backends.attached import Seen
from registry.backends.base import BLOCK_ROWS, Capability
from registry.backends.faiss_index import asked, given_back, numbers_of, reads, sign
from registry.backends.files import AttachedFiles, as_ids, ids_in, reading, type_of
from registry.copying import digest_of_file
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput
from registry.index import empty_hits
from registry.vectors import Array, Metric, normalize

__all__ = ["FaissBackend"]

faiss: Any = _faiss  # its stubs lack half of it
_CAN: frozenset[Capability] = frozenset({"search"})
_SAMPLE, _UNEVEN = 256, 0.05  # rows that are looked at, and how far a compressed vector's length may be from 1


@dataclass(frozen=True, slots=True)
class _Opened:
    """A parsed index: the number (n,) by which it calls each of its rows, in order, and the digest of its file.

    `order` (n,) sorts the numbers; None where they are the positions.
    """

    index: Any
    numbers: Array
    order: Array | None
    digest: str
    reads: bool


class FaissBackend(AttachedFiles):
    """The rows of an index; their ids are its own, or those of a file beside it, one for each row from 0."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Vectors are read, and rows found by number, where the index can give them back: it is opened to know."""
        return _CAN | {"read", "places"} if self.opened.reads else _CAN

    def files(self) -> list[Path]:
        """The index, and the file of ids if there is one."""
        return [Path(self.at.where), *([Path(self.at.ids)] if self.at.ids else [])]

    @cached_property
    def opened(self) -> _Opened:
        """The index, parsed once in a process."""
        path = self.at.where
        found = self.engines.get(("faiss", path), self._parsed, state=tuple(self.states[path]))
        if found.index.d != self.writer.dim:
            raise DimensionMismatch(
                f"{self.at.name} has {found.index.d} dimensions, {self.version} has {self.writer.dim}"
            )
        return found

    def _parsed(self) -> _Opened:
        path = Path(self.at.where)
        with reading(path):
            digest = digest_of_file(path, lambda _: None)
            if self.seen.get("sha256") not in (None, digest):
                raise self.changed("the sha-256 of the index is another")
            try:
                index = faiss.read_index(str(path))
            except RuntimeError as error:
                raise CorruptFile(
                    f"{path.name} is no index that FAISS reads: write it with faiss.write_index"
                ) from error
        numbers = numbers_of(index)
        order = None if np.array_equal(numbers, np.arange(len(numbers))) else np.argsort(numbers, kind="stable")
        return _Opened(index, numbers, order, digest, reads(index))

    def look(self) -> Seen:
        """The ids, the metric, and the vectors if they can be read."""
        index = self.opened.index
        sign(index, self.writer.metric, self.writer.normalized, self.at.name)
        found = super().look()
        self._check_lengths()
        return Seen(found.rows, found.id_type, {**found.facts, "sha256": self.opened.digest})

    def found_type(self) -> str:
        """That of the file of ids; an index's own are whole numbers."""
        return type_of(self._ids.type, self.at.name)

    def ids(self) -> pa.Array:
        """In the order of the index's rows."""
        return as_ids(self.id_type, self._ids)

    def _check_lengths(self) -> None:
        """An inner product is a cosine of vectors of length 1 alone."""
        if self.writer.metric != "cosine":
            return
        some = (
            self.rows(np.unique(np.linspace(0, len(self._ids) - 1, _SAMPLE).astype(np.int64)))
            if self.opened.reads
            else None
        )
        lengths = np.ones(1) if some is None else np.linalg.norm(some.astype(np.float64), axis=1)
        if not (self.writer.normalized if some is None else np.abs(lengths - 1).max() < _UNEVEN):
            raise InvalidInput(
                f"{self.version} is compared by cosine, and {self.at.name} holds vectors of other lengths than 1, whose "
                "inner products are none: normalise them before they are indexed, or register a version with metric dot"
            )

    @cached_property
    def _ids(self) -> pa.Array:
        return self.engines.get(("ids", self.at.where, self.at.ids), self._read_ids, state=self.state)

    def _read_ids(self) -> pa.Array:
        if not self.at.ids:
            return pa.array(self.opened.numbers)
        found, numbers = ids_in(Path(self.at.ids)), self.opened.numbers
        if len(found) != len(numbers) or not np.array_equal(numbers, np.arange(len(numbers))):
            raise InvalidInput(
                f"{Path(self.at.ids).name} holds {len(found)} ids for an index of {len(numbers)} rows, which it numbers from "
                f"{numbers.min(initial=0)} to {numbers.max(initial=0)}: give one id for each row, of an index without its own"
            )
        return found

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[pa.Array, Array]]:
        """As the index gives them back: those of a compressed one are not quite what was put in."""
        ids = self.ids()
        for start in range(0, len(ids), rows):
            yield ids.slice(start, rows), self.rows(np.arange(start, min(start + rows, len(ids))))

    def rows(self, places: Array) -> Array:
        """See `blocks`. InvalidInput if the index cannot."""
        opened = self.opened
        if not opened.reads:
            raise InvalidInput(
                f"the index of {self.at.name} cannot give its vectors back: it is searched by versions that are mapped "
                f"into {self.version}; for all else append the vectors to a gallery"
            )
        found = given_back(opened.index, opened.numbers, np.asarray(places, dtype=np.int64))
        return self.clean(self.ids_at(places), found)

    def search(
        self, queries: Array, k: int, *, metric: Metric, without: pa.Array | None = None, among: pa.Array | None = None
    ) -> tuple[Array, Array]:
        """By the index; where it cannot leave items out itself, by asking for more."""
        opened = self.opened
        turned = sign(opened.index, metric, self.writer.normalized, self.at.name)
        rows = np.ascontiguousarray(normalize(queries) if metric == "cosine" else queries, dtype=np.float32)
        selector = None
        if among is not None or (without is not None and len(without)):
            selector = self._selector(without, among)
        distances, numbers = asked(opened.index, rows, k, selector)
        ids, scores = empty_hits(len(rows), k, string_ids=self.id_type == "string")
        found = numbers >= 0
        place = numbers[found]
        if opened.order is not None:
            place = opened.order[np.searchsorted(opened.numbers, place, sorter=opened.order)]
        ids[found] = self.ids().take(pa.array(place)).to_numpy(zero_copy_only=False)
        scores[found] = turned(distances[found])
        return ids, scores

    def _selector(self, without: pa.Array | None, among: pa.Array | None) -> Array:
        """The numbers of the rows that are searched."""
        kept = np.ones(len(self.opened.numbers), dtype=bool)
        if among is not None:
            kept[:] = False
            kept[self._places_of(among)] = True
        if without is not None:
            kept[self._places_of(without)] = False
        numbers: Array = self.opened.numbers[kept]
        return numbers

    def _places_of(self, ids: pa.Array) -> Array:
        places = self.places(ids)
        found: Array = places[places >= 0]
        return found
