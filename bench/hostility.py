"""Hostile inputs, and a small registry to send them to: a few in `tests/web/test_hostile.py`, many in `bench.hostile`."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import func, select

from registry.tables import Base
from registry.transforms import Affine

__all__ = [
    "DIM", "ITEMS", "JSON_BODIES", "JSON_ROUTES", "NAMES", "ROUTES", "cuts", "evil_streams", "fill", "good",
    "misnumbered", "mutated", "named", "pieces_of", "state_of", "stream_of",
]  # fmt: skip

DIM, ITEMS = 8, 40

ROUTES = {
    "append": "/galleries/catalog/append?version=products/1",
    "delete": "/galleries/catalog/delete",
    "fetch": "/galleries/catalog/fetch?into=products/1",
    "search": "/galleries/catalog/search?version=products/1&k=3",
    "previews": "/galleries/catalog/previews",
    "shown": "/galleries/catalog/previews/fetch",
    "convert": "/convert?source=products/2&into=products/1&allow_unmeasured=1",
}
"""Every route that takes an Arrow stream."""

JSON_ROUTES = {
    ("POST", "/galleries"): {"name": "NAME", "id_type": "string", "labels": ["NAME"]},
    ("POST", "/models/products/versions"): {"dim": 8, "source": "NAME", "parent": "NAME", "tags": {"NAME": "NAME"}},
    ("PUT", "/models/products/aliases/champion"): {"number": 1},
    ("PUT", "/version/tags?ref=products/1"): {"key": "NAME", "value": "NAME"},
    ("POST", "/version/checks?ref=products/1"): {"deviation": 0.5, "tolerance": 0.01, "worst": "NAME"},
    ("PUT", "/galleries/catalog/preview-url"): {"url": "NAME"},
    ("POST", "/anchor-sets"): {"name": "NAME", "gallery": "NAME", "ids": ["NAME"], "similarity": "NAME"},
    ("POST", "/evaluations"): {"benchmark": "NAME", "versions": ["NAME"], "label": "NAME"},
    ("POST", "/studies"): {"old": "NAME", "new": "NAME", "benchmark": "NAME", "label": "NAME"},
    ("POST", "/backfills"): {"gallery": "NAME", "into": "NAME", "encoder": "NAME", "inputs": "NAME", "order": "NAME"},
    ("POST", "/backfills/backfill-none/hold"): {"runner": "NAME"},
    ("POST", "/backfills/backfill-none/next"): {"runner": "NAME"},
    ("POST", "/backfills/backfill-none/leave"): {"runner": "NAME", "error": "NAME"},
    ("POST", "/galleries/catalog/drop-segment"): {"version": "NAME"},
    ("POST", "/tokens"): {"name": "NAME", "role": "NAME", "models": ["NAME"], "galleries": ["NAME"]},
    ("POST", "/webhooks"): {"name": "NAME", "url": "NAME", "events": ["NAME"], "secret": "NAME"},
}
"""Every route that takes JSON, with a body in which a name stands in every place that takes one."""


def fill(registry: Any) -> None:
    """Two versions, a map between them, two galleries, anchors and a token."""
    rows = np.random.default_rng(5).standard_normal((ITEMS, DIM)).astype(np.float32)
    registry.register_version("products", dim=DIM)
    registry.register_version("products", dim=DIM)
    registry.add_transform(Affine(weight=np.eye(DIM), bias=np.full(DIM, 0.1)), source="products/2", target="products/1")
    registry.create_gallery("catalog")
    registry.create_gallery("numbers", id_type="int", labels=["class"])
    registry.append("catalog", version="products/1", ids=[f"item-{i}" for i in range(ITEMS)], vectors=rows)
    registry.append(
        "numbers",
        version="products/1",
        ids=list(range(ITEMS)),
        vectors=rows,
        labels={"class": ["a", "b"] * (ITEMS // 2)},
    )
    registry.add_anchors("landmarks", gallery="catalog", ids=["item-0", "item-1"])
    registry.add_canaries("products/1", ["red shoes"], rows[:1])


def state_of(registry: Any) -> tuple[Any, ...]:
    """What must not have changed: rows of every table, the audit log among them, and the files of the home."""
    home = registry._home
    with home.database.reading() as session:
        counts = tuple(session.scalar(select(func.count()).select_from(table)) for table in Base.metadata.sorted_tables)
        segments = tuple(session.execute(select(Base.metadata.tables["segments"].c["lance_version", "rows"])).all())
    return counts, segments, _data_files(home.root)


def _data_files(root: Path) -> tuple[str, ...]:
    kinds = ("galleries/**/data/*", "transforms/*", "canaries/*", "studies/*")
    return tuple(sorted(str(path.relative_to(root)) for kind in kinds for path in root.glob(kind)))


# Arrow streams


def good(route: str, rows: int = 4) -> pa.RecordBatch:
    """A batch that a route takes."""
    names = [f"{'new' if route == 'append' else 'item'}-{i}" for i in range(rows)]
    x = np.random.default_rng(9).standard_normal((rows, DIM)).astype(np.float32)
    ids, vectors = pa.array(names), pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), DIM)
    columns = {
        "append": {"id": ids, "vector": vectors},
        "previews": {"id": ids, "preview": pa.array([b"\x89PNG\r\n\x1a\n"] * rows)},
        "search": {"query": vectors},
        "convert": {"vector": vectors},
    }.get(route, {"id": ids})
    return pa.record_batch(columns)


def stream_of(*batches: pa.RecordBatch, schema: pa.Schema | None = None, **options: Any) -> bytes:
    """Batches as a stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema or batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def pieces_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """The messages of a sound stream, each as its header with the eight bytes before it, and its body."""
    found = []
    for message in pa.ipc.MessageReader.open_stream(data):
        whole = message.serialize().to_pybytes()
        size = message.body.size if message.body else 0
        found.append((whole[: len(whole) - size], whole[len(whole) - size :]))
    return found


