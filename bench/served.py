"""A server of its own process for a benchmark, on a free port of loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(home: Path, *arguments: str, database: str | None = None) -> Iterator[tuple[str, int]]:
    """The address of `samespace serve` on `home`, and the number of its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("samespace")),
        "--home",
        str(home),
        "serve",
        "--port",
        str(port),
        *arguments,
    ]
    more = {"SAMESPACE_DATABASE": database} if database else {}
    with (home.parent / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **more})
        try:
            _wait(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()  # noqa: S310 - our own server
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"the server at {url} did not start: see its log")


def anonymous_of(parent: int) -> int:
    """The most memory that is no file's which a process's children have, in bytes."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    sizes = [
        int(line.split()[1]) * 1024
        for pid in children
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("RssAnon:")
    ]
    return max(sizes, default=0)
