"""NumPy's BLAS threads, kept from taking the cores that FAISS needs next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]


class _Limit:
    """How many blocks want one thread, and what the setting goes back to when none does: a fact of the whole process."""

    def __init__(self) -> None:
        self.lock, self.blocks, self.before = Lock(), 0, None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Compute NumPy's products in the calling thread alone while the block runs.

    A product on several threads leaves OpenBLAS's workers spinning for some 70 ms, in wait for the next one. A batch
    search of FAISS, which has threads of its own, took 1.2 to 1.4 times as long after such a product of 0.3 ms
    (`python -m bench.search`). Blocks of several threads may overlap: the last one to end puts the setting back.
    """
    limit = _limit()
    with limit.lock:
        if not limit.blocks:
            limit.before = _pools().limit(limits=1)
        limit.blocks += 1
    try:
        yield
    finally:
        with limit.lock:
            limit.blocks -= 1
            if not limit.blocks:
                limit.before.restore_original_limits()


@cache
def _limit() -> Any:
    return _Limit()


@cache
def _pools() -> Any:
    """The pools that spin: those of BLAS on plain threads. FAISS's own, on OpenMP, is left alone."""
    return ThreadpoolController().select(threading_layer="pthreads")
