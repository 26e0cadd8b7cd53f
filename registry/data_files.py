"""The files of a Lance dataset: which a state consists of, which are damaged, which nobody refers to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from registry.errors import CorruptFile, SamespaceError
from registry.gallery import Dataset, OpenDatasets
from registry.inventory import StoredDataset

__all__ = ["fault", "files_at", "opened", "unreferenced"]


def opened(path: Path, version: int) -> Any:
    """The Lance dataset at `path` in its state `version`. CorruptFile if there is no such state."""
    return Dataset(str(path), OpenDatasets()).at(version)


def files_at(path: Path, version: int) -> list[str]:
    """The files, below `path`, that the state `version` consists of: its manifest, data and what is deleted of it."""
    dataset = opened(path, version)
    with _listing(path):
        listed = dataset.tracked_files(min_version=version)
        return [file["path"] for batch in listed for file in batch.to_pylist() if file["version"] == version]


def fault(stored: StoredDataset) -> str | None:
    """What is wrong with a dataset, without reading its vectors: it must open, count its rows, and have its files."""
    try:
        dataset = opened(stored.path, stored.version)
        found = dataset.count_rows()
        short = next(_cut_files(stored.path, dataset), None)
    except (SamespaceError, OSError, ValueError) as error:
        return (str(error).splitlines() or ["unreadable"])[0]
    if found != stored.rows:
        return f"has {found} rows at version {stored.version}, the facts say {stored.rows}"
    return short and f"its file {short} is missing or cut short"


def _cut_files(path: Path, dataset: Any) -> Iterator[str]:
    """Files that a state refers to and that are not there in full."""
    for fragment in dataset.get_fragments():
        for file in fragment.data_files():
            if _size(path / "data" / file.path) != file.file_size_bytes:
                yield f"data/{file.path}"
        if (deleted := fragment.deletion_file()) and not _size(path / deleted):
            yield deleted


def _size(file: Path) -> int | None:
    return os.stat(file).st_size if file.is_file() else None


def unreferenced(path: Path, version: int) -> dict[Path, tuple[int, datetime]]:
    """Data files that no state refers to, each with its size and the time of its last change: staged, or left behind."""
    dataset = opened(path, version)
    with _listing(path):
        there = {
            file["path"]: (file["size_bytes"], file["last_modified"])
            for batch in dataset.all_files()
            for file in batch.to_pylist()
            if file["path"].startswith("data/")
        }
        for batch in dataset.tracked_files():  # after all files: one that is published meanwhile is found referred to
            for name in batch.column("path").to_pylist():
                there.pop(name, None)
    return {path / name: what for name, what in there.items()}


@contextmanager
def _listing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise CorruptFile(f"the files of {path} cannot be listed: {first:.200}; run 'samespace db check'") from error
