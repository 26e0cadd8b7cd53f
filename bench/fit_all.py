"""All closed-form fits from one pass over memory-mapped pairs, against the products they need and against the peers.

    python -m bench.fit_all                                  # 1,000,000 pairs of 768 dimensions, 6 GB of temporary files
    python -m bench.fit_all --rebasis PYTHON --isotrieve PYTHON   # interpreters that have the peers installed

The bare work is Cxx and Cxy: the sums over blocks of x.T @ x and x.T @ y over the same maps, by NumPy or torch and with
the block size that are fastest here; no means, no checks, no float64 sums, no solving. `fit_closed` solves three maps
(orthogonal, affine with its ridge by cross-validation, low rank) on top of it. All run in one process, in turns, with the
files in the page cache; a ratio is of medians. CPU seconds, of all threads, tell on a busy machine what wall time cannot.

Peers run at a size that they can bear, 100,000 pairs 384 -> 768, each in a process of its own interpreter, in turns with
ours on the same files. They get arrays in memory; loading them is not counted, nor is importing. Without an interpreter a
peer is left out: `../shared/facts/peers.md` has figures of another day.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import align
from align.bridges import fit_closed
from bench.measuring import load, peak_bytes, timed
from bench.report import header, table

SEED = 0

_PEER = """
import sys, time
import numpy as np
x, y = (np.load(name) for name in sys.argv[1:3])
fit = {call}
fit(x[:2000], y[:2000])
start = time.perf_counter(), time.process_time()
fit(x, y)
print(time.perf_counter() - start[0], time.process_time() - start[1])
"""
_REBASIS = {
    "Procrustes, plain": ("procrustes", "ProcrustesAdapter"),
    "Procrustes, centred": ("procrustes", "CenteredProcrustesAdapter"),
    "linear": ("linear", "LinearAdapter"),
    "low rank": ("linear", "LowRankAffineAdapter"),
}
_FIT = "__import__('rebasis.core.{}', fromlist=['x']).{}.fit"
_PEERS = {
    **{("rebasis", what): _FIT.format(*where) for what, where in _REBASIS.items()},
    ("rebasis", "our three: centred, linear, low rank"): "lambda x, y: ({})".format(
        ", ".join(f"{_FIT.format(*where)}(x, y)" for where in list(_REBASIS.values())[1:])
    ),
    (
        "isotrieve",
        "ridge, fixed",
    ): "lambda x, y: __import__('isotrieve.mapping.linear', fromlist=['x']).RidgeMapping(1.0).fit(x, y)",
}


def write(folder: Path, n: int, dims: tuple[int, int]) -> tuple[Path, Path]:
    """Pairs related by a linear map, bent a little, with noise; a few directions carry most of the variance."""
    rng = np.random.default_rng(SEED)
    turn = (rng.standard_normal(dims) / dims[0] ** 0.5).astype(np.float32)
    strength = np.linspace(1, 0.2, dims[0], dtype=np.float32)
    paths = folder / "x.npy", folder / "y.npy"
    maps = [np.lib.format.open_memmap(p, "w+", np.float32, (n, d)) for p, d in zip(paths, dims, strict=True)]
    for start in range(0, n, 50_000):
        rows = slice(start, min(start + 50_000, n))
        x = rng.standard_normal((rows.stop - start, dims[0]), dtype=np.float32) * strength
        maps[0][rows] = x
        maps[1][rows] = np.tanh(x @ turn) + 0.1 * rng.standard_normal((len(x), dims[1]), dtype=np.float32)
    return paths


def bare_numpy(x: Any, y: Any, block: int) -> None:
    """Cxx and Cxy by NumPy."""
    xx, xy = (np.zeros((x.shape[1], other.shape[1]), dtype=np.float32) for other in (x, y))
    for start in range(0, len(x), block):
        part = x[start : start + block]
        xx += part.T @ part
        xy += part.T @ y[start : start + block]


def bare_torch(x: Any, y: Any, block: int) -> None:
    """The same by torch."""
    xx, xy = (torch.zeros(x.shape[1], other.shape[1]) for other in (x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the maps are read-only, and so is what follows
        left, right = torch.from_numpy(x), torch.from_numpy(y)
    for start in range(0, len(x), block):
        part = left[start : start + block]
        xx += part.T @ part
        xy += part.T @ right[start : start + block]


def fastest_bare(x: Any, y: Any) -> tuple[str, Callable[[], Any]]:
    """The quickest of NumPy and torch over a few block sizes, tried on a tenth of the rows, twice each."""
    few = len(x) // 10
    ways = {
        (name, way, block) for name, way in (("NumPy", bare_numpy), ("torch", bare_torch)) for block in (4096, 16_384)
    }
    name, way, block = min(ways, key=lambda w: min(timed(lambda: w[1](x[:few], y[:few], w[2]))[0] for _ in range(2)))
    return f"{name}, blocks of {block:,}", lambda: way(x, y, block)


def both(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds that a call took."""
    start = time.process_time()
    wall, _ = timed(call)
    return wall, time.process_time() - start


