"""200 keep-alive clients that mix searches, fetches and reads for a minute, against one `samespace serve` on the same cores.

    python -m bench.load [--clients 200] [--seconds 60]

The gallery holds 100,000 x 128 float32; a search has 1 query and k = 10, a fetch 100 ids, a read is one version, one gallery
or the newest changes. Six of ten requests search, two fetch, two read. Each client sends its next request when it has the
answer to its last. First, one client alone, beside the same call in this process: that is what HTTP costs. Then the clients
all at once; beside them, as many threads of one process that search an embedded registry. At the end some clients stop
reading in the middle of a scan, and the others go on.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from bench.measuring import load
from bench.report import header, table
from bench.served import served
from registry import connect, wire
from registry.vectors import Array

SEED, ROWS, DIM = 0, 100_000, 128
MIX = {"search": 6, "fetch": 2, "read": 2}


@dataclass
class Seen:
    """How long requests took, by kind, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)


def stream(**columns: pa.Array) -> bytes:
    """An Arrow body."""
    batch = pa.record_batch(columns)
    return b"".join(wire.write(batch.schema, [(batch, {})]))


def request(method: str, path: str, body: bytes = b"", kind: str = wire.ARROW) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} /api/v1{path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, f"Content-Type: {kind}", "", ""]).encode() + body


def requests(x: Array, rng: np.random.Generator, n: int) -> list[tuple[str, bytes]]:
    """A random mix of requests."""
    kinds = [kind for kind, share in MIX.items() for _ in range(share)]
    made = []
    for _ in range(n):
        kind = kinds[rng.integers(len(kinds))]
        if kind == "search":
            body = stream(query=wire.vectors(x[rng.integers(ROWS)][None]))
            made.append((kind, request("POST", "/galleries/g/search?version=m/1&k=10", body)))
        elif kind == "fetch":
            body = stream(id=pa.array(rng.integers(ROWS, size=100)))
            made.append((kind, request("POST", "/galleries/g/fetch?into=m/1", body)))
        else:
            path = ("/version?ref=m@live", "/galleries/g", "/changes?limit=20")[rng.integers(3)]
            made.append((kind, request("GET", path)))
    return made


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(fields.get("content-length", 0)))
    return int(head[0].split()[1]), body


async def client(host: str, port: int, asked: Sequence[tuple[str, bytes]], until: float, seen: Seen) -> None:
    """Send one request after the other on one connection."""
    reader, writer = await asyncio.open_connection(host, port)
    i = 0
    while time.perf_counter() < until:
        kind, data = asked[i % len(asked)]
        i += 1
        start = time.perf_counter()
        writer.write(data)
        try:
            status, body = await asyncio.wait_for(answer(reader), 60)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            seen.errors.append(f"{kind}: {type(error).__name__}")
            break
        seen.seconds[kind].append(time.perf_counter() - start)
        if status != 200:
            seen.errors.append(f"{kind}: {status} {body[:120]!r}")
    writer.close()


async def stalled(host: str, port: int, until: float) -> None:
    """Ask for a whole gallery and read nothing of it."""
    _, writer = await asyncio.open_connection(host, port)
    writer.write(request("GET", "/galleries/g/scan?into=m/1"))
    while time.perf_counter() < until:
        await asyncio.sleep(0.2)
    writer.close()


def together(url: str, x: Array, clients: int, seconds: float, *, stall: int = 0) -> Seen:
    """All clients at once."""
    parts, rng, seen = urlsplit(url), np.random.default_rng(SEED), Seen()
    asked = requests(x, rng, 2000)
    host, port = str(parts.hostname), int(parts.port or 0)

    async def run() -> None:
        until = time.perf_counter() + seconds
        own = [asked[i * 7 % 2000 :] + asked[: i * 7 % 2000] for i in range(clients)]
        await asyncio.gather(
            *(stalled(host, port, until) for _ in range(stall)),
            *(client(host, port, mine, until, seen) for mine in own),
        )

    asyncio.run(run())
    return seen


def alone(call: Callable[[int], object], n: int) -> list[float]:
    """Seconds of n calls, one after the other."""
    found = []
    for i in range(n):
        start = time.perf_counter()
        call(i)
        found.append(time.perf_counter() - start)
    return found


def threads(call: Callable[[int], object], count: int, seconds: float) -> list[float]:
    """Seconds of calls by so many threads of this process at once."""
    found: list[float] = []
    until = time.perf_counter() + seconds

    def work(i: int) -> None:
        while time.perf_counter() < until:
            found.extend(alone(lambda j: call(i + j), 1))

    running = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return found


def line(name: str, values: Sequence[float], seconds: float | None = None) -> list[str]:
    """A row of the table."""
    p50, p95, p99 = (f"{1000 * np.quantile(values, q):.1f}" for q in (0.5, 0.95, 0.99))
    return [name, str(len(values)), p50, p95, p99, f"{len(values) / seconds:.0f}" if seconds else ""]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    x = np.random.default_rng(SEED).standard_normal((ROWS, DIM), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        own = connect(home)
        own.register_version("m", dim=DIM)
        own.set_alias("m", "live", 1)
        own.create_gallery("g", id_type="int")
        own.append("g", version="m/1", ids=np.arange(ROWS), vectors=x)
        with served(home) as (url, _):
            there = connect(url)
            together(url, x, 8, 3)  # each worker builds its index
            here, remote = [], []
            for _ in range(5):  # in turns
                here += alone(lambda i: own.search("g", x[i : i + 1], version="m/1", k=10), 60)
                remote += alone(lambda i: there.search("g", x[i : i + 1], version="m/1", k=10), 60)
            one = together(url, x, 1, 5)
            seen = together(url, x, given.clients, given.seconds)
            beside = threads(lambda i: own.search("g", x[i : i + 1], version="m/1", k=10), given.clients, 10)
            slow = together(url, x, given.clients // 10, 10, stall=30)
    print(header(seed=SEED) + f"load {load()}\n")
    rows = [
        line("search, in this process, one thread", here),
        line("search, client of Python, alone", remote),
        *(line(f"{kind}, one bare connection", one.seconds[kind]) for kind in MIX),
        *(line(f"{kind}, {given.clients} connections", seen.seconds[kind], given.seconds) for kind in MIX),
        line(
            f"all of these, {given.clients} connections", [s for v in seen.seconds.values() for s in v], given.seconds
        ),
        line(f"search, in this process, {given.clients} threads", beside, 10),
        line(
            f"all, {given.clients // 10} connections beside 30 stalled scans",
            [s for v in slow.seconds.values() for s in v],
            10,
        ),
    ]
    print(table(["", "requests", "p50 ms", "p95", "p99", "a second"], rows))
    errors = [*one.errors, *seen.errors, *slow.errors]
    print(f"\nerrors: {len(errors)}{''.join(f'; {e}' for e in sorted(set(errors))[:5])}")
    ratios = [statistics.median(v) / statistics.median(here) for v in (remote, one.seconds["search"])]
    print(
        f"search at p50, beside in-process: {ratios[0]:.2f} times by the client, {ratios[1]:.2f} by a bare connection"
    )
    crowd = statistics.median(seen.seconds["search"]) / statistics.median(beside)
    print(f"the same with {given.clients} at once, beside {given.clients} threads in-process: {crowd:.2f} times")


if __name__ == "__main__":
    main()
