"""What the benchmark scripts share: time, memory and load."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call took, and what it returned."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def anonymous_bytes() -> int:
    """Memory of this process that is no file's: RssAnon. Pages of memory-mapped files are not in it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def peak_bytes(call: Callable[[], Any]) -> int:
    """The largest RssAnon seen during a call, sampled each millisecond, above what stood before it."""
    before = peak = anonymous_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        call()
    finally:
        done.set()
        watcher.join()
    return peak - before


def load() -> str:
    """How busy the whole machine has been over 1, 5 and 15 minutes: above the number of cores, times say little."""
    return ", ".join(f"{x:.1f}" for x in os.getloadavg())
