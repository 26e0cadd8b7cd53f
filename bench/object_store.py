"""Galleries in an object store against a folder: time and requests of each operation, on a server in this machine.

    python -m bench.object_store               # 200,000 x 128

The server is moto, in Python and in a process of its own: it answers slower than a store does and is nearer than one is, so the
seconds say little of either. The requests say what a store at a distance costs: each is a trip there and back, of those that
ask for parts of one file several go at once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.measuring import load, timed
from bench.report import header, table
from registry import connect

SEED = 0


def serve(said: Any, asked: Any) -> None:
    """A server that counts what it is asked."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: object) -> None:
            """Say nothing."""

    app = DomainDispatcherApplication(create_backend_app)

    def counting(environ: Any, start_response: Any) -> Any:
        with asked.get_lock():
            asked.value += 1
        return app(environ, start_response)

    server = make_server("127.0.0.1", 0, counting, threaded=True, request_handler=Handler)
    said.send(server.server_port)
    server.serve_forever()


def operations(home: Path, galleries: str | None, x: Any, asked: Any) -> dict[str, tuple[float, int]]:
    """Of each operation the seconds and the requests."""
    found: dict[str, tuple[float, int]] = {}
    some = np.linspace(0, len(x) - 1, 10).astype(int)

    def step(name: str, call: Callable[[], Any]) -> None:
        before = asked.value
        found[name] = timed(call)[0], asked.value - before

    with connect(home, galleries=galleries) as reg:
        reg.register_version("m", dim=x.shape[1])
        reg.create_gallery("g", id_type="int")
        step("append all", lambda: reg.append("g", version="m/1", ids=range(len(x)), vectors=x))
        for turn in range(2):
            ids = range(len(x) + 1000 * turn, len(x) + 1000 * (turn + 1))
            step("append 1,000 more", partial(reg.append, "g", version="m/1", ids=ids, vectors=x[:1000]))
    with connect(home) as reg:
        step("scan, opened just now", lambda: sum(len(block.ids) for block in reg.scan("g", into="m/1")))
        step("scan again", lambda: sum(len(block.ids) for block in reg.scan("g", into="m/1")))
        step("first search", lambda: reg.search("g", x[:100], version="m/1", k=10))
        step("search again", lambda: reg.search("g", x[:100], version="m/1", k=10))
        step("fetch 10 items", lambda: reg.fetch("g", ids=some, into="m/1"))
        step("delete 10 items", lambda: reg.delete("g", some))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=128)
    options = parser.parse_args()
    before, spawn = load(), multiprocessing.get_context("spawn")
    x = np.random.default_rng(SEED).standard_normal((options.rows, options.dim), dtype=np.float32)
    heard, said = spawn.Pipe(duplex=False)
    asked = spawn.Value("q", 0)
    server = spawn.Process(target=serve, args=(said, asked), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{heard.recv()}"
    os.environ.update(AWS_ENDPOINT_URL=url, AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")  # noqa: S106 - moto's
    httpx.put(f"{url}/bucket").raise_for_status()
    with tempfile.TemporaryDirectory() as folder:
        near = operations(Path(folder, "near"), None, x, asked)
        far = operations(Path(folder, "far"), "s3://bucket/prefix", x, asked)
    server.terminate()
    server.join()
    print(header(seed=SEED))
    lines = [(name, f"{near[name][0]:.2f}", f"{far[name][0]:.2f}", str(far[name][1])) for name in near]
    print(table((f"{options.rows:,} x {options.dim}", "folder, s", "store, s", "requests"), lines))
    print(f"\nload {before} before, {load()} after")


if __name__ == "__main__":
    main()
