"""The two files of an index: `<id>.faiss`, and `<id>.rows`, an Arrow file that says which rows it covers.

FAISS parses its file in C++, so none is opened that fails the digest which the facts hold; that is read once by a
process, and both files are memory-mapped from then on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import pyarrow as pa

from registry.errors import CorruptFile, Unavailable
from registry.vectors import Array, Metric

__all__ = ["Fragments", "IndexFiles", "Rows", "digest_of", "opened", "placed", "written"]

_ABOUT = b"samespace"
_PIECE = 4 << 20

Fragments = Mapping[int, tuple[str, int]]
"""Of each fragment of a dataset the names of its data files, and how many of its rows are deleted."""


@dataclass(frozen=True, slots=True)
class IndexFiles:
    """Where the files of one index are, and the sha-256, hex, over both, first that of FAISS."""

    faiss: Path
    rows: Path
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """Of each row of an index (n,) its id and its address in the dataset: the fragment's number << 32, and the offset.

    Data files never change and the numbers of fragments are not given out again, so rows of one address are one row.
    Addresses rise but for the last `held` rows, which rise among themselves. `longest` is the greatest length of a vector.
    """

    ids: pa.Array
    addresses: Array
    fragments: Fragments
    held: int
    longest: float


def written(files: IndexFiles, index: Any, rows: Rows, metric: Metric) -> tuple[str, int]:
    """Write both files whole, on disk to stay; return their digest and bytes. Nothing is left if that fails."""
    parts = [path.with_name(f"{path.name}.part") for path in (files.faiss, files.rows)]
    try:
        faiss.write_index(index, str(parts[0]))
        _write_rows(parts[1], rows, metric)
        for part in parts:
            _sync(part)
        digest, size = digest_of(parts), sum(part.stat().st_size for part in parts)
        for part, path in zip(parts, (files.faiss, files.rows), strict=True):
            part.replace(path)
        _sync(files.faiss.parent)
    except BaseException:
        for path in (*parts, files.faiss, files.rows):
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    return digest, size


def placed(files: IndexFiles, contents: Sequence[memoryview]) -> None:
    """Write both files of an index that was built elsewhere, whole and on disk to stay. Nothing is left if that fails.

    Raises:
        CorruptFile: they do not have the digest.
    """
    paths = files.faiss, files.rows
    parts = [path.with_name(f"{path.name}.part") for path in paths]
    try:
        for part, content in zip(parts, contents, strict=True):
            part.write_bytes(content)
            _sync(part)
        if digest_of(parts) != files.digest:
            raise CorruptFile(f"{files.faiss} was damaged on its way here: build the index again")
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
        _sync(files.faiss.parent)
    except OSError as error:
        raise Unavailable(f"{files.faiss} cannot be written: {error.strerror}; mend that and try again") from error
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def digest_of(paths: Sequence[Path]) -> str:
    """The sha-256, hex, over files one after the other."""
    sha = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                sha.update(piece)
    return sha.hexdigest()


def opened(files: IndexFiles) -> tuple[Any, Rows, Metric]:
    """The index, its rows, and the metric that it compares by; memory-mapped.

    Raises:
        FileNotFoundError: a file is gone: the index was replaced, or lost.
        CorruptFile: the digest is another one.
    """
    if digest_of([files.faiss, files.rows]) != files.digest:
        raise CorruptFile(
            f"{files.faiss} fails its checksum: build the index again with 'samespace gallery index build'"
        )
    with pa.memory_map(str(files.rows)) as source:
        reader = pa.ipc.open_file(source)
        batch, about = reader.get_batch(0), json.loads(reader.schema.metadata[_ABOUT])
    fragments = {int(id): (names, deleted) for id, (names, deleted) in about["fragments"].items()}
    rows = Rows(
        batch.column("id"), batch.column("address").to_numpy(), fragments, int(about["held"]), float(about["longest"])
    )
    return faiss.read_index(str(files.faiss), faiss.IO_FLAG_MMAP_IFC), rows, about["metric"]


def _write_rows(path: Path, rows: Rows, metric: Metric) -> None:
    fragments = {str(id): list(of) for id, of in rows.fragments.items()}
    about = {"fragments": fragments, "held": rows.held, "longest": rows.longest, "metric": metric}
    ids = rows.ids.cast(pa.large_string()) if rows.ids.type == pa.string() else rows.ids
    schema = pa.schema(
        [pa.field("id", ids.type), pa.field("address", pa.uint64())], metadata={_ABOUT: json.dumps(about).encode()}
    )
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([ids, pa.array(rows.addresses)], schema=schema))


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
