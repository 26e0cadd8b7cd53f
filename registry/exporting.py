"""Writing embeddings to files of common formats, a block at a time: Parquet, and .npy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from registry.errors import AlreadyExists, InvalidInput, Unavailable
from registry.types import Embeddings

__all__ = ["export"]

_IDS_AT_ONCE = 4096  # of 512 characters, 8 MiB


def export(blocks: Iterable[Embeddings], target: Path) -> int:
    """Write blocks to `target`, whole or not at all; returns the number of rows.

    A name that ends in .parquet is a file with the columns id and vector, FixedSizeList<float32>[d]; any other is a folder
    with vectors.npy (n, d) float32 and ids.npy (n,), int64 or strings, of which each takes as much room as the longest,
    four bytes for a character: long ids are better kept in Parquet. Of the ids all are held in memory, of the vectors a block.

    Raises:
        AlreadyExists: there is something at `target`.
        InvalidInput: there are no rows.
        Unavailable: it cannot be written.
    """
    if target.exists():
        raise AlreadyExists(f"{target} exists: name a file or folder that does not")
    parquet = target.suffix in (".parquet", ".pq")
    with _staged(target) as staging:
        rows = _parquet(blocks, staging) if parquet else _npy(blocks, staging)
        if not rows:
            raise InvalidInput("the gallery holds nothing to export: append to it first")
    return rows


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A place beside `target` that becomes it if the block succeeds, and goes if it does not."""
    staging = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield staging
        staging.rename(target)
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror or error}; nothing was exported") from error
    finally:
        if staging.is_dir():
            shutil.rmtree(staging, ignore_errors=True)
        else:
            staging.unlink(missing_ok=True)


def _parquet(blocks: Iterable[Embeddings], file: Path) -> int:
    import pyarrow.parquet as pq

    writer, rows = None, 0
    try:
        for block in blocks:
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.vectors.ravel()), block.vectors.shape[1])
            kind = pa.string() if block.ids.dtype == object else pa.int64()
            table = pa.table({"id": pa.array(block.ids, kind), "vector": vectors})
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
            rows += len(block)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _npy(blocks: Iterable[Embeddings], folder: Path) -> int:
    """Vectors go straight to their file, whose header is written anew at the end; ids wait until the longest is known."""
    folder.mkdir()
    ids: list[np.ndarray] = []
    dim = 0
    with (folder / "vectors.npy").open("wb") as file:
        for block in blocks:
            if not ids:
                dim = block.vectors.shape[1]
                _header(file, "<f4", 0, dim)
            file.write(np.ascontiguousarray(block.vectors, dtype="<f4").data)
            ids.append(block.ids)
        rows = sum(map(len, ids))
        if ids:
            file.seek(0)
            _header(file, "<f4", rows, dim)
    if ids:
        _ids(ids, rows, folder / "ids.npy")
    return rows


def _ids(blocks: Sequence[np.ndarray], rows: int, path: Path) -> None:
    """A block at a time, since one long id makes each take as much."""
    longest = max((len(id) for block in blocks if block.dtype == object for id in block), default=0)
    kind = f"<U{longest}" if longest else "<i8"
    with path.open("wb") as file:
        _header(file, kind, rows)
        for block in blocks:
            for start in range(0, len(block), _IDS_AT_ONCE):
                file.write(block[start : start + _IDS_AT_ONCE].astype(kind).tobytes())


def _header(file: BinaryIO, kind: str, *shape: int) -> None:
    """NumPy leaves room in it for a number of rows that grows."""
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
