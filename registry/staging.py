"""A batch on its way to disk: tables that come one by one, written as files that nothing refers to yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from registry.gallery import Dataset

__all__ = ["Staging", "staging"]

_ROWS = 1 << 17
_BYTES = 64 << 20


class Staging:
    """Files of one dataset that are to be appended after `state`. Tables wait until enough have come to fill one."""

    def __init__(self, dataset: Dataset, state: int) -> None:
        self.fragments: list[Any] = []
        self.published = False
        self._dataset, self._state = dataset, state
        self._waiting: list[pa.Table] = []
        self._rows = self._bytes = 0  # counted: there may be a table for each row

    def add(self, table: pa.Table) -> None:
        """Take a table; all have one schema."""
        self._waiting.append(table)
        self._rows, self._bytes = self._rows + len(table), self._bytes + table.nbytes
        if self._rows >= _ROWS or self._bytes >= _BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self.fragments += self._dataset.stage(pa.concat_tables(self._waiting), self._state)
            self._waiting, self._rows, self._bytes = [], 0, 0

    def publish(self, schema: pa.Schema, version: int) -> int:
        """Append the files after `version`; return the new version. They stay even if that fails half-way."""
        self.published = True
        return self._dataset.publish(self.fragments, schema, version)


@contextmanager
def staging(dataset: Dataset, state: int) -> Iterator[Staging]:
    """A new batch; its files go again unless the block publishes them."""
    made = Staging(dataset, state)
    try:
        yield made
    finally:
        if not made.published:
            dataset.discard(made.fragments)
