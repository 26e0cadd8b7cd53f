"""A new version arrives: how soon is it searched with, against embedding and indexing everything anew: 1,000,000 x 128.

    python -m bench.arrival
    python -m bench.arrival --rows 100000

A registry serves a gallery by m/1. Then m/2 arrives, a turned and noisy m/1. Timed from there to its first answer: m/2 is
registered, the benchmark's items are embedded and appended, a map is fitted on these pairs and added, the path measured,
and a first query of m/2 searched among all stored vectors of m/1. The other way round, every item is embedded by m/2,
appended, and searched for the first time.

What an encoder takes is measured on some thousands of random pictures of 32 x 32, on this machine's CPU, and scaled up to all
items: nobody waits for a million. The rest is measured in full. m/2's first answer is correct if it is what the same item's
query by m/1 finds; how often is said.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from align import fit
from align.backbones import build
from align.encoders import Encoder
from bench.measuring import load, timed
from bench.report import header, table
from registry import connect
from registry.vectors import normalize

SEED, BLOCK, CLASSES = 0, 65536, 1000
ENCODERS = ("resnet18", "smallresnet")


def seconds_an_item(name: str, dim: int, many: int) -> float:
    """What an encoder takes to embed one picture of 3 x 32 x 32, among many."""
    shape = (3, 32, 32)
    encoder = Encoder(build(name, shape, dim), name, dim, shape, (128.0,) * 3, (64.0,) * 3)
    pictures = np.random.default_rng(SEED).integers(0, 256, (many, *shape), dtype=np.uint8)
    encoder.encode(pictures[:64])
    return timed(lambda: encoder.encode(pictures))[0] / many


def blocks(x: Any) -> Iterator[Any]:
    """Rows (n, d) as parts of an append."""
    for start in range(0, len(x), BLOCK):
        part = x[start : start + BLOCK]
        yield np.arange(start, start + len(part)), part, None


def arrival(reg: Any, x: Any, turn: Any, pairs: int) -> tuple[dict[str, float], float]:
    """Seconds of each step until the first answer, and of how many queries it is the right one."""
    rng = np.random.default_rng(SEED + 1)
    new = x[:pairs] @ turn + 0.1 * rng.standard_normal((pairs, x.shape[1]), dtype=np.float32)
    queries = normalize(x[pairs : pairs + 100] @ turn)
    steps = {"register the version": timed(lambda: reg.register_version("m", dim=x.shape[1], parent="m/1"))[0]}
    steps["append the benchmark's vectors"], _ = timed(
        lambda: reg.append("b", version="m/2", ids=range(pairs), vectors=new)
    )

    def bridged() -> Any:
        pairs_of = reg.pairs("b", source="m/2", target="m/1")
        return reg.add_transform(fit(pairs_of, method="orthogonal"), source="m/2", target="m/1")

    steps["fit and add the map"], _ = timed(bridged)
    steps["measure the path"], _ = timed(lambda: reg.evaluate("b"))
    steps["first search"], _ = timed(lambda: reg.search("g", queries[:1], version="m/2", k=10))
    found = reg.search("g", queries, version="m/2", k=1).ids
    right = reg.search("g", x[pairs : pairs + 100], version="m/1", k=1).ids
    return steps, float(np.mean(found == right))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--encoded", type=int, default=4000, help="pictures that an encoder is timed on")
    options = parser.parse_args()
    before, rng = load(), np.random.default_rng(SEED)
    centres = rng.standard_normal((CLASSES, options.dim), dtype=np.float32)
    label = rng.integers(CLASSES, size=options.rows)
    x = centres[label] + rng.standard_normal((options.rows, options.dim), dtype=np.float32)
    turn = np.linalg.qr(rng.standard_normal((options.dim, options.dim)))[0].astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, connect(Path(folder, "home")) as reg:
        reg.register_version("m", dim=options.dim)
        reg.create_gallery("g", id_type="int")
        reg.append_parts("g", version="m/1", parts=blocks(x))
        reg.create_gallery("b", id_type="int", labels=["class"])
        labels = {"class": label[: options.pairs]}
        reg.append("b", version="m/1", ids=range(options.pairs), vectors=x[: options.pairs], labels=labels)
        reg.evaluate("b")
        reg.search("g", x[:1], version="m/1", k=10)  # it has been serving
        steps, right = arrival(reg, x, turn, options.pairs)
        reg.create_gallery("anew", id_type="int")
        append, _ = timed(lambda: reg.append_parts("anew", version="m/2", parts=blocks(x @ turn)))
        first, _ = timed(lambda: reg.search("anew", x[:1] @ turn, version="m/2", k=10))
    print(header(seed=SEED))
    steps_of = [(name, f"{seconds:.3f}") for name, seconds in steps.items()]
    print(table(("until the first answer of m/2", "s"), steps_of))
    print("\n" + table(("anew", "s"), [("append all", f"{append:.1f}"), ("first search", f"{first:.1f}")]) + "\n")
    lines = []
    for name in ENCODERS:
        each = seconds_an_item(name, options.dim, options.encoded)
        soon, late = each * options.pairs + sum(steps.values()), each * options.rows + append + first
        lines.append((name, f"{1000 * each:.2f}", f"{soon:.1f}", f"{late:,.0f}", f"{late / soon:.0f}"))
    print(table(("encoder", "ms an item", "arrival, s", "anew, s", "times sooner"), lines))
    print(
        f"\n{options.rows:,} x {options.dim}; {options.pairs} pairs; {100 * right:.0f} % of the first answers are those of m/1; "
        f"encoders timed on {options.encoded} pictures, scaled up; load {before} before, {load()} after; bar: 100 times sooner"
    )


if __name__ == "__main__":
    main()
