"""Building an index in this process, as its own process builds it: for tests that build many."""

from __future__ import annotations

from dataclasses import asdict
from itertools import count

from registry.embedded import Registry
from registry.indexes.job import Job, build
from registry.indexes.kinds import recipe
from registry.services import indexes
from registry.types import IndexInfo

_NUMBERS = count()


def indexed(reg: Registry, gallery: str, version: str | None = None, *, kind: str = "auto", compression: str = "none",
            settings: dict[str, int] | None = None, recall: float = 0.95, seed: int = 0) -> IndexInfo:  # fmt: skip
    """What `reg.build_index` does, without starting a process."""
    home = reg._home
    with home.database.reading() as session:
        of = indexes.target(session, gallery, version)
    chosen = recipe(kind, compression, settings, rows=of.rows, dim=of.dim)
    id = f"test-{next(_NUMBERS)}"
    files = home.layout.index_of(id)
    job = Job(
        gallery=gallery, version=of.version, id_type=of.id_type, uri=home.segment(gallery, of.version).uri,
        lance_version=of.lance_version, rows=of.rows, dim=of.dim, metric=of.metric, kind=chosen.kind,
        compression=chosen.compression, settings=dict(chosen.settings), recall=recall, k=10, seed=seed,
        faiss=str(files[0]), rows_file=str(files[1]),
    )  # fmt: skip
    built = asdict(build(job, lambda *_: None))
    with home.database.writing() as session:
        info, replaced = indexes.add(session, of, id, built, kind=chosen.kind, compression=chosen.compression)
    for path in (path for old in replaced for path in home.layout.index_of(old)):
        path.unlink()
    return info
