"""A registry's folder: the database, the galleries, the transforms, and what is kept in memory of them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path as FilePath
from threading import Lock

import pyarrow as pa

from registry import canaries, transforms
from registry.backends import Backend, LanceBackend
from registry.backends.attached import Writer
from registry.backends.engines import Engines
from registry.backends.opening import attached, told
from registry.canaries import Canaries
from registry.database import Database, address_in
from registry.errors import CorruptFile, InvalidInput, Unavailable
from registry.filtering import Filters
from registry.gallery import Dataset, OpenDatasets
from registry.index import IndexCache
from registry.indexes.backend import IndexedBackend, OpenIndexes
from registry.indexes.files import IndexFiles, opened
from registry.indexes.standing import OpenIndex
from registry.layout import Layout
from registry.plans import Plans
from registry.services.graphs import Graphs
from registry.services.indexes import StoredIndex
from registry.services.kept import Kept
from registry.stores import settled
from registry.study import items
from registry.tables import GalleryRow, SegmentRow, VersionRow
from registry.transforms import Prefix, Transform
from registry.transforms.base import write_whole

__all__ = ["Home", "writer_of"]

_INDEX_BUDGET_BYTES = 2 << 30
_TRANSFORMS_KEPT = 256
_ORDERS_KEPT = 4  # each holds an id for every item of a gallery
_PREVIEWS_IN_A_FILE = 8192  # each may take 64 KiB


class Home:
    """Where everything of one registry is.

    <root>/registry.db, <root>/galleries/<gallery>/…lance or elsewhere, see `registry.stores`, <root>/transforms/<id>.safetensors,
    <root>/canaries/<model>-<n>.safetensors, <root>/studies/<id>.arrow,
    <root>/backfills/<id>.arrow, <root>/indexes/<id>.faiss; MLflow's own files, <root>/mlflow.db and <root>/mlruns, belong to `align`.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        database: str | None = None,
        galleries: str | os.PathLike[str] | None = None,
    ) -> None:
        if not os.fspath(root):
            raise InvalidInput("the home is empty text: name a folder, such as ./home")
        self.root = FilePath(root).expanduser().resolve()
        self.layout = Layout(self.root)
        self.database = Database(database or address_in(self.layout.database))
        try:
            for folder in (self.root, *self.layout.folders):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"{self.root} cannot be a registry's home: {error.strerror}; choose a writable folder"
            ) from error
        self.database.ensure()
        self.layout = Layout(self.root, settled(self.database, self.root, galleries))
        self.indexes = IndexCache(_INDEX_BUDGET_BYTES)
        self.graphs = Graphs()
        self.kept = Kept()
        self.engines = Engines()
        self.filters = Filters()
        self.plans = Plans(self.database)
        self.opened_indexes = OpenIndexes(self.indexes)
        self._transforms: OrderedDict[str, Transform] = OrderedDict()
        self._orders: OrderedDict[tuple[str, str], pa.Array] = OrderedDict()
        self._opened = OpenDatasets()
        self._lock = Lock()

    def items(self, gallery: str) -> Dataset:
        """The item columns of a gallery."""
        return Dataset(self.layout.items_of(gallery), self._opened)

    def previews(self, gallery: str) -> Dataset:
        """The previews of a gallery's items."""
        return Dataset(self.layout.previews_of(gallery), self._opened, file_rows=_PREVIEWS_IN_A_FILE)

    def segment(self, gallery: str, version: str) -> Dataset:
        """The vectors that `version` wrote into a gallery."""
        return Dataset(self.layout.segment_of(gallery, version), self._opened)

    def stored(self, row: GalleryRow, segment: SegmentRow) -> Backend:
        """What a version stored of a gallery, at the state that counts."""
        version = segment.version.ref
        if segment.backend is not None:
            return attached(
                row.name, writer_of(segment.version), row.id_type, told(segment.backend), self.engines,
                seen=segment.backend["seen"],
            )  # fmt: skip
        dataset = self.segment(row.name, version)
        return LanceBackend(row.name, version, row.id_type, dataset, segment.lance_version, segment.rows)

    def indexed(self, stored: Backend, index: StoredIndex) -> Backend:
        """What a version stored, searched by its index; as it is, if a file of that is damaged or cannot be read.

        Raises:
            FileNotFoundError: a file is gone, since the index was replaced meanwhile, or was lost.
        """
        if not isinstance(stored, LanceBackend):
            return stored

        def open_() -> OpenIndex | None:
            try:
                found, rows, metric = opened(IndexFiles(*self.layout.index_of(index.id), index.digest))
            except FileNotFoundError:
                raise
            except (CorruptFile, OSError):
                return None
            knob = index.settings.get("ef_search", index.settings.get("nprobe"))
            return OpenIndex(index.id, found, rows, metric, knob, index.compression == "none")

        found = self.opened_indexes.get(stored.dataset.uri, index.id, open_)
        return stored if found is None else IndexedBackend(stored, found, self.opened_indexes)

    def transform_file(self, id: str) -> FilePath:
        """The file of a registered transform."""
        return self.layout.transform_of(id)

    def keep_canaries(self, found: Canaries) -> None:
        """Write the file of a version's canaries."""
        _keep(self.layout.canaries_of(found.version), canaries.dumps(found))

    def canaries(self, version: str, digest: str) -> Canaries:
        """The canaries of a version, checked against the digest that the database knows."""
        file = self.layout.canaries_of(version)
        try:
            return canaries.loads(file.read_bytes(), digest=digest, name=str(file))
        except FileNotFoundError as error:
            raise CorruptFile(f"{file} is gone: restore it from a backup") from error

    def keep_study(self, id: str, data: bytes) -> None:
        """Write the file of a study's items."""
        _keep(self.layout.study_of(id), data)

    def study_items(self, id: str, digest: str) -> pa.Table:
        """The items of a study, checked against the digest that the database knows."""
        file = self.layout.study_of(id)
        try:
            return items.loads(file.read_bytes(), digest=digest, name=str(file))
        except FileNotFoundError as error:
            raise CorruptFile(f"{file} is gone: restore it from a backup") from error

    def written(self, gallery: str, backfill: str) -> Dataset:
        """The ids whose vectors a backfill wrote into a gallery."""
        return Dataset(self.layout.written_of(gallery, backfill), self._opened)

    def keep_order(self, id: str, data: bytes) -> None:
        """Write the file of a backfill's order."""
        _keep(self.layout.order_of(id), data)

    def order(self, id: str, digest: str) -> pa.Array:
        """The ids in a backfill's order, read once and checked against the digest that the database knows."""
        with self._lock:
            if (id, digest) in self._orders:
                return self._orders[id, digest]
        file = self.layout.order_of(id)
        try:
            found = items.loads(file.read_bytes(), digest=digest, name=str(file))["id"].combine_chunks()
        except FileNotFoundError as error:
            raise CorruptFile(f"{file} is gone: restore it from a backup") from error
        with self._lock:
            self._orders[id, digest] = found
            while len(self._orders) > _ORDERS_KEPT:
                self._orders.popitem(last=False)
        return found

    def keep_transform(self, id: str, transform: Transform) -> None:
        """Write the file of a transform."""
        _keep(self.transform_file(id), transform.dumps())

    def transform(self, id: str) -> Transform:
        """A registered transform, read once and checked against its checksum and its name."""
        with self._lock:
            if id in self._transforms:
                self._transforms.move_to_end(id)
                return self._transforms[id]
        try:
            found = transforms.load(self.transform_file(id))
        except FileNotFoundError as error:
            raise CorruptFile(
                f"the file of transform {id} is gone from {self.layout.transforms}: restore it from a backup"
            ) from error
        if not id.endswith(found.digest()[:12]):
            raise CorruptFile(f"the file of transform {id} holds another transform: restore it from a backup")
        with self._lock:
            self._transforms[id] = found
            while len(self._transforms) > _TRANSFORMS_KEPT:
                self._transforms.popitem(last=False)
        return found

    def chain(self, steps: Sequence[str], dim: int, *, normalize: bool) -> list[Transform]:
        """The transforms of a path's side, in order; `[:n]` is a plain prefix of what comes in, `dim` wide."""
        found: list[Transform] = []
        for step in steps:
            if not step.startswith("[:"):
                found.append(self.transform(step))
                continue
            width, directions = (found[-1].target_dim, found[-1].normalize) if found else (dim, normalize)
            found.append(Prefix(from_dim=width, to_dim=int(step[2:-1]), normalize=directions))
        return found


def writer_of(version: VersionRow) -> Writer:
    """A version, as far as its attached vectors are concerned."""
    return Writer(version.ref, version.dim, version.metric, version.normalized)  # type: ignore[arg-type]


def _keep(file: FilePath, data: bytes) -> None:
    try:
        write_whole(file, data)
    except OSError as error:
        raise Unavailable(
            f"{file} cannot be written: {error.strerror}; nothing was stored: mend that and try again"
        ) from error
