"""What travels between a server and its client: facts as JSON, vectors as Arrow IPC streams, both read with care.

A stream holds record batches of one schema. What a batch belongs to (space, paths) stands in its custom metadata, and so
does an error that came up when part of the stream had been sent.
"""

from __future__ import annotations

import io
import json
import math
import struct
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

from registry import errors
from registry.errors import InvalidInput, SamespaceError, TooLarge, Unavailable
from registry.vectors import Array

__all__ = ["ARROW", "error_of", "from_json", "matrix", "read", "said", "to_json", "vectors", "write"]

ARROW = "application/vnd.apache.arrow.stream"
"""The media type of an Arrow IPC stream."""

LARGEST_MESSAGE = 256 << 20
"""Bytes of one record batch that a reader takes; writers send about 8 MiB at a time."""

BATCH_BYTES = 8 << 20

T = TypeVar("T")


# Facts


def to_json(value: Any) -> Any:
    """Plain JSON values: dataclasses with their derived facts (such as `ref`), moments as ISO 8601 in UTC.

    JSON has no NaN and no infinity: they become null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(getattr(value, name)) for name in _names(type(value))}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@cache
def _names(cls: type[Any]) -> tuple[str, ...]:
    """The fields of a dataclass, then its public properties."""
    derived = (name for name, item in vars(cls).items() if isinstance(item, property) and not name.startswith("_"))
    return (*(f.name for f in fields(cls)), *derived)


def from_json(cls: Callable[..., T], data: Any) -> T:
    """The dataclass `cls` of what `to_json` made of it; fields that are not known here, of a newer server, are ignored."""
    with understood(getattr(cls, "__name__", "what was asked for")):
        made: T = _decoded(cls, data)
    return made


def json_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object that an answer holds; a field that it lacks is `Unavailable` too."""
    with understood("JSON object"):
        return _Object(json.loads(text))


