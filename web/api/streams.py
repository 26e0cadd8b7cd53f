"""Arrow streams that requests bring: read a batch at a time, with columns that are checked before memory is taken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from http import HTTPStatus

import pyarrow as pa

from registry import wire
from registry.errors import InvalidInput, SamespaceError, TooLarge
from web import limits
from web.errors import status_of

__all__ = ["SIDE", "batches", "own", "whole"]

SIDE = "side:"
"""How the names of columns begin that hold queries as another version embeds them."""

_PLAIN = (pa.string(), pa.int64())
_MOST_BYTES = 256 << 20  # of queries, ids or vectors that are held whole


def batches(needed: Collection[str], *, plain: Collection[pa.DataType] = _PLAIN) -> Iterator[pa.RecordBatch]:
    """The batches of the body, with columns of vectors and of `plain` types that hold at least the `needed` ones."""

    def check(schema: pa.Schema) -> None:
        missing = set(needed) - set(schema.names)
        if missing:
            raise InvalidInput(
                f"the Arrow stream lacks the column {sorted(missing)[0]!r}: it has {schema.names!r:.200}"
            )
        if len(set(schema.names)) < len(schema.names):
            raise InvalidInput(f"the Arrow stream has a column twice: {schema.names!r:.200}")
        for field in schema:
            _check_field(field, plain)

    for batch in _read(check):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if column.null_count or (pa.types.is_fixed_size_list(column.type) and column.flatten().null_count):
                raise InvalidInput(f"the column {name!r:.80} has empty values: leave such rows out")
        yield batch


def _read(check: Callable[[pa.Schema], None]) -> Iterator[pa.RecordBatch]:
    """The batches of the body. An error that its sender tells of is the sender's, whatever it calls it."""
    try:
        for batch, _ in wire.read(limits.vectors(), check=check, answer=False):
            yield batch
    except SamespaceError as error:
        if status_of(error) < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        raise InvalidInput(f"the stream ends with an error of its sender: {error}") from error


def _check_field(field: pa.Field, plain: Collection[pa.DataType]) -> None:
    kind = field.type
    if field.name in ("vector", "query") or field.name.startswith(SIDE):
        if not (
            pa.types.is_fixed_size_list(kind) and kind.value_type in (pa.float32(), pa.float16()) and kind.list_size
        ):
            raise InvalidInput(
                f"the column {field.name!r:.80} must be lists of one length, of float32 or float16, got {kind}"
            )
    elif kind not in plain:
        raise InvalidInput(f"the column {field.name!r:.80} must be {' or '.join(map(str, plain))}, got {kind}")


def own(column: pa.Array) -> pa.Array:
    """A copy: ids and labels are kept until the end, and would keep the vectors that they came with."""
    return pa.concat_arrays([column, column.slice(0, 0)])


def whole(batches: Iterable[pa.RecordBatch]) -> Mapping[str, pa.Array]:
    """The columns of a body that is held in memory."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size > _MOST_BYTES:
            raise TooLarge(f"the body holds more than {_MOST_BYTES} bytes: ask in parts")
    if not held:
        raise InvalidInput("the Arrow stream holds no rows: send at least one")
    table = pa.Table.from_batches(held)
    return {name: table[name].combine_chunks() for name in table.column_names}