def _body_length_at(header: bytes) -> int:
    """Where a message's header, a flatbuffer, holds the length of the body: the fourth field of its root table."""
    root = struct.unpack_from("<I", header)[0]
    fields = root - struct.unpack_from("<i", header, root)[0]
    return int(root + struct.unpack_from("<H", header, fields + 4 + 2 * 3)[0])


_END = b"\xff\xff\xff\xff\0\0\0\0"


def evil_streams(route: str) -> Iterator[tuple[str, bytes]]:
    """Streams that a route must refuse, each with what is wrong with it."""
    batch = good(route)
    sound = stream_of(batch)
    yield from _no_streams(sound)
    yield from _headers(sound)
    yield from _schemas(batch)
    yield from _columns(batch)
    yield from _said_beside(batch)
    if "vector" in batch.schema.names or "query" in batch.schema.names:
        yield from _vectors(batch)
    if "id" in batch.schema.names:
        yield from _ids(batch)


def _no_streams(sound: bytes) -> Iterator[tuple[str, bytes]]:
    batch = pa.ipc.open_stream(sound).read_next_batch()
    schema, rest = pieces_of(sound)
    yield "nothing", b""
    yield "one byte", b"\xff"
    yield "text", b"hello" * 100
    yield "a page", b"<!doctype html><title>400</title>"
    yield "JSON", b'{"vector": [[1, 2]]}'
    yield "zeros", bytes(1 << 16)
    yield "all bits", b"\xff" * (1 << 16)
    yield "gzip", zlib.compress(sound, wbits=31)
    yield "gzip bomb", zlib.compress(bytes(1 << 24), wbits=31)
    yield "legacy stream", stream_of(batch, use_legacy_format=True)
    yield "old metadata", stream_of(batch, metadata_version=pa.ipc.MetadataVersion.V4)[:-9]
    yield "zstd bomb", _bomb(batch, "zstd")
    yield "lz4 bomb", _bomb(batch, "lz4")
    yield "schema without end", b"".join(schema)
    yield "schema and end", b"".join(schema) + _END
    yield "batch without schema", b"".join(rest) + _END
    yield "schema twice", b"".join(schema) * 2 + _END
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    yield "file format", sink.getvalue()
    tensor = pa.BufferOutputStream()
    pa.ipc.write_tensor(pa.Tensor.from_numpy(np.ones((3, 3))), tensor)
    yield "a tensor", tensor.getvalue().to_pybytes()


def _bomb(batch: pa.RecordBatch, codec: str) -> bytes:
    """64 MB of zeros in a few kilobytes."""
    name = batch.schema.names[0]
    kind = pa.list_(pa.float32(), 1024)
    if name == "id":
        column = pa.array(["0" * (1 << 20)] * 64)
    else:
        column = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(1 << 24, np.float32)), type=kind)
    columns = {name: column}
    if "vector" in batch.schema.names:
        columns["vector"] = pa.FixedSizeListArray.from_arrays(
            pa.array(np.zeros(len(column) * 1024, np.float32)), type=kind
        )
    return stream_of(pa.record_batch(columns), compression=codec)


