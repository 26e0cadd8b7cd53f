"""Previews from files: a folder of pictures, or texts in a table; read a part at a time, so that memory stays small."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from registry.cli.files import is_parquet
from registry.errors import InvalidInput
from registry.previews import LARGEST_PICTURE, media_type

__all__ = ["pictures", "texts"]

Part = tuple[list[Any], list[Any]]
"""Ids (m,), and a picture or a text of each."""

_ROWS = 1024
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif")


def pictures(folder: Path, *, whole_numbers: bool) -> Iterator[Part]:
    """The pictures of a folder and the folders in it: `shoes/7.png` is of the item `shoes/7`.

    Names that begin with a dot are passed over; any other file must be a picture, and links are not followed.
    """
    named = ((file.relative_to(folder).with_suffix("").as_posix(), file) for file in _files(folder))
    return _parts((_id(name, file, whole_numbers), _read(file)) for name, file in named)


def texts(path: Path, *, ids: str, text: str, whole_numbers: bool) -> Iterator[Part]:
    """The texts of a .csv, .jsonl or Parquet file, by the names of its columns.

    Raises:
        InvalidInput: another format, or a line or column that is not there or does not parse.
    """
    if is_parquet(path):
        return _parquet(path, ids, text)
    if path.suffix == ".jsonl":
        rows = _jsonl(path, ids, text)
    elif path.suffix == ".csv":
        found = _csv(path, ids, text)
        rows = ((_id(id, f"line {line} of {path}", whole_numbers), value) for line, id, value in found)
    else:
        raise InvalidInput(f"texts are read from .csv, .jsonl or Parquet, got {path.name!r:.80}")
    return _parts(rows)


def _parts(rows: Iterable[tuple[Any, Any]]) -> Iterator[Part]:
    left = iter(rows)
    while part := list(islice(left, _ROWS)):
        yield [id for id, _ in part], [value for _, value in part]


def _id(text: str, where: object, whole_numbers: bool) -> int | str:
    if not whole_numbers:
        return text
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise InvalidInput(f"{where} is of the item {text!r:.80}, ids of this gallery are whole numbers: mend it")
    return int(text)


def _files(folder: Path) -> Iterator[Path]:
    with _reading(folder):
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    for entry in entries:
        if entry.is_symlink():
            raise InvalidInput(f"{entry} is a symbolic link, which is not followed: put a copy there")
        if entry.is_dir():
            yield from _files(entry)
        elif entry.suffix.lower() in _ENDINGS:
            yield entry
        else:
            raise InvalidInput(f"{entry} is no picture ({', '.join(_ENDINGS)}): move it away")


def _read(file: Path) -> bytes:
    with _reading(file), file.open("rb") as opened:
        data = opened.read(LARGEST_PICTURE + 1)
    if len(data) > LARGEST_PICTURE:
        raise InvalidInput(
            f"{file} has {file.stat().st_size} bytes, a preview at most {LARGEST_PICTURE}: make it smaller"
        )
    if media_type(data) is None:
        raise InvalidInput(f"{file} is no PNG, JPEG, WebP or GIF, whatever its name says: convert it")
    return data


def _csv(path: Path, ids: str, text: str) -> Iterator[tuple[int, str, str]]:
    with _reading(path), path.open(encoding="utf-8-sig", newline="") as opened:
        rows = csv.DictReader(opened, strict=True)
        _check_columns(path, rows.fieldnames or [], ids, text)
        for row in rows:
            if row[ids] is None or row[text] is None:
                raise InvalidInput(f"line {rows.line_num} of {path} has too few fields: mend it")
            yield rows.line_num, row[ids], row[text]


def _jsonl(path: Path, ids: str, text: str) -> Iterator[tuple[Any, Any]]:
    with _reading(path), path.open(encoding="utf-8") as opened:
        for number, line in enumerate(opened, 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidInput(f"line {number} of {path} is no JSON ({error}): mend it") from error
            if not isinstance(row, dict) or not row.keys() >= {ids, text}:
                raise InvalidInput(f"line {number} of {path} must be an object with {ids!r:.80} and {text!r:.80}")
            yield row[ids], row[text]


def _parquet(path: Path, ids: str, text: str) -> Iterator[Part]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, ids, text)
            for batch in file.iter_batches(batch_size=_ROWS, columns=list({ids, text})):
                yield batch.column(ids).to_pylist(), batch.column(text).to_pylist()
    except (pa.ArrowException, OSError) as error:
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise InvalidInput(f"{path} is no Parquet file that can be read: {first:.200}") from error


def _check_columns(path: Path, names: Iterable[str], ids: str, text: str) -> None:
    for name in (ids, text):
        if name not in names:
            raise InvalidInput(f"{path} has no column {name!r:.80}: it has {', '.join(names) or 'none'}")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what the system or a parser says of a file into a line of ours."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} is no such text in UTF-8 ({error}): mend it") from error
