"""Building an index in this process, as its own process builds it: for tests that build many."""

from __future__ import annotations

from dataclasses import asdict

from registry import indexing
from registry.embedded import Registry
from registry.indexes.job import build
from registry.types import IndexInfo


def indexed(reg: Registry, gallery: str, version: str | None = None, *, kind: str = "auto", compression: str = "none",
            settings: dict[str, int] | None = None, recall: float = 0.95, seed: int = 0) -> IndexInfo:  # fmt: skip
    """What `reg.build_index` does, without starting a process."""
    return indexing.build(
        reg._home, gallery, version=version, kind=kind, compression=compression, recall=recall, settings=settings,
        seed=seed, progress=None, worked=lambda job, _: asdict(build(job, lambda *_: None)),
    )  # fmt: skip
