"""The files of a Lance dataset: which a state consists of, which are damaged, which nobody refers to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from registry.errors import CorruptFile, SamespaceError, Unavailable
from registry.gallery import Dataset, OpenDatasets
from registry.inventory import StoredDataset
from registry.places import Place, why_not

__all__ = ["fault", "files_at", "opened", "unreferenced"]


def opened(path: Place, version: int) -> Any:
    """The Lance dataset at `path` in its state `version`. CorruptFile if there is no such state."""
    return Dataset(path, OpenDatasets()).at(version)


def files_at(path: Place, version: int) -> list[str]:
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


def _cut_files(path: Place, dataset: Any) -> Iterator[str]:
    """Files that a state refers to and that are not there in full."""
    there: Mapping[str, int] = {
        file.place.below(path): file.bytes for file in path.files()
    }  # one question for them all
    for fragment in dataset.get_fragments():
        for file in fragment.data_files():
            if there.get(f"data/{file.path}") != file.file_size_bytes:
                yield f"data/{file.path}"
        if (deleted := fragment.deletion_file()) and not there.get(deleted):
            yield deleted


def unreferenced(path: Place, version: int) -> dict[Place, tuple[int, datetime]]:
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
def _listing(path: Place) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        if why := why_not(path, error):
            raise Unavailable(f"the files of {path} cannot be listed: the store {why}") from None
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise CorruptFile(f"the files of {path} cannot be listed: {first:.200}; run 'samespace db check'") from error