def _headers(sound: bytes) -> Iterator[tuple[str, bytes]]:
    """Lengths that cannot be true."""
    (schema, _), (header, body) = pieces_of(sound)
    for length in (-1, -(2**31), 2**31 - 1, 1 << 21, 4):
        yield f"schema length {length}", schema[:4] + struct.pack("<i", length) + schema[8:] + header + body + _END
        yield f"batch length {length}", schema + header[:4] + struct.pack("<i", length) + header[8:] + body + _END
    place = 8 + _body_length_at(header[8:])
    for length in (-1, -(2**63), 2**62, 2**63 - 1, 2**31, (256 << 20) + 1, len(body) + 8, 8):
        claimed = header[:place] + struct.pack("<q", length) + header[place + 8 :]
        yield f"body length {length}", schema + claimed + body + _END
    yield "body length 256 MiB", schema + header[:place] + struct.pack("<q", 256 << 20) + header[place + 8 :] + body


def misnumbered(sound: bytes) -> Iterator[tuple[str, bytes]]:
    """A sound stream in which one number of the batch's header is another: rows, nulls, offsets and lengths."""
    (schema, _), (header, body) = pieces_of(sound)
    for place in range(8, len(header) - 7, 4):
        for value in (-1, 2**62, -(2**63), 2**31, 0, 1, 7, 1000):
            yield (
                f"{value} at {place}",
                schema + header[:place] + struct.pack("<q", value) + header[place + 8 :] + body + _END,
            )


def _schemas(batch: pa.RecordBatch) -> Iterator[tuple[str, bytes]]:
    name = batch.schema.names[0]
    yield "no columns", stream_of(pa.RecordBatch.from_arrays([], schema=pa.schema([])))
    yield "another column", stream_of(batch.rename_columns([f"{n}s" for n in batch.schema.names]))
    yield (
        "look-alike column",
        stream_of(batch.rename_columns([n.replace("e", "е").replace("i", "і") for n in batch.schema.names])),
    )
    yield (
        "a column twice",
        stream_of(pa.RecordBatch.from_arrays([*batch.columns, batch.column(0)], names=[*batch.schema.names, name])),
    )
    many = pa.RecordBatch.from_arrays(
        [*batch.columns, *[pa.nulls(len(batch), pa.int64())] * 10_000],
        names=[*batch.schema.names, *map(str, range(10_000))],
    )
    yield "10,000 columns", stream_of(many)
    few = pa.RecordBatch.from_arrays(
        [*batch.columns, *[pa.nulls(len(batch))] * 500], names=[*batch.schema.names, *map(str, range(500))]
    )
    yield "500 empty columns", stream_of(few)
    yield "metadata of 2 MB", stream_of(batch.replace_schema_metadata({"x": "y" * (2 << 20)}))
    wrong = pa.record_batch({"x": pa.array([1, 2], pa.int32())})
    yield (
        "batch of another schema",
        b"".join(b"".join(p) for p in (pieces_of(stream_of(batch))[0], pieces_of(stream_of(wrong))[1])) + _END,
    )
    for depth in (10, 100, 1000):
        kind = pa.int8()
        for _ in range(depth):
            kind = pa.list_(kind)
        deep = pa.schema([pa.field(name, kind), *list(batch.schema)[1:]]).serialize().to_pybytes()
        yield f"{depth} lists deep", deep + b"".join(pieces_of(stream_of(batch))[1]) + _END


def _replaced(batch: pa.RecordBatch, place: int, column: pa.Array) -> bytes:
    columns = list(batch.columns)
    columns[place] = column
    return stream_of(pa.RecordBatch.from_arrays(columns, names=batch.schema.names))