class _Object(dict[str, Any]):
    def __missing__(self, key: str) -> Any:
        raise Unavailable(f"the answer lacks {key!r:.80}: is this a samespace server of this release?")


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Say that an answer is something else than `what`, in whatever way reading it fails.

    Raises:
        Unavailable: the other side is broken, or no samespace server.
    """
    try:
        yield
    except SamespaceError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise Unavailable(
            f"the answer is no {what} ({_first_line(error)}): is this a samespace server of this release?"
        ) from error


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


def _decoded(kind: Any, data: Any) -> Any:
    if is_dataclass(kind):
        hints = _hints(kind)  # type: ignore[arg-type]
        return kind(**{name: _decoded(hints[name], data[name]) for name in hints if name in data})  # type: ignore[operator]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if data is None:
            return None
        return _decoded(next(a for a in arguments if a is not type(None)), data) if type(None) in arguments else data
    if origin is tuple:
        return tuple(_decoded(arguments[0], item) for item in data)
    if origin is list:
        return [_decoded(arguments[0], item) for item in data]
    if origin is not None and origin is not Literal and issubclass(origin, Mapping):
        return {key: _decoded(arguments[1], item) for key, item in data.items()}
    if kind is datetime:
        return datetime.fromisoformat(data)
    if kind is float:
        return math.nan if data is None else float(data)
    return data


# Errors


def said(error: SamespaceError) -> dict[str, Any]:
    """An error as JSON."""
    more = {name: getattr(error, name) for name in ("row", "report") if getattr(error, name, None) is not None}
    return {"code": error.code, "message": str(error), **to_json(more)}


def error_of(data: Any) -> SamespaceError:
    """The error that `said` made JSON of: the same class here."""
    if not isinstance(data, Mapping):
        return SamespaceError("the other side tells of an error, and gives no reason")
    cls = errors.from_code(str(data.get("code", "")))
    more = {name: data[name] for name, kind in (("row", int), ("report", Mapping)) if isinstance(data.get(name), kind)}
    try:
        return cls(str(data.get("message", "no reason given")), **more)
    except TypeError:  # a newer server says more of this class than we know
        return cls(str(data.get("message", "no reason given")))


# Vectors


def vectors(rows: Array, dtype: str = "float32") -> pa.Array:
    """A matrix (n, d) as a column of n lists, float32 or float16."""
    with np.errstate(over="ignore"):
        flat = np.ascontiguousarray(rows, dtype=dtype).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), rows.shape[1])


def matrix(column: pa.Array) -> Array:
    """A column of lists as the matrix (n, d) float32 that it is."""
    dim = column.type.list_size
    rows: Array = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return rows.astype(np.float32, copy=False)


def rows_of(dim: int, itemsize: int = 4) -> int:
    """How many rows of vectors make a batch of the usual size."""
    return max(1, BATCH_BYTES // (dim * itemsize))


def write(
    schema: pa.Schema, batches: Iterable[tuple[pa.RecordBatch, Mapping[str, Any]]], *, answer: bool = True
) -> Iterator[bytes]:
    """The pieces of a stream of batches, each with what is to be said of it.

    An error that `batches` raises ends an answer, and is said in it; it breaks a request off.
    """
    sink = _Pieces()
    writer = pa.ipc.new_stream(sink, schema)
    yield from sink.taken()
    try:
        for batch, about in batches:
            writer.write_batch(batch, custom_metadata={"samespace": json.dumps(about)} if about else None)
            yield from sink.taken()
    except SamespaceError as error:
        if not answer:
            raise
        writer.write_batch(_empty(schema), custom_metadata={"samespace": json.dumps({"error": said(error)})})
    writer.close()
    yield from sink.taken()


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


class _Pieces(io.RawIOBase):
    """A file that keeps what is written until it is taken, small writes joined."""

    _SMALL = 1 << 16

    def __init__(self) -> None:
        self._whole: list[bytes] = []
        self._small = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if len(data) < self._SMALL:
            self._small += data
        else:
            self._flush_small()
            self._whole.append(bytes(data))
        return len(data)

    def taken(self) -> Iterator[bytes]:
        self._flush_small()
        pieces, self._whole = self._whole, []
        yield from pieces

    def _flush_small(self) -> None:
        if self._small:
            self._whole.append(bytes(self._small))
            self._small = bytearray()


def read(
    source: Any, *, check: Callable[[pa.Schema], None] | None = None, answer: bool = True
) -> Iterator[tuple[pa.RecordBatch, dict[str, Any]]]:
    """The batches of a stream, each with what is said of it. `source` has `read(n)`, or is bytes.

    An `answer` may end with an error that the server met, which is raised; in a request that is a mistake like others.

    Nothing is believed: a schema that `check` refuses, compressed or oversized batches and lengths that do not fit are
    refused before memory is taken for them.

    Raises:
        InvalidInput: this is no such stream, or it is cut off.
        TooLarge: a batch is larger than a reader takes.
        SamespaceError: the error that the other side met.
    """
    source = io.BytesIO(source) if isinstance(source, bytes) else source
    start = _message(source, b"")
    if start is None:
        raise InvalidInput("the Arrow stream is empty: it begins with a schema")
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(start))
        if check is not None:
            check(schema)
    except SamespaceError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # also names of columns that are no text
        raise InvalidInput(f"this is no Arrow stream: {_first_line(error)}") from error
    while (message := _message(source, start)) is not None:
        batch, about = _batch(message)
        if "error" in about:
            raise error_of(about["error"]) if answer else InvalidInput("the sender of the Arrow stream gave up")
        yield batch, about


def _batch(message: Array) -> tuple[pa.RecordBatch, dict[str, Any]]:
    """The batch of a schema and one message, without a copy."""
    try:
        reader = pa.ipc.open_stream(pa.BufferReader(pa.py_buffer(message)))
        batch, metadata = reader.read_next_batch_with_custom_metadata()
        batch.validate(full=True)
        about = json.loads(metadata[b"samespace"]) if metadata and b"samespace" in metadata else {}
    except (pa.ArrowException, OSError, ValueError, StopIteration, RecursionError) as error:
        raise InvalidInput(f"a batch of the Arrow stream cannot be read: {_first_line(error)}") from error
    if not isinstance(about, dict):
        raise InvalidInput(f"what is said of a batch of the Arrow stream is no JSON object: {about!r:.80}")
    return batch, about


_CONTINUED = b"\xff\xff\xff\xff"
_LONGEST_HEADER = 1 << 20
_SCHEMA, _RECORDS = 1, 3


def _message(source: Any, before: bytes | Array) -> Array | None:
    """The next message of a stream, placed behind `before`; None at the end that a writer marks."""
    head = _exactly(source, 8)
    length = int.from_bytes(head[4:], "little")
    if head[:4] != _CONTINUED or length > _LONGEST_HEADER:
        raise InvalidInput("this is no Arrow IPC stream: send one with the media type " + ARROW)
    if not length:
        return None
    header = _exactly(source, length)
    kind, body = _facts_of(header)
    if kind != (_RECORDS if len(before) else _SCHEMA):
        raise InvalidInput("the Arrow stream holds a message that is no record batch: send plain columns")
    if not 0 <= body <= LARGEST_MESSAGE:
        raise TooLarge(f"a batch of {body} bytes is more than {LARGEST_MESSAGE}: send smaller batches")
    whole = np.empty(len(before) + 8 + length + body, dtype=np.uint8)
    whole[: len(before)] = np.frombuffer(before, dtype=np.uint8)
    place = len(before)
    for part in (head, header):
        whole[place : place + len(part)] = np.frombuffer(part, dtype=np.uint8)
        place += len(part)
    _fill(source, memoryview(whole.data)[place:])
    return whole


def _facts_of(header: bytes) -> tuple[int, int]:
    """Kind and body length of a message, of its flatbuffer; compressed bodies are refused: they may grow without bound.

    The tables are those of Arrow's Message.fbs: a message has version, header_type, header, bodyLength; a record batch
    has length, nodes, buffers, compression.
    """
    try:
        (root,) = struct.unpack_from("<I", header, 0)
        kind = _field(header, root, 1, "<B", 0)
        body = _field(header, root, 3, "<q", 0)
        if kind == _RECORDS:
            place = _slot(header, root, 2)
            table = place + struct.unpack_from("<I", header, place)[0]
            if _slot(header, table, 3):
                raise InvalidInput("the Arrow stream is compressed: send it as it is")
    except (struct.error, TypeError) as error:
        raise InvalidInput("a message of the Arrow stream is damaged: send it again") from error
    return kind, body


def _field(header: bytes, table: int, number: int, form: str, default: int) -> int:
    place = _slot(header, table, number)
    return int(struct.unpack_from(form, header, place)[0]) if place else default


def _slot(header: bytes, table: int, number: int) -> int:
    """Where field `number` of a flatbuffer's table lies; 0 if it is left out."""
    lists = table - struct.unpack_from("<i", header, table)[0]
    if lists < 0:
        raise struct.error("a table before the buffer")
    (size,) = struct.unpack_from("<H", header, lists)
    if 4 + 2 * number >= size:
        return 0
    (offset,) = struct.unpack_from("<H", header, lists + 4 + 2 * number)
    return table + offset if offset else 0


def _exactly(source: Any, n: int) -> bytes:
    buffer = bytearray(n)
    _fill(source, memoryview(buffer))
    return bytes(buffer)


def _fill(source: Any, view: memoryview) -> None:
    """Read until `view` is full."""
    place = 0
    while place < len(view):
        piece = source.read(min(len(view) - place, 1 << 20))
        if not piece:
            raise InvalidInput("the Arrow stream is cut off: send it again whole")
        view[place : place + len(piece)] = piece
        place += len(piece)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["unreadable"])[0][:200]
