"""Segments that samespace writes itself: Lance datasets at an acknowledged version."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from registry.backends.base import BLOCK_ROWS, Backend, Capability
from registry.batches import vectors_of
from registry.gallery import Dataset
from registry.vectors import Array

__all__ = ["LanceBackend"]


class LanceBackend(Backend):
    """A segment in `dataset` as it is at `lance_version`, where `acknowledged` rows must be."""

    capabilities: frozenset[Capability] = frozenset({"read", "places"})

    def __init__(
        self, gallery: str, version: str, id_type: str, dataset: Dataset, lance_version: int, acknowledged: int
    ) -> None:
        super().__init__(gallery, version, id_type)
        self.dataset = dataset
        self.lance_version = lance_version
        self.acknowledged = acknowledged

    @property
    def state(self) -> Hashable:
        """The dataset's address and version."""
        return self.dataset.uri, self.lance_version

    def check(self) -> None:
        """See `Dataset.check_rows`."""
        self.dataset.check_rows(self.lance_version, self.acknowledged)

    def count(self) -> int:
        """How many rows the dataset has at its version."""
        return self.dataset.count(self.lance_version)

    def ids(self) -> pa.Array:
        """The id column."""
        return self.dataset.column("id", self.lance_version)

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[pa.Array, Array]]:
        """Batches as Lance reads them."""
        for batch in self.dataset.batches(self.lance_version, ["id", "vector"], rows):
            yield batch.column("id"), vectors_of(batch.column("vector"))

    def addressed_blocks(
        self, rows: int = BLOCK_ROWS, *, fragments: Sequence[int] | None = None
    ) -> Iterator[tuple[pa.Array, Array, Array]]:
        """Ids, vectors and addresses of rows, of some `fragments` if they are named; see `Dataset.addressed`."""
        for batch, addresses in self.dataset.addressed(self.lance_version, ["id", "vector"], rows, fragments=fragments):
            yield batch.column("id"), vectors_of(batch.column("vector")), addresses

    def addresses(self, fragment: int) -> Array:
        """The addresses (m,) of the rows of one fragment."""
        found = [a for _, a in self.dataset.addressed(self.lance_version, [], BLOCK_ROWS, fragments=[fragment])]
        return np.concatenate(found) if found else np.empty(0, dtype=np.uint64)

    def fragments(self) -> dict[int, tuple[str, int]]:
        """See `Dataset.fragments`."""
        return self.dataset.fragments(self.lance_version)

    def fragment_rows(self) -> list[tuple[int, int]]:
        """The number of each fragment, in stored order, and how many rows it has."""
        return self.dataset.fragment_rows(self.lance_version)

    def rows(self, places: Array) -> Array:
        """Rows by their number."""
        return vectors_of(self.dataset.rows(places, self.lance_version, ["vector"])["vector"])

    def known(self, ids: pa.Array) -> pa.Array:
        """In a scan of the id column."""
        return self.dataset.known(ids, self.lance_version)

    def places(self, ids: pa.Array, *, near: Array | None = None) -> Array:
        """Where they are said to be, or else in a scan of the id column."""
        return self.dataset.places(ids, self.lance_version, near=near)

    def ids_at(self, places: Array) -> pa.Array:
        """Without reading the others."""
        return self.dataset.rows(places, self.lance_version, ["id"])["id"].combine_chunks()
