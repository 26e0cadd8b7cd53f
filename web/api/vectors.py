"""Routes of vectors, Arrow IPC streams both ways, read and written a few MiB at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from flask import Response
from pydantic import BaseModel, Field

from registry import wire
from registry.batches import id_type
from registry.errors import InvalidInput, TooLarge
from registry.types import Embeddings, Hits
from registry.vectors import Array
from web import transfers, visible
from web.access import caller
from web.api.base import ARROW_ANSWER, Arrow, Query, blueprint, covers, idempotency_key, json_answer, tag
from web.api.galleries import GalleryPath
from web.api.streams import SIDE, batches, own, whole
from web.current import current_registry
from web.observing import count_rows

TAG = tag("vectors", "Append, delete, fetch, scan, search and convert: Arrow IPC streams both ways")

_MOST_SCORES = 1 << 24
_ITEMS = 1 << 16

Form = Literal["float32", "float16"]


class Space(Query):
    """Into which space, and how it travels."""

    into: str = Field(description="the space, such as products/2, products/2[:64] or relative/landmarks")
    allow_unmeasured: bool = Field(False, description="take a path that nobody measured")
    dtype: Form = Field("float32", description="of the vectors on the wire; float16 halves them")


class ScanSpace(Space):
    """And in which blocks."""

    rows: int = Field(65536, ge=1, le=1 << 20, description="most rows of a block")


class Append(Query):
    """Who made the vectors."""

    version: str
    fingerprint: str | None = Field(None, description="of the encoder: must be the version's")


class Search(Query):
    """Who made the queries, and how many items are wanted."""

    version: str
    k: int = 10
    allow_unmeasured: bool = False
    shortlist: int | None = None
    candidates: int | None = None
    fingerprint: str | None = None
    calibrate: bool = True
    where: str | None = Field(
        None, max_length=2000, description='label columns and their values, as JSON: {"class": ["shoe", "boot"]}'
    )


class Conversion(Query):
    """From which space into which."""

    source: str
    into: str
    allow_unmeasured: bool = False
    dtype: Form = "float32"


class Shared(Query):
    """Items that all of these versions embedded."""

    versions: list[str]
    label: str | None = None
    rows: int = Field(65536, ge=1, le=1 << 20)


class Stored(BaseModel):
    """How many rows were stored."""

    rows: int


class Gone(BaseModel):
    """How many items went."""

    items: int


@blueprint.post("/galleries/<name>/append", tags=TAG, responses={200: Stored})
def append(path: GalleryPath, query: Append, raw: Arrow) -> Response:
    """Store vectors that a version made: columns id, vector, and one for each label. All are stored, or nothing.

    With the header Idempotency-Key a repeated request stores nothing, and is answered as the first one was.
    """
    caller().require("writer", galleries=[path.name])
    covers(query.version)
    with transfers.transfer():
        rows = current_registry().append_parts(
            path.name, version=query.version, parts=_parts(batches({"id", "vector"})), fingerprint=query.fingerprint,
            key=idempotency_key(),
        )  # fmt: skip
    count_rows(appended=rows)
    return json_answer({"rows": rows})


@blueprint.post("/galleries/<name>/delete", tags=TAG, responses={200: Gone})
def delete(path: GalleryPath, raw: Arrow) -> Response:
    """Remove the items of a column id, with all their vectors; unknown ids are passed over."""
    caller().require("writer", galleries=[path.name])
    return json_answer({"items": current_registry().delete(path.name, _ids(), key=idempotency_key())})


@blueprint.post("/galleries/<name>/fetch", tags=TAG, responses={200: ARROW_ANSWER})
def fetch(path: GalleryPath, query: Space, raw: Arrow) -> Response:
    """The vectors of the items of a column id, in their order, in the space asked for: columns id and vector."""
    _may_read(path.name, query.into)
    ids = _ids()
    dim = current_registry().space(query.into).dim
    found = current_registry().fetch_blocks(
        path.name, ids=ids, into=query.into, rows=wire.rows_of(dim), allow_unmeasured=query.allow_unmeasured
    )
    if len(ids) * dim * 4 <= wire.BATCH_BYTES:
        return Response(b"".join(_embeddings(found, query.dtype)), mimetype=wire.ARROW)
    return Response(transfers.stream(_embeddings(found, query.dtype)), mimetype=wire.ARROW)


@blueprint.get("/galleries/<name>/scan", tags=TAG, responses={200: ARROW_ANSWER})
def scan(path: GalleryPath, query: ScanSpace) -> Response:
    """All items in the space asked for: columns id and vector."""
    _may_read(path.name, query.into)
    rows = min(query.rows, wire.rows_of(current_registry().space(query.into).dim))
    found = current_registry().scan(
        path.name, into=query.into, rows=rows, allow_unmeasured=query.allow_unmeasured
    )  # fmt: skip
    return Response(transfers.stream(_embeddings(found, query.dtype)), mimetype=wire.ARROW)


@blueprint.get("/galleries/<name>/shared", tags=TAG, responses={200: ARROW_ANSWER})
def shared(path: GalleryPath, query: Shared) -> Response:
    """The vectors of the items that all of some versions embedded, row by row: a column for each version."""
    caller().require("reader", galleries=[path.name])
    covers(*query.versions)
    registry = current_registry()
    widest = max(registry.version(ref).dim for ref in query.versions)
    rows = min(query.rows, wire.rows_of(widest))
    found = registry.shared(path.name, versions=query.versions, rows=rows)
    return Response(transfers.stream(_side_by_side(found)), mimetype=wire.ARROW)


@blueprint.get("/galleries/<name>/shared/items", tags=TAG, responses={200: ARROW_ANSWER})
def shared_items(path: GalleryPath, query: Shared) -> Response:
    """The items that all of some versions embedded: a column id, and one of labels, equal numbers where they are equal."""
    caller().require("reader", galleries=[path.name])
    covers(*query.versions)
    found = current_registry().shared(path.name, versions=query.versions, label=query.label, rows=query.rows)
    kind = id_type(current_registry().gallery(path.name).id_type)
    labels = {} if found.labels is None else {"label": pa.array(found.labels, pa.int64())}
    items = pa.record_batch({"id": pa.array(found.ids, kind), **labels})
    parts: Iterator[tuple[pa.RecordBatch, Mapping[str, Any]]] = (
        (items.slice(i, _ITEMS), {}) for i in range(0, len(items), _ITEMS)
    )
    return Response(transfers.stream(wire.write(items.schema, parts)), mimetype=wire.ARROW)


@blueprint.post("/galleries/<name>/search", tags=TAG, responses={200: ARROW_ANSWER})
def search(path: GalleryPath, query: Search, raw: Arrow) -> Response:
    """The k closest items to each query of a column query: columns ids and scores, lists of k, best first.

    Columns called side:<version> hold the same queries as older versions embed them.
    """
    caller().require("reader", galleries=[path.name])
    covers(query.version)
    columns = whole(batches({"query"}))
    given = {name: wire.matrix(column) for name, column in columns.items() if name == "query" or name.startswith(SIDE)}
    if len(given["query"]) * query.k > _MOST_SCORES:
        raise TooLarge(f"{len(given['query'])} queries x {query.k} hits are more than {_MOST_SCORES}: ask in parts")
    side = {name.removeprefix(SIDE): rows for name, rows in given.items() if name.startswith(SIDE)}
    covers(*side)
    hits = current_registry().search(
        path.name, given["query"], version=query.version, k=query.k, allow_unmeasured=query.allow_unmeasured,
        shortlist=query.shortlist, candidates=query.candidates, side=side or None, fingerprint=query.fingerprint,
        calibrate=query.calibrate,
        where=None if query.where is None else _where(query.where),
    )  # fmt: skip
    return Response(b"".join(_hits(hits)), mimetype=wire.ARROW)


@blueprint.post("/convert", tags=TAG, responses={200: ARROW_ANSWER})
def convert(query: Conversion, raw: Arrow) -> Response:
    """Vectors of one space, a column vector, as vectors of another."""
    covers(query.source, query.into)
    rows = wire.matrix(whole(batches({"vector"}))["vector"])
    found = current_registry().convert(
        rows, source=query.source, into=query.into, allow_unmeasured=query.allow_unmeasured
    )
    schema = pa.schema([pa.field("vector", _lists(found.shape[1], query.dtype))])
    size = wire.rows_of(found.shape[1])
    parts: Iterator[tuple[pa.RecordBatch, Mapping[str, Any]]] = (
        (_record(schema, wire.vectors(found[i : i + size], query.dtype)), {}) for i in range(0, len(found), size)
    )
    return Response(transfers.stream(wire.write(schema, parts)), mimetype=wire.ARROW)


def _where(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f'where is no JSON: {error!s:.80}; write it like {{"class": "shoe"}}') from error
    if not isinstance(found, dict):
        raise InvalidInput(f'where maps label columns to values, as {{"class": "shoe"}}, got {found!r:.80}')
    return found


def _may_read(gallery: str, into: str) -> None:
    caller().require("reader", galleries=[gallery])
    covers(into)


# Reading what was sent


def _parts(batches: Iterable[pa.RecordBatch]) -> Iterator[Any]:
    """The parts of an append."""
    for batch in batches:
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        ids, column = columns.pop("id"), columns.pop("vector")
        if len(ids):
            rows = column.flatten().to_numpy(zero_copy_only=False).reshape(len(ids), -1)
            yield own(ids), rows, {name: own(labels) for name, labels in columns.items()}


def _ids() -> pa.Array:
    return whole(batches({"id"}))["id"]


# Writing answers


def _lists(dim: int, dtype: str) -> pa.DataType:
    return pa.list_(pa.float16() if dtype == "float16" else pa.float32(), dim)


def _record(schema: pa.Schema, *columns: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns), schema=schema)


def _embeddings(found: Iterator[Embeddings], dtype: str) -> Iterator[bytes]:
    """Blocks as a stream; what is wrong with the first is said before anything is sent."""
    first = next(found, None)
    if first is None:
        return wire.write(pa.schema([pa.field("id", pa.string()), pa.field("vector", _lists(1, dtype))]), ())
    kind = id_type("string" if first.ids.dtype == object else "int")
    schema = pa.schema([pa.field("id", kind), pa.field("vector", _lists(first.vectors.shape[1], dtype))])
    count, who = _counter(), caller()

    def batches() -> Iterator[tuple[pa.RecordBatch, Mapping[str, Any]]]:
        for block in chain([first], found):
            about = {"space": block.space, "path": wire.to_json(visible.paths(who, block.path))}
            count(len(block))
            yield _record(schema, pa.array(block.ids, kind), wire.vectors(_fitting(block.vectors, dtype), dtype)), about

    return wire.write(schema, batches())


def _fitting(rows: Array, dtype: str) -> Array:
    """Rows that float16 can hold; others would arrive as infinity."""
    if dtype == "float16" and len(rows) and float(np.abs(rows).max()) > float(np.finfo(np.float16).max):
        raise InvalidInput("these vectors do not fit into float16: ask for dtype=float32")
    return rows


def _counter() -> Callable[[int], None]:
    return lambda n: count_rows(fetched=n)


def _side_by_side(found: Iterable[tuple[Array, ...]]) -> Iterator[bytes]:
    blocks = iter(found)
    first = next(blocks, None)
    if first is None:
        return wire.write(pa.schema([]), ())
    schema = pa.schema([pa.field(str(i), _lists(x.shape[1], str(x.dtype))) for i, x in enumerate(first)])
    parts: Iterator[tuple[pa.RecordBatch, Mapping[str, Any]]] = (
        (_record(schema, *(wire.vectors(x, str(x.dtype)) for x in block)), {}) for block in chain([first], blocks)
    )
    return wire.write(schema, parts)


def _hits(hits: Hits) -> Iterator[bytes]:
    k = hits.ids.shape[1]
    kind = id_type("string" if hits.ids.dtype == object else "int")
    schema = pa.schema([pa.field("ids", pa.list_(kind, k)), pa.field("scores", pa.list_(pa.float32(), k))])
    ids = pa.FixedSizeListArray.from_arrays(pa.array(hits.ids.ravel(), kind), k)
    scores = pa.FixedSizeListArray.from_arrays(pa.array(hits.scores.ravel(), pa.float32()), k)
    path = visible.paths(caller(), hits.path)
    about = {"path": wire.to_json(path), "calibrated": [ref for ref in hits.calibrated if ref in path]}
    return wire.write(schema, [(_record(schema, ids, scores), about)])