def turns(calls: dict[str, Callable[[], tuple[float, float]]], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each call, all of them in turn, `repeats` times."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(call())
    return seconds


def medians(seconds: list[tuple[float, float]]) -> tuple[float, float]:
    """Median wall and CPU seconds."""
    return statistics.median(wall for wall, _ in seconds), statistics.median(cpu for _, cpu in seconds)


def ratios(seconds: list[tuple[float, float]], base: list[tuple[float, float]]) -> list[str]:
    """Of median wall and CPU seconds to those of `base`, and the median of the wall ratios of each repeat."""
    wall, cpu = (mine / theirs for mine, theirs in zip(medians(seconds), medians(base), strict=True))
    each = statistics.median(mine[0] / theirs[0] for mine, theirs in zip(seconds, base, strict=True))
    return [f"{ratio:.2f}" for ratio in (wall, cpu, each)]


def against_bare(options: argparse.Namespace) -> str:
    """The table of `fit_closed` and the bare products."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        x, y = (np.load(p, mmap_mode="r") for p in write(Path(folder), options.pairs, (options.dim, options.dim)))
        few = slice(0, max(50_000, 4 * options.dim))
        peak = peak_bytes(lambda: fit_closed(x[few], y[few], normalize=True, device="cpu"))
        how, bare = fastest_bare(x, y)
        calls = {
            f"bare Cxx and Cxy ({how})": lambda: both(bare),
            "fit_closed": lambda: both(lambda: fit_closed(x, y, normalize=False, device="cpu")),
            "fit_closed, normalize": lambda: both(lambda: fit_closed(x, y, normalize=True, device="cpu")),
            "fit_closed, normalize, holdout=0.1": lambda: both(lambda: fit_closed(x, y, holdout=0.1, device="cpu")),
        }
        seconds = turns(calls, options.repeats)
    first = next(iter(seconds.values()))
    rows = [[name, *map("{:.2f}".format, medians(s)), *ratios(s, first)] for name, s in seconds.items()]
    columns = ["", "wall s", "CPU s", "wall, ratio", "CPU, ratio", "wall, median ratio of the repeats"]
    return (
        f"{options.pairs:,} pairs {options.dim} -> {options.dim}, float32, memory-mapped, files cached, "
        f"repeats {options.repeats}\n\n{table(columns, rows)}\n\n"
        f"peak anonymous memory above the imports and the maps: {peak / 2**20:.0f} MiB\n"
    )


def against_peers(options: argparse.Namespace) -> str:
    """The table of our fits and the peers'."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        paths = write(Path(folder), options.peer_pairs, (384, 768))
        x, y = (np.load(p, mmap_mode="r") for p in paths)

        def peer(python: str, call: str) -> tuple[float, float]:
            done = subprocess.run(
                [python, "-c", _PEER.format(call=call), *map(str, paths)], capture_output=True, text=True, check=True
            )
            wall, cpu = map(float, done.stdout.split()[-2:])
            return wall, cpu

        calls: dict[str, Callable[[], tuple[float, float]]] = {
            "align.fit, orthogonal": lambda: both(lambda: align.fit(x, y, normalize=False, device="cpu")),
            "align.fit, affine": lambda: both(lambda: align.fit(x, y, "affine", normalize=False, device="cpu")),
            "fit_closed, all three": lambda: both(lambda: fit_closed(x, y, normalize=False, device="cpu")),
        }
        for (name, what), call in _PEERS.items():
            if python := getattr(options, name):
                calls[f"{name}, {what}"] = lambda python=python, call=call: peer(python, call)  # type: ignore[misc]
        seconds = turns(calls, options.repeats)
    ours = [medians(seconds[name]) for name in list(calls)[:3]]
    rows = [
        [
            name,
            *map("{:.2f}".format, medians(s)),
            *(f"{medians(s)[0] / wall:.1f} / {medians(s)[1] / cpu:.1f}" for wall, cpu in ours),
        ]
        for name, s in seconds.items()
    ]
    columns = ["", "wall s", "CPU s", "times orthogonal (wall / CPU)", "times affine", "times all three"]
    return f"{options.peer_pairs:,} pairs 384 -> 768, float32, repeats {options.repeats}\n\n{table(columns, rows)}\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description="Cost of all closed-form fits over the bare products, and beside peers."
    )
    parser.add_argument("--pairs", type=int, default=1_000_000, help="0 leaves the first table out")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--peer-pairs", type=int, default=100_000, help="0 leaves the second table out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="where the temporary files go")
    for name in ("rebasis", "isotrieve"):
        parser.add_argument(f"--{name}", help=f"a Python that has {name} installed")
    options = parser.parse_args()
    print(header(seed=SEED) + f"load {load()}; NumPy {np.__version__}, torch {torch.__version__}\n", flush=True)
    if options.pairs:
        print(against_bare(options), flush=True)
    if options.peer_pairs:
        print(against_peers(options))


if __name__ == "__main__":
    main()
