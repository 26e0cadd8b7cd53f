"""Vectors on disk: Lance datasets, read and written at versions that the database acknowledges.

Each gallery is a folder (or object-store prefix) `<name>/` with `items.lance` (id and item columns), `previews.lance`
(id, preview) if there are some, and one `<model>-<number>.lance` for each version that wrote vectors (id, vector). A
write is staged first, as data files that no version refers to, then published as a new Lance version; the caller makes
it visible by recording that version number in the database. Versions beyond the recorded one were never acknowledged:
the next write rolls them back.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Lance reads this once, at import. It warns on standard error of every dataset that is created, which is no news here.
os.environ.setdefault("LANCE_LOG", "error")

import lance
from lance.fragment import write_fragments

from registry.errors import CorruptFile, NotFound, SamespaceError, Unavailable
from registry.places import Place, why_not
from registry.vectors import Array

__all__ = ["KEPT_FOR", "Dataset", "OpenDatasets", "superseded"]

KEPT_FOR = timedelta(days=1)
"""How long a state stays after it was replaced: whoever began to read or to copy it has so much time."""

_OPEN_DATASETS = 64
_SMALL_FILES = 64
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_WHOLE_FILE_ROWS = 1 << 17  # whoever scans holds a few files in memory, and whoever opens a dataset reads of each
_ID_ROWS = 1 << 20
_KEPT_METADATA_BYTES = 256 << 20
_READ_AHEAD_BYTES = 64 << 20  # Lance would fill 2 GiB where it reads faster than whoever asked


@contextmanager
def _reading(uri: str, version: int) -> Iterator[None]:
    """Say which data could not be read, and what to do, instead of what Lance says."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, SamespaceError) or not (isinstance(error, ValueError | OSError) or _is_panic(error)):
            raise
        if why := why_not(uri, error):  # what it holds may be whole
            raise Unavailable(f"{uri} cannot be read: the store {why}") from None
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise CorruptFile(
            f"{uri} cannot be read at version {version}: {first:.200}; restore it from a backup"
        ) from error


def _is_panic(error: BaseException) -> bool:
    """Whether Lance ran into what its own code holds for impossible, such as a manifest with a flipped bit."""
    return type(error).__name__ == "PanicException"  # a class that nothing exports, and no `Exception`


@contextmanager
def _writing(uri: str) -> Iterator[None]:
    """Say that nothing was stored and why, instead of what Lance says."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, SamespaceError):
            raise
        if why := why_not(uri, error):
            raise Unavailable(f"{uri} cannot be written: the store {why}; nothing was stored") from None
        first = (str(error).splitlines() or ["no reason given"])[0]
        raise Unavailable(
            f"{uri} cannot be written: {first:.200}; nothing was stored: mend that and try again"
        ) from error


def _refuse_another(uri: str, before: int, after: int) -> None:
    """Refuse a state that holds more than our own write.

    Whoever lost the database's lock with its connection may still write, and Lance puts our write on top of that.
    """
    if after != before + 1:
        raise Unavailable(f"another process wrote to {uri} at the same time; nothing was stored: try again")


def _holds(kind: pa.DataType, value: str | int) -> bool:
    """Whether a column of this kind, string or int64, can hold a value."""
    if kind == pa.string():
        return True
    text = str(value)
    return _WHOLE.fullmatch(text) is not None and str(int(text)) == text and abs(int(text)) < 2**63


class OpenDatasets:
    """Datasets that are open, by address and version: an opened version never changes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._lock = threading.Lock()
        # What Lance learned of files stays from state to state, and so do its connections to a store.
        self.session = lance.Session(metadata_cache_size_bytes=_KEPT_METADATA_BYTES)

    def get(self, uri: str, version: int) -> Any:
        """The dataset at `uri` as it was at `version`."""
        key = (uri, version)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with _reading(uri, version):
            opened = self.open(uri, version)
        with self._lock:
            self._kept[key] = opened
            while len(self._kept) > _OPEN_DATASETS:
                self._kept.popitem(last=False)
        return opened

    def open(self, uri: str, version: int | None = None) -> Any:
        """The dataset at `uri`, opened anew: at `version`, or as it is now."""
        return lance.dataset(uri, version=version, session=self.session, storage_options=Place(uri).options or None)


