"""Concurrency: many processes append, delete, move aliases, register versions, measure and search in one home at once.

Each searches and fetches at every turn: its own batches, of which it knows whether they are stored, and those of the
others, of which it must see all or nothing, and nothing again once they are deleted. At each second turn all fight for
the same batch and move the same alias. In the end everything acknowledged must be there, no move of an alias be lost,
and version numbers have neither gaps nor repeats.

    python -m bench.concurrency
    python -m bench.concurrency --seconds 6 --processes 6
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.faults import (
    BATCH,
    CONTEXT,
    VERSIONS,
    Hand,
    Journal,
    Ledger,
    Operation,
    Place,
    Reader,
    Server,
    chance,
    empty_database,
    in_process,
    postgres,
    prepare,
    verify,
)
from bench.measuring import load
from bench.report import header, table
from registry.connecting import Connection
from registry.errors import AlreadyExists, TooMany, Unavailable

__all__ = ["MODES", "crowd"]

MODES = ("SQLite", "PostgreSQL", "SQLite, served", "PostgreSQL, served")

_GRACE_S = 120  # who is not done so long after the end is in a deadlock


class _Worker:
    """One of the crowd."""

    def __init__(self, reg: Connection, journal: Journal, name: str, everybody: list[str], rng: random.Random) -> None:
        self.reg, self.journal, self.name = reg, journal, name
        self._everybody, self._rng, self._turns = everybody, rng, 0
        self._hand = Hand(reg, journal, name, rng)
        self._reader = Reader(reg)

    def turn(self) -> None:
        """Write, fight, and read."""
        self._turns += 1
        self._hand.turn()
        if self._turns % 2:
            self._fight()
        else:
            self.journal.perform(self.reg, Operation("alias", "everybody", self._rng.randint(1, 2)))
        self._read(self._any(self._hand.batches), True)
        self._read(self._any(self._hand.gone), False)
        other = self._rng.choice(self._everybody)
        self._read(f"{other}-{self._rng.randint(1, self._turns + 1)}", None)

    def _any(self, batches: Any) -> str | None:
        return self._rng.choice(list(batches)) if batches else None

    def _fight(self) -> None:
        """Store a batch that everybody wants to store, each under a key of its own: one wins."""
        try:
            self.journal.perform(self.reg, Operation("append", f"wanted-{self._turns}", VERSIONS[0], self.name))
        except AlreadyExists:
            self.journal.note("append", "lost to another")

    def _read(self, batch: str | None, stored: bool | None) -> None:
        if batch is None:
            return
        version = self._rng.choice(VERSIONS)
        for kind, read in (("search", self._reader.search), ("fetch", self._reader.fetch)):
            with self.journal.timed(kind):
                read(batch, version, stored=stored)


def _work(place: Place, name: str, everybody: list[str], until: float, gate: Any) -> None:
    """Work until the clock says so, and stop at the first thing that must not be."""
    journal = place.journal(name)
    with place.open() as reg:
        worker = _Worker(reg, journal, name, everybody, chance(name))
        gate.wait()
        until += time.monotonic()
        while time.monotonic() < until:
            try:
                worker.turn()
            except (TooMany, Unavailable) as error:
                # A server may say that it is busy, and its clients ask again later; a home may not.
                journal.note("busy" if place.url else "error", str(error))
            except Exception as error:
                journal.note("error", f"{name}: {error!r}")
                return


def crowd(place: Place, *, processes: int, seconds: float) -> Ledger:
    """Let so many processes work for so long, and verify; gives what they wrote down. Raises AssertionError."""
    names = [f"w{n}" for n in range(processes)]
    gate = CONTEXT.Barrier(processes)
    running = [CONTEXT.Process(target=_work, args=(place, name, names, seconds, gate)) for name in names]
    for process in running:
        process.start()
    end = time.monotonic() + seconds + _GRACE_S
    for process in running:
        process.join(max(0.0, end - time.monotonic()))
    hanging = [name for name, process in zip(names, running, strict=True) if process.exitcode is None]
    for process in running:
        process.kill()
    assert not hanging, f"{hanging} hang"
    ledger = Ledger.of(place)
    errors = [what for kind, what in ledger.noted if kind == "error"]
    assert not errors, errors
    in_process(verify, place)
    return ledger


def _rows(mode: str, ledger: Ledger) -> list[list[str]]:
    """A row for each kind of operation."""
    rows = []
    for kind, seconds in sorted(ledger.seconds.items()):
        ordered = sorted(seconds)
        median, slowest = ordered[len(ordered) // 2], ordered[-1]
        lost = ledger.noted[kind, "lost to another"]
        rows.append([mode, kind, str(len(seconds)), str(lost), f"{1000 * median:.0f}", f"{1000 * slowest:.0f}"])
    return rows


def _make(mode: str, folder: Path, server: str) -> Place:
    root = folder / mode.replace(", ", "_").lower()
    (root / "home").mkdir(parents=True)
    return Place(root, empty_database(server, root.name) if mode.startswith("PostgreSQL") else None)


def main() -> None:
    """Print a table of all modes; the first fault ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of each mode")
    parser.add_argument("--processes", type=int, default=16)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(header(seed="the processes' names"))
    print(f"load {load()}; {options.processes} processes, {options.seconds:g} s of each mode, batches of {BATCH}\n")
    rows = []
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="samespace-crowd-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = stack.enter_context(postgres())
        for mode in MODES:
            place = _make(mode, folder, server)
            in_process(prepare, place)
            with ExitStack() as serving:
                if mode.endswith("served"):
                    place = serving.enter_context(Server(place)).place
                ledger = crowd(place, processes=options.processes, seconds=options.seconds)
            busy = sum(n for (kind, _), n in ledger.noted.items() if kind == "busy")
            print(f"{mode}: verified; {busy} times busy, 0 errors", file=sys.stderr)
            rows += _rows(mode, ledger)
    print(table(("mode", "operation", "done", "lost to another", "median ms", "slowest ms"), rows))


if __name__ == "__main__":
    main()
