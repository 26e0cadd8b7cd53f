"""What an encoder is given of each item: its id, its stored preview, or a column of a Parquet file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from registry.encoding import Inputs
from registry.errors import InvalidInput, NotFound

__all__ = ["Read", "opened"]

Read = Callable[[Sequence[Any]], Inputs]
"""Ids (n,) of items to what is encoded of them (n,)."""

_PREVIEWS_AT_ONCE = 100
_ROWS = 8192
_MOST_PICTURE_BYTES = 64 << 20


class _Previews(Protocol):
    def previews(self, gallery: str, ids: Any) -> Any:
        """See `Registry.previews`."""


@contextmanager
def opened(registry: _Previews, gallery: str, inputs: str) -> Iterator[Read]:
    """How the inputs of items are read, while the block runs; `inputs` is `ids`, `previews` or FILE.parquet:COLUMN.

    Of a file, a column of bytes holds pictures, one whose name is `path` or ends so the paths of pictures, from where the
    file is, and any other one of strings texts. Its ids are in a column `id`.

    Raises:
        InvalidInput: a file that is no Parquet file with these columns.
    """
    if inputs == "ids":
        yield lambda ids: {"ids": list(ids)}
    elif inputs == "previews":
        yield lambda ids: _previews(registry, gallery, ids)
    else:
        file, _, column = inputs.rpartition(":")
        with tempfile.TemporaryDirectory(prefix="samespace-inputs-") as folder:
            yield _Column(Path(file), column, Path(folder) / "inputs.arrow")


def _previews(registry: _Previews, gallery: str, ids: Sequence[Any]) -> Inputs:
    found: dict[Any, Any] = {}
    for start in range(0, len(ids), _PREVIEWS_AT_ONCE):
        found |= registry.previews(gallery, list(ids[start : start + _PREVIEWS_AT_ONCE]))
    _refuse_missing([id for id in ids if id not in found], f"{gallery} has no preview of")
    values = [found[id] for id in ids]
    texts = sum(isinstance(value, str) for value in values)
    return {"texts": values} if texts == len(values) else {"pictures": values}


def _refuse_missing(missing: Sequence[Any], what: str) -> None:
    if missing:
        more = f" and {len(missing) - 1:,} more of this batch" if len(missing) > 1 else ""
        raise NotFound(f"{what} item {missing[0]!r:.80}{more}, so nothing can be encoded of it: add it, then resume")


class _Column:
    """A column of a Parquet file by id. It is copied once to where rows can be read by their number, without being held."""

    def __init__(self, file: Path, column: str, copy: Path) -> None:
        self._file, self._column = file, column
        kind = self._copied(file, column, copy)
        rows = pa.ipc.open_file(pa.memory_map(str(copy))).read_all()
        self._values, self._where = rows["value"], {id: row for row, id in enumerate(rows["id"].to_pylist())}
        is_path = column == "path" or column.endswith("_path")
        self._kind = "pictures" if kind == "bytes" else "paths" if is_path else "texts"

    def __call__(self, ids: Sequence[Any]) -> Inputs:
        """What is encoded of these items. NotFound names one that the file lacks."""
        _refuse_missing([id for id in ids if id not in self._where], f"{self._file} has no row of")
        rows = [self._values[self._where[id]].as_py() for id in ids]  # `take` of text would join the whole column first
        _refuse_missing(
            [id for id, value in zip(ids, rows, strict=True) if value is None], f"{self._file} is empty for"
        )
        if self._kind == "texts":
            return {"texts": rows}
        return {"pictures": [self._picture(path) for path in rows] if self._kind == "paths" else rows}

    def _picture(self, path: str) -> bytes:
        try:
            with (self._file.parent / path).open("rb") as file:
                data = file.read(_MOST_PICTURE_BYTES + 1)
        except OSError as error:
            raise NotFound(f"{path:.200} cannot be read: {error.strerror}; mend it, then resume") from error
        if len(data) > _MOST_PICTURE_BYTES:
            raise InvalidInput(f"{path:.200} has more than {_MOST_PICTURE_BYTES} bytes: make it smaller, then resume")
        return data

    def _copied(self, file: Path, column: str, copy: Path) -> str:
        """Copy ids and values, some rows at a time; `bytes` or `text`, as they are."""
        import pyarrow.parquet as pq

        try:
            source = pq.ParquetFile(file)
            names = source.schema_arrow.names
            missing = [name for name in ("id", column) if name not in names]
            if missing:
                raise InvalidInput(f"{file} has no column {missing[0]!r:.80}: it has {', '.join(names):.200}")
            id_kind = pa.int64() if pa.types.is_integer(source.schema_arrow.field("id").type) else pa.string()
            kind = _kind_of(source.schema_arrow.field(column), file)
            schema = pa.schema({"id": id_kind, "value": kind})
            with pa.OSFile(str(copy), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                for batch in source.iter_batches(batch_size=_ROWS, columns=list(dict.fromkeys(["id", column]))):
                    table = pa.Table.from_batches([batch])
                    writer.write_table(pa.table([table["id"], table[column]], names=["id", "value"]).cast(schema))
        except (OSError, pa.ArrowException) as error:
            first = (str(error).splitlines() or ["unreadable"])[0]
            raise InvalidInput(f"{file} is no Parquet file that can be read: {first:.200}") from error
        return "bytes" if kind == pa.large_binary() else "text"


def _kind_of(field: pa.Field, file: Path) -> pa.DataType:
    if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
        return pa.large_binary()
    if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
        return pa.large_string()
    raise InvalidInput(f"the column {field.name!r:.80} of {file} must hold texts, paths or pictures, got {field.type}")