def superseded(dataset: Any) -> list[int]:
    """The versions that were replaced so long ago that nobody reads them any more.

    Not those that were *written* so long ago: of a gallery that rests, the newest is that old, and may be being read.
    """
    states = sorted((state["version"], state["timestamp"]) for state in dataset.versions())
    until = datetime.now() - KEPT_FOR  # Lance gives local times without a zone
    return [version for (version, _), (_, replaced) in pairwise(states) if replaced < until]


def _forget_old(dataset: Any) -> None:
    """Remove what is superseded, with the files that only it refers to."""
    if old := superseded(dataset):
        dataset.cleanup_old_versions(versions=old, error_if_tagged_old_versions=False)


def _crowded(dataset: Any, whole: int) -> bool:
    """Whether so many files of fewer than `whole` rows have come together that each further write and read costs more."""
    small = [f for f in dataset.get_fragments() if f.count_rows() < whole]
    return len(small) >= _SMALL_FILES


class Dataset:
    """One Lance dataset at `uri`; every read names the version that it wants. A file holds at most `file_rows` rows."""

    def __init__(self, uri: str, opened: OpenDatasets, *, file_rows: int = _WHOLE_FILE_ROWS) -> None:
        self.uri = uri
        self._place = Place(uri)
        self._opened = opened
        self._file_rows = file_rows

    def at(self, version: int) -> Any:
        """The dataset as it was at `version`."""
        return self._opened.get(self.uri, version)

    def check_rows(self, version: int, rows: int) -> None:
        """Hold what is on disk to the number of rows that was acknowledged; CorruptFile if a part of it is lost."""
        with _reading(self.uri, version):
            found = self.at(version).count_rows()
        if found != rows:
            raise CorruptFile(
                f"{self.uri} holds {found} rows at version {version}, {rows} were acknowledged: restore it from a backup"
            )

    def stage(self, table: pa.Table, version: int) -> list[Any]:
        """Write the rows as data files that no version refers to yet; the slow half of an append, outside any lock.

        `version` is what they will be appended to; 0 announces a dataset that is to be created.
        """
        with _writing(self.uri):
            return list(
                write_fragments(
                    table,
                    self.uri,
                    schema=table.schema,
                    mode="append" if version else "overwrite",
                    max_rows_per_file=self._file_rows,
                    storage_options=self._place.options or None,
                    session=self._opened.session,
                )
            )

    def discard(self, fragments: list[Any]) -> None:
        """Remove staged files that will never be published."""
        for file in (file for fragment in fragments for file in fragment.files):
            with contextlib.suppress(OSError, Unavailable):  # then they stay until `samespace doctor` finds them
                (self._place / "data" / file.path).remove()

    def publish(self, fragments: list[Any], schema: pa.Schema, version: int) -> int:
        """Append staged rows after `version` (0 creates the dataset); return the new version."""
        with _writing(self.uri):
            if version == 0:
                operation = lance.LanceOperation.Overwrite(schema, fragments)
                return int(self._committed(operation).version)
            base = self._rolled_back(version)
            crowded = _crowded(base, self._file_rows)
            if crowded and base.version == version:
                # Old states go now, while the newest is the acknowledged one, which is kept: were it done after this
                # write, the state that counts until the caller's commit could be among them.
                _forget_old(base)
            operation = lance.LanceOperation.Append(fragments)
            grown = self._committed(operation, base)
            _refuse_another(self.uri, base.version, grown.version)
            if crowded:  # files of `file_rows` are left alone, so a row is rewritten a bounded number of times
                grown.optimize.compact_files(target_rows_per_fragment=self._file_rows)
            return int(grown.version)

    def remove(self, ids: pa.Array, version: int) -> tuple[int, int]:
        """Delete the rows of `ids` that are there after `version`; return (new version, how many went)."""
        gone = self.known(ids, version)
        if not len(gone):
            return version, 0
        with _writing(self.uri):
            base = self._rolled_back(version)
            before = base.version
            base.delete(pc.field("id").isin(gone))
            _refuse_another(self.uri, before, base.version)
            return int(base.version), len(gone)

    def clear(self, version: int) -> int:
        """Delete all rows that are there after `version`; return the new version. The files go after a day, see `superseded`."""
        with _writing(self.uri):
            base = self._rolled_back(version)
            before = base.version
            base.delete("true")
            _refuse_another(self.uri, before, base.version)
            return int(base.version)

    def _rolled_back(self, version: int) -> Any:
        """The newest state, brought back to `version` if an unacknowledged write (a killed process) went beyond it."""
        newest = self._opened.open(self.uri)
        if newest.version == version:
            return newest
        self._opened.open(self.uri, version).restore()
        return self._opened.open(self.uri)

    def _committed(self, operation: Any, base: Any = None) -> Any:
        """The dataset after a write on top of `base`. No manifest is ever replaced: in a store, Lance puts it if absent."""
        if base is not None:
            return lance.LanceDataset.commit(base, operation, read_version=base.version)
        return lance.LanceDataset.commit(self.uri, operation, storage_options=self._place.options or None)

    def known(self, ids: pa.Array, version: int) -> pa.Array:
        """Those of `ids` that are stored at `version`, each once."""
        if version == 0 or not len(ids):
            return ids.slice(0, 0)
        columns = (batch.column("id") for batch in self.batches(version, ["id"], _ID_ROWS))
        hits = [column.filter(pc.is_in(column, value_set=ids)) for column in columns]
        return pa.concat_arrays(hits) if hits else ids.slice(0, 0)

    def places(self, ids: pa.Array, version: int, *, near: Array | None = None) -> Array:
        """Where each of `ids` stands at `version`: the number (m,) of its row in stored order, or -1.

        `near` (m,) is where each probably stands, none below 0: if they all do, nothing else is read.
        """
        if near is not None and len(ids) and self._stand(ids, near, version):
            return near
        found = np.full(len(ids), -1, dtype=np.int64)
        start = 0
        for batch in self.batches(version, ["id"], _ID_ROWS) if len(ids) else ():
            wanted = pc.index_in(batch.column("id"), value_set=ids)
            here = np.flatnonzero(wanted.is_valid().to_numpy(zero_copy_only=False))
            found[wanted.drop_null().to_numpy()] = start + here
            start += batch.num_rows
        again = pc.index_in(ids, value_set=ids).to_numpy()  # an id that is asked for twice was found for its first
        places: Array = found[again]
        return places

    def _stand(self, ids: pa.Array, places: Array, version: int) -> bool:
        """Whether each of `ids` stands at its place."""
        if places.max() >= self.count(version):
            return False
        return bool(self.rows(places, version, ["id"])["id"].combine_chunks().equals(ids))

    def matching(self, start: int, rows: int, version: int, values: Mapping[str, str | int]) -> Array:
        """Of the `rows` rows from the one at `start`, the numbers of those that have these values by column, in order.

        3 and "3" are one value, whichever of the two the column holds.
        """
        with _reading(self.uri, version):
            found = self.at(version).to_table(columns=list(values), offset=start, limit=rows)
        fits = np.ones(len(found), dtype=bool)
        for name, value in values.items():
            column = found[name]
            wanted = pa.array([str(value)]).cast(column.type, safe=True) if _holds(column.type, value) else None
            fits &= False if wanted is None else pc.equal(column, wanted[0]).to_numpy()
        return start + np.flatnonzero(fits)

    def having(self, version: int, values: Mapping[str, Sequence[str | int]]) -> pa.Array:
        """The ids of all rows that have any of these values in each of these columns, in stored order.

        As for `matching`, 3 and "3" are one value.
        """
        found = []
        for batch in self.batches(version, ["id", *values], _ID_ROWS):
            fits = np.ones(batch.num_rows, dtype=bool)
            for name, any_of in values.items():
                kind = batch.column(name).type
                held = [pa.array([str(value)]).cast(kind)[0].as_py() for value in any_of if _holds(kind, value)]
                fits &= pc.is_in(batch.column(name), value_set=pa.array(held, kind)).to_numpy(zero_copy_only=False)
            found.append(batch.column("id").filter(pa.array(fits)))
        return pa.concat_arrays(found) if found else pa.array([])

    def rows(self, places: Array, version: int, columns: list[str]) -> pa.Table:
        """The rows that stand at `places` (m,), in that order, with `columns`."""
        once, order = np.unique(places, return_inverse=True)
        with _reading(self.uri, version):
            found = self.at(version).take(once.tolist(), columns=columns)
        return found if np.array_equal(order, np.arange(len(order))) else found.take(pa.array(order))

    def count(self, version: int) -> int:
        """How many rows there are at `version`."""
        with _reading(self.uri, version):
            return int(self.at(version).count_rows())

    def take(self, ids: pa.Array, version: int, columns: list[str]) -> pa.Table:
        """The rows of `ids`, in their order, with their ids and `columns`.

        Raises:
            NotFound: an id is not stored.
        """
        name = self.uri.rsplit("/", 2)[-2]
        if version == 0:
            raise NotFound(f"{name} holds nothing yet: append to it first")
        places = self.places(ids, version)
        if len(places) and places.min() < 0:
            row = int(np.argmin(places))
            raise NotFound(f"id {ids[row].as_py()!r} is not in {name}: check the id, or append it first")
        return self.rows(places, version, ["id", *columns])

    def batches(self, version: int, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Batches of at most `rows` rows with `columns`, in stored order; memory is bounded by a few of them."""
        if not version:
            return
        with _reading(self.uri, version):
            yield from self.at(version).to_batches(
                columns=columns,
                batch_size=rows,
                batch_readahead=2,
                fragment_readahead=1,
                io_buffer_size=_READ_AHEAD_BYTES,
            )

    def fragments(self, version: int) -> dict[int, tuple[str, int]]:
        """By number of each fragment at `version` the names of its data files, and how many of its rows are deleted.

        A fragment with the same files has the same rows at the same addresses, less those that are deleted.
        """
        with _reading(self.uri, version):
            found = self.at(version).get_fragments()
            return {f.fragment_id: ("/".join(file.path for file in f.data_files()), f.num_deletions) for f in found}

    def fragment_rows(self, version: int) -> list[tuple[int, int]]:
        """The number of each fragment at `version`, in stored order, and how many rows it has."""
        with _reading(self.uri, version):
            return [(f.fragment_id, f.count_rows()) for f in self.at(version).get_fragments()]

    def addressed(
        self, version: int, columns: list[str], rows: int, *, fragments: Sequence[int] | None = None
    ) -> Iterator[tuple[pa.RecordBatch, Array]]:
        """Batches as `batches` gives them, with the address (m,) of each row: its fragment's number << 32, and the offset.

        Only those of some `fragments`, if they are named, in that order.
        """
        with _reading(self.uri, version):
            dataset = self.at(version)
            some = None if fragments is None else [dataset.get_fragment(number) for number in fragments]
            scanner = dataset.scanner(  # not `to_batches` of the dataset, which reads all fragments, whichever are named
                columns=columns, batch_size=rows, batch_readahead=2, fragment_readahead=1, fragments=some,
                io_buffer_size=_READ_AHEAD_BYTES, with_row_address=True,
            )  # fmt: skip
            for batch in scanner.to_batches():
                yield batch, batch.column("_rowaddr").to_numpy(zero_copy_only=False)

    def column(self, name: str, version: int) -> pa.Array:
        """One whole column; for ids and labels, never vectors."""
        if version == 0:
            return pa.array([])
        with _reading(self.uri, version):
            return self.at(version).to_table(columns=[name])[name].combine_chunks()
