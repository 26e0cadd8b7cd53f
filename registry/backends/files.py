"""Files that hold vectors and are not ours: what they were when they were attached, and whether they still are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.backends.attached import Attached, Seen
from registry.batches import id_type
from registry.errors import CorruptFile, InvalidInput, SamespaceError
from registry.vectors import Array

__all__ = ["AttachedFiles", "ids_in", "reading"]


class AttachedFiles(Attached):
    """Vectors in files that must not change: their sizes and times are held to those that were seen."""

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that are read, in order."""

    @cached_property
    def states(self) -> dict[str, list[int]]:
        """Size in bytes and time of the last change in nanoseconds of each file, by its path."""
        found = {}
        for path in self.files():
            with reading(path):
                stat = path.stat()
            found[str(path)] = [stat.st_size, stat.st_mtime_ns]
        return found

    @property
    def state(self) -> Hashable:
        """Where the files are, and what they are now."""
        return self.at.kind, self.at.where, self.at.id, self.at.vector, *((p, *s) for p, s in self.states.items())

    def check(self) -> None:
        """The files are those that were seen: the same paths, sizes and times."""
        was = self.seen.get("files", {})
        try:
            now = self.states
        except CorruptFile as error:
            raise self.changed(str(error).split(":")[0]) from error
        for path in sorted({*was, *now}):
            name = Path(path).name
            if path not in now or path not in was:
                raise self.changed(f"{name} is {'new' if path in now else 'gone'}")
            for what, before, after in zip(("bytes", "time of change"), was[path], now[path], strict=True):
                if before != after:
                    unit = f"{after} bytes, {before} before" if what == "bytes" else "written again since"
                    raise self.changed(f"{name} is {unit}")

    def look(self) -> Seen:
        """Read all of them once, a block at a time: every vector is checked, and every id."""
        states = self.states
        self.id_type = self.found_type()
        ids = self.ids()
        if not len(ids):
            raise InvalidInput(f"{self.at.name} holds no vectors: name a place that does")
        self.refuse_twice(self.named(ids))
        rows = sum(len(block) for block, _ in self.blocks()) if "read" in self.capabilities else len(ids)
        if rows != len(ids):
            raise InvalidInput(f"{self.at.name} holds {len(ids)} ids for {rows} vectors: give one id for each")
        return Seen(rows, self.id_type, {"files": states})

    def count(self) -> int:
        """As many as were seen, since files that changed are refused."""
        return len(self.ids())

    @abstractmethod
    def found_type(self) -> str:
        """The type of the ids: string or int."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system, NumPy or Arrow says of a file into a line of ours, without the path to it, which is for admins."""
    try:
        yield
    except SamespaceError:
        raise
    except OSError as error:
        why = error.strerror or str(error).splitlines()[0].replace(str(path), path.name)[:200]
        raise CorruptFile(f"{path.name} cannot be read, {why}: check the path, or detach it if it is gone") from error
    except (ValueError, TypeError, EOFError, pa.ArrowException) as error:
        first = (str(error).splitlines() or ["no reason given"])[0].replace(str(path), path.name)[:200]
        raise CorruptFile(f"{path.name} is not what it should be, {first}: put it back, or detach it") from error


def ids_in(path: Path) -> pa.Array:
    """Ids (n,) in a .npy file of strings or whole numbers, or in a text with one a line."""
    with reading(path):
        if path.suffix != ".npy":
            return pa.array(path.read_text(encoding="utf-8").splitlines(), pa.string())
        found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        if found.ndim != 1 or found.dtype.kind not in "iuU":
            raise InvalidInput(f"{path.name} holds {found.dtype} {found.shape}: ids are (n,) strings or whole numbers")
        return pa.array(found.tolist() if found.dtype.kind == "U" else found.astype(np.int64))


def type_of(column: pa.DataType, of: object) -> str:
    """Whether ids of a column are strings or whole numbers."""
    if pa.types.is_integer(column):
        return "int"
    if pa.types.is_string(column) or pa.types.is_large_string(column):
        return "string"
    raise InvalidInput(f"the ids of {of} are of type {column}: ids are strings or whole numbers")


def as_ids(kind: str, column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column of ids of this type, in one piece."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if whole.null_count:
        raise InvalidInput("an id is missing: give every row one")
    return pc.cast(whole, id_type(kind))