def _columns(batch: pa.RecordBatch) -> Iterator[tuple[str, bytes]]:
    """Columns of another type than is meant."""
    n = len(batch)
    kinds = (
        pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.int32(), pa.float64(), pa.float32(), pa.decimal128(38), pa.date32(),
        pa.timestamp("ns", "UTC"), pa.duration("s"), pa.binary(), pa.large_string(), pa.string_view(), pa.binary_view(),
        pa.large_binary(), pa.binary(4), pa.list_(pa.float32()), pa.large_list(pa.float32()), pa.list_view(pa.float32()),
        pa.list_(pa.float32(), 0), pa.list_(pa.float64(), DIM), pa.list_(pa.int64(), DIM), pa.list_(pa.string(), DIM),
        pa.list_(pa.list_(pa.float32(), 2), DIM // 2), pa.struct([("x", pa.float32())]), pa.map_(pa.string(), pa.float32()),
        pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.int64()), pa.run_end_encoded(pa.int16(), pa.string()),
        pa.dense_union([pa.field("a", pa.string())]), pa.uuid(), pa.list_(pa.dictionary(pa.int8(), pa.string()), DIM),
    )  # fmt: skip
    for kind in kinds:
        for place, name in enumerate(batch.schema.names):
            if str(kind) != "extension<arrow.uuid>":
                yield f"{name} is empty {kind}", _replaced(batch, place, pa.nulls(n, kind))
    words = pa.array(["a", "b"] * (n // 2)).dictionary_encode()
    yield "a dictionary", _replaced(batch, 0, words)
    for place, column in enumerate(batch.columns):
        holed = column.take(pa.array([None, *range(1, n)], pa.int64()))
        yield f"{batch.schema.names[place]} with a null", _replaced(batch, place, holed)


def _said_beside(batch: pa.RecordBatch) -> Iterator[tuple[str, bytes]]:
    """What stands beside a batch, where an error may be told."""
    said = [
        "", "{", "5", "null", "[]", '"error"', '{"error": 5}', '{"error": null}', '{"error": {"code": 7, "message": []}}',
        '{"error": {"code": "error", "message": "m"}}', '{"error": {"code": "corrupt_file", "message": "m"}}',
        '{"error": {"code": "bad_vector", "row": "x", "report": 3}}', "[" * 100_000, '{"error": {"code": "unavailable"}}',
        '["error"]', "\\ud800", "9" * 5000,
    ]  # fmt: skip
    for text in said:
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch, custom_metadata={"samespace": text})
        yield f"beside it {text:.50}", sink.getvalue()


def _vectors(batch: pa.RecordBatch) -> Iterator[tuple[str, bytes]]:
    place = len(batch.columns) - 1
    n = len(batch)
    for value in (np.nan, np.inf, -np.inf, 0.0):
        x = np.ones((n, DIM), np.float32)
        x[2] = value
        yield f"vectors of {value}", _replaced(batch, place, _lists(x))
    for dim in (1, DIM - 1, DIM + 1, 100_000):
        yield f"{dim} wide", _replaced(batch, place, _lists(np.ones((n, dim), np.float32)))
    yield "float64", _replaced(batch, place, _lists(np.ones((n, DIM))))
    columns = [column.slice(0, 0) for column in batch.columns]
    columns[place] = pa.array([], pa.list_(pa.float32(), 2**31 - 1))
    yield "as wide as can be", stream_of(pa.RecordBatch.from_arrays(columns, names=batch.schema.names))
    inner = pa.array([None, *range(n * DIM - 1)], pa.float32())
    yield "a number missing", _replaced(batch, place, pa.FixedSizeListArray.from_arrays(inner, DIM))


def _lists(x: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])


def _ids(batch: pa.RecordBatch) -> Iterator[tuple[str, bytes]]:
    n = len(batch)
    plain = _replaced(batch, 0, pa.array(["\x01\x02", "\x03\x04", "\x05\x06", "\x07\x08"]))
    before, offsets, text, after = _split(plain, np.arange(0, 9, 2, dtype=np.int32).tobytes(), bytes(range(1, 9)))
    for name, numbers in (
        ("beyond the end", [0, 2, 4, 6, 2**30]),
        ("negative", [0, -6, 4, 6, 8]),
        ("falling", [0, 6, 2, 8, 4]),
    ):
        yield f"ids: offsets {name}", before + struct.pack("<5i", *numbers) + offsets + text + after
    for name, letters in (("no UTF-8", b"\xff\xfe"), ("half a letter", b"a\xc3"), ("a surrogate", b"\xed\xa0")):
        yield f"ids: {name}", before + struct.pack("<5i", *range(0, 9, 2)) + offsets + letters + text[2:] + after
    for name, ids in (
        ("integers", pa.array(range(n))),
        ("a NUL", pa.array(["a\0b", "b", "c", "d"])),
        ("empty", pa.array(["", "b", "c", "d"])),
        ("513 letters", pa.array(["x" * 513, "b", "c", "d"])),
        ("a megabyte", pa.array(["x" * (1 << 20), "b", "c", "d"])),
    ):
        yield f"ids: {name}", _replaced(batch, 0, ids)


