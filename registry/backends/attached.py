"""What all backends have in common whose vectors somebody else wrote, and goes on looking after."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.attachments import Attachment
from registry.backends.base import Backend
from registry.backends.engines import Engines
from registry.batches import id_column
from registry.errors import BadVector, CorruptFile, DimensionMismatch, DuplicateId, InvalidInput, SamespaceError
from registry.vectors import Array, Metric, as_rows, check_finite

__all__ = ["Attached", "Seen", "Writer", "is_uuid", "label_column"]


@dataclass(frozen=True, slots=True)
class Writer:
    """The version whose vectors are attached."""

    ref: str
    dim: int
    metric: Metric
    normalized: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What was there when it was last looked at: rows, the type of its ids, and facts (JSON) to notice a change by."""

    rows: int
    id_type: str
    facts: Mapping[str, Any]


class Attached(Backend):
    """Vectors of `writer` where `at` says, read and never written; `seen` is empty before the first look.

    `id_type` may be empty before the first look, which finds it out.
    """

    def __init__(
        self, gallery: str, writer: Writer, id_type: str, at: Attachment, engines: Engines, *,
        seen: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(gallery, writer.ref, id_type)
        self.writer = writer
        self.at = at
        self.engines = engines
        self.seen = seen or {}

    @abstractmethod
    def look(self) -> Seen:
        """Look at all of it, as closely as a batch is looked at that is appended.

        Raises:
            InvalidInput, DimensionMismatch, BadVector, DuplicateId: it can be no segment; what is wrong is named.
            CorruptFile, Unavailable: it cannot be read.
        """

    def changed(self, what: str) -> CorruptFile:
        """The error that says what changed, and how to accept it."""
        return CorruptFile(
            f"{self.at.name}, attached to {self.gallery}, changed: {what}; if that is meant, accept it with 'samespace "
            f"gallery attach {self.gallery} --version {self.version} --again', else put it back"
        )

    def clean(self, ids: pa.Array, vectors: Any) -> Array:
        """Vectors (m, d) of `ids` as they may be compared; the first that may not is named."""
        try:
            return check_finite(as_rows(vectors, dim=self.writer.dim))
        except BadVector as error:
            id = ids[error.row or 0].as_py()
            raise BadVector(
                f"the vector of {id!r:.80} in {self.at.name} holds NaN, infinity or only zeros: mend it there, or remove it",
                row=error.row,
            ) from error
        except DimensionMismatch as error:
            raise DimensionMismatch(f"{self.at.name}: {error}") from error

    def named(self, ids: Any) -> pa.Array:
        """Ids as they are there, checked and as an Arrow array."""
        try:
            return id_column(self.id_type, ids)
        except SamespaceError as error:
            raise InvalidInput(f"ids of {self.at.name}: {error}") from error

    def refuse_twice(self, ids: pa.Array) -> None:
        """Raise `DuplicateId` for an id that stands twice."""
        if len(ids) == pc.count_distinct(ids).as_py():
            return
        counts = pc.value_counts(ids)
        twice = counts.field(0)[int(np.argmax(counts.field(1).to_numpy(zero_copy_only=False)))].as_py()
        raise DuplicateId(f"{self.at.name} holds the id {twice!r:.80} more than once: give each item one row")

    def ordered(self, wanted: pa.Array, found: pa.Array, rows: Array) -> Array:
        """`rows` (u, d) of the ids `found`, in the order of `wanted` (m,). NotFound for the first that is not there."""
        places = pc.index_in(wanted, value_set=found)
        if places.null_count:
            raise self.unknown(wanted.filter(places.is_null())[0].as_py())
        ordered: Array = rows[places.to_numpy()]
        return ordered


def label_column(name: str, values: Sequence[Any] | pa.Array | pa.ChunkedArray, of: str) -> pa.Array:
    """Labels as they are stored: strings or int64, none of them missing. InvalidInput names the column and where it is."""
    try:
        column = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else pa.array(values)
    except (pa.ArrowException, TypeError) as error:
        raise InvalidInput(
            f"label column {name!r:.80} of {of} is of many types: labels are all strings or all whole numbers"
        ) from error
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_integer(column.type) and column.type != pa.uint64():
        column = column.cast(pa.int64())
    elif pa.types.is_large_string(column.type):
        column = column.cast(pa.string())
    if column.null_count or column.type not in (pa.string(), pa.int64()):
        what = "has no value in some row" if column.null_count else f"is of type {column.type}"
        raise InvalidInput(f"label column {name!r:.80} of {of} {what}: labels are all strings or all whole numbers")
    return column


def is_uuid(id: str) -> bool:
    """Whether a text is a UUID as it is written: an engine whose keys are some knows no other."""
    try:
        return str(UUID(id)) == id
    except ValueError:
        return False
