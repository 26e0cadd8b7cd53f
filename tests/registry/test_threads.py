"""The number of BLAS threads is everybody's: it is always put back."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from registry.threads import one_blas_thread


@pytest.fixture(autouse=True)
def two_threads():
    np.eye(2) @ np.eye(2)
    with threadpool_limits(2):
        yield


def threads():
    pools = ThreadpoolController().select(threading_layer="pthreads").info()
    if not pools:
        pytest.skip("NumPy's BLAS has no threads of its own here")
    return {pool["num_threads"] for pool in pools}


def test_one_thread_inside_and_as_before_outside():
    with one_blas_thread():
        assert threads() == {1}
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == {1}, "the inner block must not end the outer one"
    assert threads() == {2}


def test_put_back_after_an_error():
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        _ = 1 / 0
    assert threads() == {2}


def test_overlapping_blocks_of_several_threads():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with one_blas_thread():
            entered.set()
            leave.wait(10)

    for main_leaves_first in (True, False):
        other = threading.Thread(target=hold)
        entered.clear(), leave.clear()
        with one_blas_thread():
            other.start()
            entered.wait(10)
            assert threads() == {1}
            if not main_leaves_first:
                leave.set()
                other.join()
        leave.set()
        other.join()
        assert threads() == {2}


def test_somebody_else_s_setting_is_not_taken_for_ours():
    others = threadpool_limits(1)
    block = one_blas_thread()
    block.__enter__()
    others.restore_original_limits()
    block.__exit__(None, None, None)
    assert threads() == {2}
