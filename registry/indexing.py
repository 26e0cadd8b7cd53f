"""Building search indexes out of process, and letting them go."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from registry import wire
from registry.errors import InvalidInput, Unavailable
from registry.home import Home
from registry.indexes.job import Job
from registry.indexes.kinds import recipe
from registry.services import indexes
from registry.types import IndexInfo

__all__ = ["build", "drop", "remove_files"]

Progress = Callable[[int, int], None]
Worked = Callable[[Job, Progress | None], dict[str, Any]]
"""Does a job, and gives what was built as JSON values."""

_K = 10
_ROOT = Path(__file__).parent.parent


def build(
    home: Home, gallery: str, *, version: str | None, kind: str, compression: str, recall: float,
    settings: Mapping[str, Any] | None, seed: int, progress: Progress | None, worked: Worked | None = None,
) -> IndexInfo:  # fmt: skip
    """Build an index over a segment; see `Registry.build_index`. It is done in a process of its own, unless `worked` does it."""
    _check(recall, seed)
    with home.database.reading() as session:
        target = indexes.target(session, gallery, version)
    if target.backend is not None:
        raise InvalidInput(
            f"the vectors of {target.version} in {gallery} are not stored here: their own engine indexes them"
        )
    chosen = recipe(kind, compression, settings, rows=target.rows, dim=target.dim)
    id = f"{chosen.kind}-{secrets.token_hex(6)}"
    files = home.layout.index_of(id)
    job = Job(
        gallery=gallery, version=target.version, id_type=target.id_type,
        uri=str(home.segment(gallery, target.version).uri), lance_version=target.lance_version, rows=target.rows,
        dim=target.dim, metric=target.metric, kind=chosen.kind, compression=chosen.compression,  # type: ignore[arg-type]
        settings=dict(chosen.settings), recall=float(recall), k=_K, seed=int(seed), faiss=str(files[0]),
        rows_file=str(files[1]),
    )  # fmt: skip
    try:
        built = (worked or _worked)(job, progress)
        with home.database.writing() as session:
            info, replaced = indexes.add(session, target, id, built, kind=chosen.kind, compression=chosen.compression)
    except BaseException:
        remove_files(home, [id])
        raise
    remove_files(home, replaced)
    return info


def drop(home: Home, gallery: str, version: str) -> None:
    """Let an index go; see `Registry.drop_index`."""
    with home.database.writing() as session:
        gone = indexes.drop(session, gallery, version)
    remove_files(home, gone)


def _check(recall: object, seed: object) -> None:
    if isinstance(recall, bool) or not isinstance(recall, int | float | np.floating) or not 0 < recall <= 1:
        raise InvalidInput(f"recall must be a share above 0 and up to 1, such as 0.95, got {recall!r:.80}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**31:
        raise InvalidInput(f"seed must be a whole number from 0, got {seed!r:.80}")


def remove_files(home: Home, ids: Iterable[str]) -> None:
    """Remove files of indexes; whoever has them open reads on. What cannot go now is found by `samespace doctor`."""
    for path in (path for id in ids for path in home.layout.index_of(id)):
        for left in (path, path.with_name(f"{path.name}.part")):
            with contextlib.suppress(OSError):
                left.unlink()


def _worked(job: Job, progress: Progress | None) -> dict[str, Any]:
    """What a process of its own built; it is ended if we are interrupted."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "registry.indexes.job"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
            text=True, cwd=_ROOT, env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
        )  # fmt: skip
        assert process.stdin is not None  # noqa: S101 - they are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            with contextlib.suppress(BrokenPipeError):  # it died at once, which its answer tells
                process.stdin.write(json.dumps(asdict(job)))
                process.stdin.close()
            built = _heard(process.stdout, progress)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        if built is None:
            said.seek(0)
            last = ([line for line in said.read().splitlines() if line.strip()] or ["it said nothing"])[-1]
            raise Unavailable(
                f"the process that built the index ended with {process.returncode} ({last:.200}): nothing changed, try again"
            )
        return built


def _heard(lines: IO[str], progress: Progress | None) -> dict[str, Any] | None:
    """What the lines of a build say was built; None if they end before that."""
    for line in lines:
        told = json.loads(line)
        if "error" in told:
            raise wire.error_of(told["error"])
        if "built" in told:
            return dict(told["built"])
        if progress is not None:
            progress(*told["progress"])
    return None
