"""Index builds on a cluster: a node reads, trains and tunes, this process writes the files and the facts."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.cluster.nodes import Cluster
from registry.cluster.parts import require_seen
from registry.indexes import job as jobs
from registry.indexes.files import IndexFiles, placed
from registry.indexes.job import Job
from registry.vectors import Array

if TYPE_CHECKING:
    from registry.indexing import Progress

__all__ = ["worked"]


def worked(cluster: Cluster, job: Job, progress: Progress | None) -> dict[str, Any]:
    """What a node built, as `registry.indexing.build` wants it done; begun anew on another node if that one dies.

    The files come through the memory of Ray, so that the node need not see the home.
    """
    if progress is not None:
        progress(0, job.rows)
    ((built, *contents),) = cluster.map(_build, [(job,)], cpus=cluster.cpus_of_a_node())
    placed(IndexFiles(Path(job.faiss), Path(job.rows_file), built["digest"]), [memoryview(c) for c in contents])
    if progress is not None:
        progress(job.rows, job.rows)
    return dict(built)


def _build(job: Job) -> tuple[dict[str, Any], Array, Array]:
    """What was built, and the bytes (b,) uint8 of either file; in a worker."""
    require_seen(job.uri)
    with jobs.attempted(), tempfile.TemporaryDirectory(prefix="samespace-index-") as folder:
        files = Path(folder, "index.faiss"), Path(folder, "index.rows")
        built = jobs.build(replace(job, faiss=str(files[0]), rows_file=str(files[1])), lambda *_: None)
        contents = [np.fromfile(file, dtype=np.uint8) for file in files]
        return asdict(built), contents[0], contents[1]
