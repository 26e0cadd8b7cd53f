"""Backfills whose process is killed at any moment: nothing is lost, nothing is done twice, and old vectors stay as they are."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from bench.backfill import fill, run_until_killed, vectors
from bench.faults import CONTEXT, chance
from registry import checking, connect
from registry.tables import BackfillRow, now

ITEMS, BATCH = 60, 10
KILLS = 3


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A home with a plan, to be copied; and the id of the plan."""
    home = tmp_path_factory.mktemp("planned") / "home"
    with connect(home) as reg:
        fill(reg, ITEMS)
        return home, reg.plan_backfill("shelf", into="m/2", batch=BATCH).id


def killed(home, id, lines, step="run"):
    """Let a process do a step; whether it was killed."""
    process = CONTEXT.Process(target=run_until_killed, args=(str(home), None, id, lines, step))
    process.start()
    process.join(120)
    assert process.exitcode in (0, -9)
    return process.exitcode == -9


def let_go(reg, id):
    """What a minute does: the lease of a killed process ends."""
    with reg._home.database.writing() as session:
        session.get(BackfillRow, id).runs_until = now()


def files_of(home):
    """The old segment, byte by byte."""
    folder = home / "galleries" / "shelf" / "m-1.lance"
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def check(reg, id):
    """What was acknowledged is there, once each, and right."""
    findings = [f for f in checking.check(reg._home.database, reg._home.layout) if f.level != "ok"]
    assert findings == []
    found, held = reg.backfill(id), {s.version: s.rows for s in reg.gallery("shelf").segments}
    assert held["m/1"] == ITEMS
    assert held.get("m/2", 0) == found.written == found.done
    assert found.done % BATCH == 0
    if found.written:
        shared = reg.shared("shelf", versions=["m/2"])
        assert len(set(shared.ids.tolist())) == len(shared) == found.written
        stored = np.concatenate([block[0] for block in shared])
        np.testing.assert_array_equal(stored, vectors(shared.ids.tolist()))
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_run_goes_on_without_loss_or_repetition(planned, tmp_path, seed):
    template, id = planned
    home, draw = tmp_path / "home", chance(seed)
    shutil.copytree(template, home)
    before, done = files_of(home), 0
    with connect(home) as reg:
        for _ in range(KILLS):
            if not killed(home, id, draw.randrange(20, 1500)):
                break
            found = check(reg, id)
            assert found.done >= done
            done = found.done
            if found.status == "finished":  # killed after its last word
                break
            let_go(reg, id)
        finished = reg.backfill(id)
        if finished.status != "finished":
            finished = reg.run_backfill(id, encode=vectors)
        assert check(reg, id).written == ITEMS
        assert finished.status == "finished"
        assert files_of(home) == before
        if killed(home, id, draw.randrange(5, 200), "roll back"):
            status = check(reg, id).status
            assert status == "finished"  # all of it or nothing
            reg.roll_back_backfill(id)
        rolled = reg.backfill(id)
        assert (rolled.status, rolled.written) == ("rolled back", 0)
        assert {s.version: s.rows for s in reg.gallery("shelf").segments} == {"m/1": ITEMS}
        assert files_of(home) == before
        again = reg.plan_backfill("shelf", into="m/2")
        assert reg.run_backfill(again.id, encode=vectors).written == ITEMS


def test_two_runners_at_once(planned, tmp_path):
    template, id = planned
    home = tmp_path / "home"
    shutil.copytree(template, home)
    both = [CONTEXT.Process(target=run_until_killed, args=(str(home), None, id, 10**9, "run")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    with connect(home) as reg:
        assert check(reg, id).written == ITEMS
    assert 0 in [process.exitcode for process in both]
