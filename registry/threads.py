"""NumPy's BLAS threads, kept from taking the cores that FAISS needs next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Compute NumPy's products in the calling thread alone while the block runs.

    A product on several threads leaves OpenBLAS's workers spinning for some 70 ms, in wait for the next one. A batch
    search of FAISS, which has threads of its own, took 1.2 to 1.4 times as long after such a product of 0.3 ms
    (`python -m bench.search`).

    A pool that is at one thread already is left to whoever set it so: however blocks of several threads overlap, none
    can put back the one that another asked for.
    """
    before = [(pool, threads) for pool in _pools() if (threads := pool.num_threads) > 1]
    for pool, _ in before:
        pool.set_num_threads(1)
    try:
        yield
    finally:
        for pool, threads in before:
            pool.set_num_threads(threads)


@cache
def _pools() -> list[Any]:
    """The pools that spin: those of BLAS on plain threads. FAISS's own, on OpenMP, is left alone."""
    return list(ThreadpoolController().select(threading_layer="pthreads").lib_controllers)
