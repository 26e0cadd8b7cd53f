"""What commands read from files: ids, labels and vectors, with an error that names the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.errors import InvalidInput

if TYPE_CHECKING:
    from align.data import Embeddings
    from registry.vectors import Array

__all__ = ["column", "dataset_part", "is_parquet", "matrix", "pairs", "table", "table_columns"]


def matrix(path: Path) -> Array:
    """Rows (n, d) of a .npy file, mapped into memory, not read."""
    import numpy as np

    with _reading(path, "a .npy file with a matrix of numbers: write it with numpy.save"):
        rows: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(rows, np.ndarray):
            raise TypeError("an archive of several arrays")
    return rows


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does, or is called so."""
    with _reading(path, "a file"), path.open("rb") as file:
        return file.read(4) == b"PAR1" or path.suffix in (".parquet", ".pq")


def table(path: Path, *, ids: str, vector: str, labels: Mapping[str, str], folder: Path) -> Embeddings:
    """Ids, vectors and label columns of a Parquet file, by the names of its columns.

    The vectors are copied to a nameless temporary file in `folder` and mapped, a block at a time: memory does not grow
    with their number, and an append of all of them stays one append.
    """
    from align.data import embeddings, gather

    return gather(embeddings(path, ids=ids, vector=vector, labels=labels), folder=folder)


def table_columns(path: Path) -> list[str]:
    """The names of a Parquet file's columns."""
    from align.data.parquet import names

    return names(path)


def dataset_part(data: str, first: int | None) -> tuple[Array, Array, Array]:
    """Ids (n,), images (n, c, h, w) and labels (n,) of a part of a data set: SET, SET:train or SET:test."""
    from align.data import load

    source, _, part = data.partition(":")
    dataset = load(source)
    if part not in ("", "train", "test"):
        raise click.UsageError(f"--data takes SET, SET:train or SET:test, got {data!r}")
    ids, x, y = (getattr(dataset, f"{field}_{part or 'train'}")[:first] for field in ("ids", "x", "y"))
    return ids, x, y


def column(path: Path, *, whole_numbers: bool | None = None) -> Any:
    """Values (n,) of a .npy file, or of a text with one a line.

    Lines are whole numbers if `whole_numbers`, text if not, and by default numbers where all of them are.
    """
    import numpy as np

    if path.suffix == ".npy":
        with _reading(path, "a .npy file with one value for each row: write it with numpy.save"):
            return np.load(path, allow_pickle=False)
    with _reading(path, "a text file in UTF-8 with one value a line"):
        lines = path.read_text(encoding="utf-8").splitlines()
    if whole_numbers is None:
        whole_numbers = bool(lines) and all(line.isdecimal() for line in lines)
    if not whole_numbers:
        return lines
    for number, line in enumerate(lines, start=1):
        if not line.strip().lstrip("-").isdecimal():
            raise InvalidInput(
                f"line {number} of {path} is {line!r:.80}, ids of this gallery are whole numbers: mend it"
            )
    return [int(line) for line in lines]


def pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    """KEY=VALUE options as a mapping; each key once, and none empty."""
    found: dict[str, str] = {}
    for item in given:
        key, sign, value = item.partition("=")
        if not key or not sign:
            raise InvalidInput(f"{option} takes KEY=VALUE, got {item!r:.80}")
        if key in found:
            raise InvalidInput(f"{option} gives {key!r:.80} twice: give it once")
        found[key] = value
    return found


@contextmanager
def _reading(path: Path, wanted: str) -> Iterator[None]:
    """Turn what NumPy or the system says of a file, which may even recommend pickle, into a line of ours."""
    try:
        yield
    except OSError as error:
        if error.strerror:
            raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
        raise InvalidInput(f"{path} is not {wanted}") from error
    except (ValueError, TypeError, EOFError) as error:
        raise InvalidInput(f"{path} is not {wanted}") from error
