"""Where the files of a registry are, below its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registry.places import Place

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of one registry, whose folder is `root`; a backup keeps its files in the same order.

    Its galleries may be `elsewhere`.
    """

    root: Path
    elsewhere: Place | None = None

    @property
    def database(self) -> Path:
        """The facts, where they are not in PostgreSQL."""
        return self.root / "registry.db"

    @property
    def session_key(self) -> Path:
        """The key that signs the sessions of the pages; `web.secret` makes it."""
        return self.root / "secret.key"

    @property
    def galleries(self) -> Place:
        """Vectors: a folder for each gallery."""
        return self.elsewhere or Place(self.root / "galleries")

    @property
    def transforms(self) -> Path:
        """Transforms: a file for each."""
        return self.root / "transforms"

    @property
    def canaries(self) -> Path:
        """Canaries: a file for each version that has some."""
        return self.root / "canaries"

    @property
    def studies(self) -> Path:
        """What studies found of each item: a file for each."""
        return self.root / "studies"

    @property
    def backfills(self) -> Path:
        """In which order backfills go through their items: a file for each."""
        return self.root / "backfills"

    @property
    def indexes(self) -> Path:
        """Search indexes: two files for each."""
        return self.root / "indexes"

    @property
    def folders(self) -> tuple[Path, ...]:
        """All of them that hold files, in the home."""
        return (self.root / "galleries", self.transforms, self.canaries, self.studies, self.backfills, self.indexes)

    def items_of(self, gallery: str) -> Place:
        """The item columns of a gallery."""
        return self.galleries / gallery / "items.lance"

    def previews_of(self, gallery: str) -> Place:
        """The previews of a gallery's items."""
        return self.galleries / gallery / "previews.lance"

    def segment_of(self, gallery: str, version: str) -> Place:
        """The vectors that `version` wrote into a gallery."""
        return self.galleries / gallery / f"{_file_name(version)}.lance"

    def written_of(self, gallery: str, backfill: str) -> Place:
        """The ids whose vectors a backfill wrote into a gallery; no segment is called so, as its name ends with a number."""
        return self.galleries / gallery / f"{backfill}-written.lance"

    def transform_of(self, id: str) -> Path:
        """The file of a transform."""
        return self.transforms / f"{id}.safetensors"

    def study_of(self, id: str) -> Path:
        """The file of a study's items."""
        return self.studies / f"{id}.arrow"

    def order_of(self, backfill: str) -> Path:
        """The file of a backfill's order."""
        return self.backfills / f"{backfill}.arrow"

    def index_of(self, id: str) -> tuple[Path, Path]:
        """The files of an index: that of FAISS, and that of the rows which it covers."""
        return self.indexes / f"{id}.faiss", self.indexes / f"{id}.rows"

    def canaries_of(self, version: str) -> Path:
        """The file of a version's canaries."""
        return self.canaries / f"{_file_name(version)}.safetensors"


def _file_name(version: str) -> str:
    return version.replace("/", "-")
