"""Evaluation and transform on two local Ray nodes of one CPU each, against one process on one CPU and on both.

    python -m bench.on_ray                  # some minutes on 2 cores
    python -m bench.on_ray --rows 200000 --items 6000 --repeats 1

Efficiency is the time of one process on one CPU, over twice that of the two nodes: 1 is as good as it gets. The process
that asks has its own work (it takes the answers, draws intervals, stores) on the same two cores. Each figure is a median of
warm repeats. Then a node is killed when a third of the answers are there; what that costs is the time over the median
without. It is given with Ray's own settings, by which a node is missed only after some fifteen seconds, and with
RAY_health_check_period_ms=300 and three misses.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench import scan
from bench.measuring import load, timed
from bench.report import header, table
from registry import connect

SEED, BLOCK = 0, 16384
OBJECTS = 512 << 20
SOON = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 300, "health_check_timeout_ms": 500,
        "health_check_failure_threshold": 3}  # fmt: skip

Told = Callable[[float], None]


def build(home: Path, items: int, rows: int, dim: int) -> None:
    """The gallery g of `bench.scan`, and a benchmark of `items` that two versions embedded."""
    scan.build(home, rows, dim)
    rng = np.random.default_rng(SEED)
    classes = rng.integers(0, items // 50, items)
    with connect(home) as reg:
        reg.create_gallery("bench", id_type="int", labels=["class"])
        centres = rng.standard_normal((items // 50, dim))
        for version in ("m/1", "m/2"):
            x = centres[classes] + 2 * rng.standard_normal((items, dim))
            reg.append("bench", version=version, ids=np.arange(items), vectors=x, labels={"class": classes})


def transformed(reg: Any, told: Told) -> None:
    """Read the whole gallery into m/2."""
    total, count = reg.gallery("g").items, 0
    for block in reg.scan("g", into="m/2", rows=BLOCK, allow_unmeasured=True):
        count += len(block.ids)
        told(count / total)
    assert count == total


def evaluated(reg: Any, told: Told) -> None:
    """Measure both versions with each other, and bridged."""
    reg.evaluate("bench", progress=lambda done, of: told(done / of))


WORK: dict[str, Callable[[Any, Told], None]] = {"evaluation": evaluated, "transform": transformed}


def medians(home: Path, repeats: int, *, ray: str | None = None) -> dict[str, float]:
    """Of each work the seconds, after one to warm up."""
    with connect(home, ray=ray) as reg:
        found = {}
        for name, work in WORK.items():
            times = [timed(lambda work=work: work(reg, lambda _: None))[0] for _ in range(repeats + 1)]
            found[name] = statistics.median(times[1:])
    return found


def alone(home: Path, repeats: int, cpus: int) -> dict[str, float]:
    """The same in a process of its own, on so many CPUs."""
    some = set(sorted(os.sched_getaffinity(0))[:cpus])
    command = [sys.executable, "-m", "bench.on_ray", "--child", str(home), "--repeats", str(repeats)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(cpus), "OPENBLAS_NUM_THREADS": str(cpus)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment,
                          preexec_fn=lambda: os.sched_setaffinity(0, some))  # fmt: skip
    return {name: float(s) for name, s in (line.split() for line in done.stdout.splitlines())}


class Nodes:
    """Two nodes of one CPU; this process is at the first."""

    def __init__(self, settings: dict[str, int]) -> None:
        import ray
        from ray.cluster_utils import Cluster

        self._ray = ray
        head = {"num_cpus": 1, "object_store_memory": OBJECTS, "_system_config": settings,
                "include_dashboard": False, "include_log_monitor": False, "no_monitor": True}  # fmt: skip
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        ray.init(self._cluster.address, namespace="samespace", log_to_driver=False, logging_level="error")
        self.address = self._cluster.address
        self._second: Any = None
        self.both()

    def both(self) -> None:
        """Have two, by a new one if the second was killed."""
        if self._second is None:
            self._second = self._cluster.add_node(num_cpus=1, object_store_memory=OBJECTS)
            self._cluster.wait_for_nodes()

    def kill(self) -> None:
        """Kill the second, with all of its processes."""
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = None

    def end(self) -> None:
        """Leave, and end the first too."""
        self._ray.shutdown()
        self._cluster.shutdown()


def killed(home: Path, nodes: Nodes) -> dict[str, float]:
    """Of each work the seconds where a node is killed when a third is done."""
    found = {}
    with connect(home, ray=nodes.address) as reg:
        for name, work in WORK.items():
            nodes.both()
            work(reg, lambda _: None)
            left = [nodes.kill]

            def told(share: float, left: list[Callable[[], None]] = left) -> None:
                if share >= 1 / 3 and left:
                    left.pop()()

            found[name] = timed(lambda work=work, told=told: work(reg, told))[0]
    return found


def on_nodes(home: Path, repeats: int, *, soon: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Medians on two nodes, and with one killed; in a process of its own, since Ray starts one cluster in each."""
    command = [sys.executable, "-m", "bench.on_ray", "--child", str(home), "--repeats", str(repeats), "--nodes"]
    with tempfile.TemporaryFile("w+") as said:  # not a pipe, which a process of Ray's might hold open
        subprocess.run([*command, "soon" if soon else "late"], check=True, stdout=said, stderr=subprocess.DEVNULL)
        said.seek(0)
        lines = [line.split()[1:] for line in said if line.startswith("took ")]
    found = {what: {name: float(s) for of, name, s in lines if of == what} for what in ("whole", "killed")}
    return found["whole"], found["killed"]


def child(home: Path, repeats: int, nodes: str | None) -> None:
    """Say what it took, in this process or on nodes."""
    if nodes is None:
        for name, s in medians(home, repeats).items():
            print(name, s)
        return
    two = Nodes(SOON if nodes == "soon" else {})
    try:
        for of, took in (("whole", medians(home, repeats, ray=two.address)), ("killed", killed(home, two))):
            for name, s in took.items():
                print("took", of, name, s, flush=True)
    finally:
        two.end()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the gallery that is transformed")
    parser.add_argument("--items", type=int, default=20_000, help="of the benchmark")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--nodes", choices=("soon", "late"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.repeats, options.nodes)
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    before = load()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        build(home, options.items, options.rows, options.dim)
        one, two = alone(home, options.repeats, 1), alone(home, options.repeats, 2)
        ray, lost = on_nodes(home, options.repeats, soon=False)
        _, lost_soon = on_nodes(home, 1, soon=True)
    print(header(seed=SEED))
    columns = (
        "work",
        "one process, 1 CPU, s",
        "2 CPUs, s",
        "two nodes, s",
        "efficiency",
        "killed node +s",
        "noticed soon +s",
    )
    lines = [
        (name, f"{one[name]:.1f}", f"{two[name]:.1f}", f"{ray[name]:.1f}", f"{one[name] / ray[name] / 2:.2f}",
         f"{lost[name] - ray[name]:.1f}", f"{lost_soon[name] - ray[name]:.1f}")
        for name in WORK
    ]  # fmt: skip
    print(table(columns, lines))
    print(
        f"\nevaluation of {options.items:,} items by two versions, transform of {options.rows:,}, x {options.dim}; "
        f"{options.repeats} repeats; load {before} before, {load()} after"
    )


if __name__ == "__main__":
    main()