def _split(data: bytes, first: bytes, second: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """What stands before two pieces of a stream, between them, the second, and what stands behind."""
    before, _, rest = data.partition(first)
    between, _, after = rest.partition(second)
    return before, between, second, after


def cuts(sound: bytes) -> Iterator[bytes]:
    """A stream cut short at every place, but for the end mark."""
    return (sound[:n] for n in range(len(sound) - len(_END)))


def mutated(sound: bytes, rng: random.Random) -> bytes:
    """A stream with a few bytes flipped, left out, doubled or put in."""
    data = bytearray(sound)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        place = rng.randrange(len(data))
        match rng.randrange(8):
            case 0:
                del data[place : place + rng.choice((1, 4, 8, 64))]
            case 1:
                data[place:place] = rng.randbytes(rng.choice((1, 4, 8, 64)))
            case 2:
                data[place : place + 8] = rng.choice((bytes(8), b"\xff" * 8, struct.pack("<q", rng.randrange(2**63))))
            case _:
                data[place] ^= rng.randrange(1, 256)
        data = data or bytearray(b"\0")
    return bytes(data)


# Names and JSON


def named(body: Any, name: str) -> Any:
    """A body of `JSON_ROUTES` with `name` in every place that takes one."""
    if isinstance(body, dict):
        return {named(key, name): named(value, name) for key, value in body.items()}
    if isinstance(body, list):
        return [named(value, name) for value in body]
    return name if body == "NAME" else body


NAMES = (
    "", " ", ".", "..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "..\\..\\windows", "/etc/passwd", "a/../b", "a//b", "\0", "a\0b",
    "a\nb", "a\r\nSet-Cookie: x=1", "\t", "x" * 101, "x" * 10_000, "Products", "prоducts", "ｐroducts", "ﬁle", "products\u200b",
    "products\u202e", "\ufeffproducts", "é", "e\u0301", "İ", "💥", "\ud800", "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>",
    "'; DROP TABLE models; --", "' OR '1'='1", "1 UNION SELECT * FROM tokens", "%00", "%n%s%x", "${jndi:ldap://x}", "{{7*7}}", "{0.__class__}",
    "$(id)", "`id`", "| id", "-rf", "--help", "relative/landmarks", "products/0", "products/-1", "products/1e9",
    "products/999999999999999999999", "products/1[:0]", "products/1[:-1]", "products/1[:99999]", "products/1[:4][:2]", "products@", "@champion",
    "products/１", ".hidden", "a" * 255 + "/" + "b" * 255, "NaN", "[]",
)  # fmt: skip
"""Names of what there is not and cannot be."""

JSON_BODIES: tuple[tuple[str, bytes, str], ...] = (
    ("nothing", b"", "application/json"),
    ("null", b"null", "application/json"),
    ("a list", b"[1]", "application/json"),
    ("a text", b'"x"', "application/json"),
    ("a number", b"1", "application/json"),
    ("cut off", b'{"name": "x', "application/json"),
    ("100,000 deep", b"[" * 100_000, "application/json"),
    ("100,000 deep and whole", b'{"name": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "application/json"),
    ("objects 20,000 deep", b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "application/json"),
    ("NaN", b'{"name": NaN, "dim": NaN, "number": NaN}', "application/json"),
    ("infinity", b'{"name": "x", "dim": 1e999, "number": 1e999, "key": Infinity}', "application/json"),
    ("a huge integer", b'{"dim": ' + b"9" * 5000 + b', "number": ' + b"9" * 5000 + b"}", "application/json"),
    ("a large integer", b'{"dim": 99999999999999999999, "number": 99999999999999999999}', "application/json"),
    ("a negative integer", b'{"dim": -1, "number": -1}', "application/json"),
    ("duplicate keys", b'{"name": "ok", "name": "../x", "dim": 8, "dim": -8}', "application/json"),
    ("unknown fields", b'{"__class__": 1, "constructor": {}, "__proto__": {}}', "application/json"),
    ("form", b"name=x&dim=8", "application/x-www-form-urlencoded"),
    ("parts", b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nx\r\n--b--\r\n', "multipart/form-data; boundary=b"),
    ("wrong type", b'{"name": "x"}', "text/plain"),
    ("no type", b'{"name": "x"}', ""),
    ("XML", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "application/xml"),
    ("Latin-1", '{"name": "é"}'.encode("latin-1"), "application/json"),
    ("a BOM", b'\xef\xbb\xbf{"name": 1}', "application/json"),
    ("half a pair", b'{"name": "\\ud800", "key": "\\ud800", "value": "\\ud800", "source": "\\ud800", "dim": 8}', "application/json"),
    ("NUL", b'{"name": "a\\u0000b", "key": "a\\u0000", "value": "\\u0000", "source": "\\u0000", "dim": 8}', "application/json"),
    ("random bytes", random.Random(0).randbytes(1000), "application/json"),  # noqa: S311 - repeatable, not secret
    ("10 MB", b'{"name": "' + b"x" * (10 << 20) + b'"}', "application/json"),
)  # fmt: skip
"""Bodies that no JSON route takes: what is wrong, the bytes, the content type."""
