"""Search through the registry against bare FAISS on the same index: 1,000 queries in a batch, 100,000 x 128.

The registry's side does everything that a user's call does: reads the facts, finds the measured path, maps the queries
from the new version's space into the old one's, searches, and names the items. Both sides run in turns in one process.

    python -m bench.search
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import faiss
import numpy as np

from bench.report import header, table
from registry import connect, transforms
from registry.vectors import normalize


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, options.dim), dtype=np.float32)
    label = rng.integers(200, size=options.rows)
    stored = centres[label] + rng.standard_normal((options.rows, options.dim), dtype=np.float32)
    rotation = np.linalg.qr(rng.standard_normal((options.dim, options.dim)))[0].astype(np.float32)
    queries = (stored[: options.queries] + 0.1 * rng.standard_normal((options.queries, options.dim))).astype(
        "f"
    ) @ rotation.T

    with tempfile.TemporaryDirectory() as home, connect(home) as reg:
        reg.register_version("m", dim=options.dim)
        reg.register_version("m", dim=options.dim)
        reg.create_gallery("g", id_type="string")
        reg.append("g", version="m/1", ids=[f"item-{i}" for i in range(options.rows)], vectors=stored)
        bridge = transforms.Orthogonal(weight=rotation, bias=np.zeros(options.dim))
        reg.add_transform(bridge, source="m/2", target="m/1")
        reg.create_gallery("b", id_type="int", labels=["class"])
        for version, vectors in (("m/1", stored[:500]), ("m/2", stored[:500] @ rotation.T)):
            reg.append("b", version=version, ids=range(500), vectors=vectors, labels={"class": label[:500]})
        reg.evaluate("b")

        index = faiss.IndexFlatIP(options.dim)
        index.add(normalize(stored))
        bare_queries = normalize(bridge.apply(queries))
        hits = reg.search(
            "g", queries, version="m/2", k=10
        )  # builds the index once, as the first search of a process does
        bare, ours = [], []
        for _ in range(options.repeats):
            started = time.perf_counter()
            _, positions = index.search(bare_queries, 10)
            bare.append(time.perf_counter() - started)
            started = time.perf_counter()
            hits = reg.search("g", queries, version="m/2", k=10)
            ours.append(time.perf_counter() - started)
    agree = float(np.mean(hits.ids == np.char.add("item-", positions.astype(str))))
    print(header(seed=0))
    print(
        table(
            ("search", "median ms", "ratio"),
            [
                ("bare FAISS, flat, inner product", f"{1000 * statistics.median(bare):.1f}", "1.00"),
                (
                    "through the registry",
                    f"{1000 * statistics.median(ours):.1f}",
                    f"{statistics.median(np.divide(ours, bare)):.3f}",
                ),
            ],
        )
    )
    print(
        f"\nsame ids in {100 * agree:.2f} % of the places; {options.repeats} repeats in turns; bar: ratio at most 1.10"
    )


if __name__ == "__main__":
    main()
