"""Embeddings from files, Parquet or .npy: read in chunks, so that memory does not grow with the file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from align.data import parquet
from align.data.parquet import Block
from align.data.pickles import refuse_pickle
from registry.errors import CorruptFile, DimensionMismatch, InvalidInput, NotFound, Unavailable
from registry.vectors import as_rows

__all__ = ["Embeddings", "embeddings", "gather"]

Array = npt.NDArray[Any]

_CHUNK_ROWS = 65536
_IDS = ""  # the ids' key among the labels, which no label has


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors (n, d) float32 or float16 of the items `ids` (n,), and label columns (n,) by name.

    Ids and labels are int64, or str in an object array. Vectors may lie in a file and be mapped into memory.

    Raises:
        InvalidInput: not as many ids or labels as vectors.
    """

    ids: Array
    vectors: Array
    labels: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, column in {"ids": self.ids, **self.labels}.items():
            if len(column) != len(self.vectors):
                raise InvalidInput(f"{len(column)} {name} for {len(self.vectors)} vectors: give one for each row")

    def __len__(self) -> int:
        return len(self.vectors)


def embeddings(
    path: str | os.PathLike[str],
    *,
    ids: str | npt.ArrayLike | None = None,
    vector: str = "vector",
    labels: Mapping[str, str | npt.ArrayLike] | None = None,
    rows: int = _CHUNK_ROWS,
) -> Iterator[Embeddings]:
    """Read a Parquet or .npy file in chunks of at most `rows` rows.

    Args:
        path: Parquet, with a column of lists of numbers, all equally long (FixedSizeList or list); or .npy (n, d).
        ids: the column that holds the ids, or the ids themselves (n,). By default the column `id` of a Parquet file, and
            the positions from 0 for .npy.
        vector: the column that holds the vectors; Parquet only.
        labels: label name -> column, or the labels themselves (n,).
        rows: the most rows of a chunk.

    Values are not looked at here: what takes the vectors (`Registry.append`, `align.fit`) refuses NaN and infinity.

    Raises:
        NotFound: no such file.
        CorruptFile: neither Parquet nor .npy, damaged, or pickled.
        InvalidInput: no such column, or one of another type, or with a missing value; numbers of ids that differ. What
            is wrong in a later row is raised when its chunk is reached.
        DimensionMismatch: a vector longer or shorter than the first one, by its row.
    """
    source = Path(path)
    if not source.is_file():
        raise NotFound(f"no file {source} of embeddings: give Parquet or .npy")
    if rows < 1:
        raise InvalidInput(f"rows must be at least 1, got {rows}")
    blocks: Iterable[Block]
    if parquet.is_parquet(source):
        wanted = {_IDS: "id" if ids is None else ids, **(labels or {})}
        columns = {name: value for name, value in wanted.items() if isinstance(value, str)}
        count, blocks = parquet.read(source, vector=vector, columns=columns, rows=rows)
    else:
        matrix = _npy(source)
        count, blocks = len(matrix), _blocks(matrix, rows)
        wanted = {_IDS: np.arange(count) if ids is None else ids, **(labels or {})}
        for value in wanted.values():
            if isinstance(value, str):
                raise InvalidInput(f"{source} is a matrix without columns, got the name {value!r}: give the values")
    given = {name: _values(name, value, count) for name, value in wanted.items() if not isinstance(value, str)}
    return _chunks(blocks, given)


def gather(chunks: Iterable[Embeddings], *, folder: str | os.PathLike[str] | None = None) -> Embeddings:
    """Put chunks together: ids and labels in memory, the vectors in a nameless temporary file that is mapped.

    That is what `Registry.append` needs to store a large file whole or not at all. The file is made in `folder` (by
    default the system's for temporary files, see `tempfile`) and goes when the vectors are let go of.

    Raises:
        InvalidInput: no chunk, or chunks of different types or labels.
        DimensionMismatch: chunks of different widths.
        Unavailable: no room for the file.
    """
    ids: list[Array] = []
    labels: dict[str, list[Array]] = {}
    first: Embeddings | None = None
    with tempfile.TemporaryFile(dir=folder) as file:
        for chunk in chunks:
            first = first or chunk
            _check_alike(first, chunk)
            ids.append(chunk.ids)
            for name, column in chunk.labels.items():
                labels.setdefault(name, []).append(column)
            _write(file, chunk.vectors)
        n = sum(map(len, ids))
        if first is None or not n:
            raise InvalidInput("there are no embeddings to put together: the file is empty")
        # The mapping keeps the file's data after its name and handle are gone.
        vectors = np.memmap(file, dtype=first.vectors.dtype, mode="r", shape=(n, first.vectors.shape[1]))
    joined = {name: np.concatenate(columns) for name, columns in labels.items()}
    return Embeddings(np.concatenate(ids), vectors, joined)


def _write(file: IO[bytes], vectors: Array) -> None:
    try:
        np.ascontiguousarray(vectors).tofile(file)
        file.flush()
    except OSError as error:
        raise Unavailable(f"no room for a temporary copy of the vectors ({error}): set TMPDIR or folder=") from error


def _check_alike(first: Embeddings, chunk: Embeddings) -> None:
    if chunk.vectors.shape[1] != first.vectors.shape[1]:
        raise DimensionMismatch(
            f"a chunk has {chunk.vectors.shape[1]} dimensions, the first one {first.vectors.shape[1]}: give one width"
        )
    if chunk.vectors.dtype != first.vectors.dtype or chunk.labels.keys() != first.labels.keys():
        raise InvalidInput(
            f"chunks differ: {first.vectors.dtype} with labels {sorted(first.labels)}, then {chunk.vectors.dtype} with "
            f"{sorted(chunk.labels)}"
        )


def _chunks(blocks: Iterable[Block], given: Mapping[str, Array]) -> Iterator[Embeddings]:
    start = 0
    for vectors, columns in blocks:
        stop = start + len(vectors)
        fields = {**columns, **{name: column[start:stop] for name, column in given.items()}}
        yield Embeddings(fields.pop(_IDS), vectors, fields)
        start = stop


def _npy(path: Path) -> Array:
    """The matrix of a .npy file, mapped into memory."""
    refuse_pickle(path)
    try:
        # An archive of several arrays has no rows to take, and is refused as other formats are.
        matrix: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        first = matrix[:0]
    except Exception as error:  # whatever a damaged file makes NumPy raise
        raise CorruptFile(
            f"{path} is neither Parquet nor a .npy file of numbers: write it with pyarrow.parquet or numpy.save"
        ) from error
    as_rows(first, what=f"vectors of {path}")
    return matrix


def _blocks(matrix: Array, rows: int) -> Iterator[Block]:
    for start in range(0, len(matrix), rows):
        yield as_rows(np.asarray(matrix[start : start + rows])), {}


def _values(name: str, values: npt.ArrayLike, count: int) -> Array:
    """Ids or labels that the caller gave, as int64 or str."""
    column = np.asarray(values)
    what = f"labels {name!r}" if name else "ids"
    if column.dtype.kind in "iu":
        column = column.astype(np.int64)
    elif column.dtype.kind == "U":
        column = column.astype(object)
    if column.ndim != 1 or not (column.dtype == np.int64 or all(isinstance(value, str) for value in column)):
        raise InvalidInput(f"{what} must be whole numbers or texts (n,), got {column.dtype} {column.shape}")
    if len(column) != count:
        raise InvalidInput(f"{len(column)} {what} for {count} vectors: give one for each row")
    return column
