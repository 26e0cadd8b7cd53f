"""Backfills in any order of what may happen: runs that end anywhere, pauses, deletes, appends, rollbacks."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bench.backfill import NEW, OLD, vectors
from registry import connect
from registry.errors import AlreadyExists, InvalidInput
from registry.tables import BackfillRow, now

PLACE: dict[str, Path] = {}


class Machine(RuleBasedStateMachine):
    """`items` has of each item who wrote its new vector: None for nobody, "user", or the id of a backfill."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(dir=PLACE["folder"]))
        shutil.copytree(PLACE["home"], self.folder / "home")
        self.reg = connect(self.folder / "home")
        self.items = dict.fromkeys(range(20))
        self.plan, self.portion, self.runner, self.number, self.next_id = None, None, None, 0, 20

    def teardown(self):
        if hasattr(self, "reg"):
            self.reg.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    @precondition(lambda self: self.plan is None and any(who is None for who in self.items.values()))
    @rule(seed=st.integers(0, 99))
    def plans(self, seed):
        self.plan = self.reg.plan_backfill("shelf", into="m/2", batch=4, seed=seed).id

    @precondition(lambda self: self.plan and self.runner is None and self.reg.backfill(self.plan).status != "paused")
    @rule()
    def a_runner_begins(self):
        self.number += 1
        self.runner = f"runner {self.number}"
        self.reg.hold_backfill(self.plan, runner=self.runner)

    @precondition(lambda self: self.runner)
    @rule()
    def it_reads(self):
        self.portion = self.reg.next_portion(self.plan, runner=self.runner)
        if self.portion is None:
            assert self.reg.backfill(self.plan).status == "finished"
            assert all(self.items.values())
            self.runner = None

    @precondition(lambda self: self.runner and self.portion)
    @rule(twice=st.booleans())
    def it_stores(self, twice):
        before = self.reg.backfill(self.plan).done
        rows = vectors(list(self.portion.ids), NEW) if self.portion.ids else None
        for _ in range(1 + twice):
            self.reg.store_portion(self.plan, runner=self.runner, portion=self.portion, vectors=rows)
        if before < self.portion.stop:
            for id in self.portion.ids:
                if id in self.items and self.items[id] is None:
                    self.items[id] = self.plan
        self.portion = None

    @precondition(lambda self: self.runner)
    @rule()
    def it_is_killed(self):
        with self.reg._home.database.writing() as session:
            session.get(BackfillRow, self.plan).runs_until = now()
        self.runner = self.portion = None

    @precondition(lambda self: self.runner)
    @rule(pause=st.booleans())
    def it_leaves(self, pause):
        self.reg.leave_backfill(self.plan, runner=self.runner, pause=pause)
        self.runner = self.portion = None

    @precondition(lambda self: self.plan and self.reg.backfill(self.plan).is_open)
    @rule(on=st.booleans())
    def somebody_pauses_or_resumes(self, on):
        (self.reg.resume_backfill if on else self.reg.pause_backfill)(self.plan)

    @rule(data=st.data())
    def items_go(self, data):
        if self.items:
            gone = data.draw(st.lists(st.sampled_from(sorted(self.items)), max_size=3, unique=True))
            self.reg.delete("shelf", gone)
            for id in gone:
                del self.items[id]

    @rule(many=st.integers(1, 3), again=st.booleans())
    def items_come(self, many, again):
        free = [id for id in range(self.next_id) if id not in self.items] if again else []
        ids = free[:many] or [self.next_id + i for i in range(many)]
        self.next_id = max(self.next_id, ids[-1] + 1)
        self.reg.append("shelf", version="m/1", ids=ids, vectors=vectors(ids, OLD))
        self.items |= dict.fromkeys(ids)

    @rule(data=st.data())
    def a_user_embeds(self, data):
        bare = sorted(id for id, who in self.items.items() if who is None)
        if bare:
            ids = data.draw(st.lists(st.sampled_from(bare), min_size=1, max_size=3, unique=True))
            self.reg.append("shelf", version="m/2", ids=ids, vectors=-vectors(ids))
            self.items |= dict.fromkeys(ids, "user")

    @precondition(lambda self: self.plan)
    @rule()
    def it_is_rolled_back(self):
        if self.runner:
            with pytest.raises(AlreadyExists):
                self.reg.roll_back_backfill(self.plan)
            return
        self.reg.roll_back_backfill(self.plan)
        self.items = {id: None if who == self.plan else who for id, who in self.items.items()}
        self.plan = None

    @precondition(lambda self: self.plan and not self.reg.backfill(self.plan).is_open)
    @rule()
    def a_finished_one_is_left(self):
        with pytest.raises(InvalidInput):
            self.reg.pause_backfill(self.plan)
        self.items = {id: "user" if who else None for id, who in self.items.items()}  # it is of no more concern
        self.plan = None

    @invariant()
    def everything_is_as_it_should_be(self):
        if not hasattr(self, "reg"):
            return
        held = {s.version: s.rows for s in self.reg.gallery("shelf").segments}
        embedded = [id for id, who in self.items.items() if who]
        assert held.get("m/1", 0) == len(self.items)
        assert held.get("m/2", 0) == len(embedded)
        if self.plan:
            mine = [id for id, who in self.items.items() if who == self.plan]
            assert self.reg.backfill(self.plan).written == len(mine)
            if mine:
                found = self.reg.fetch("shelf", ids=mine, into="m/2")
                np.testing.assert_array_equal(found.vectors, vectors(mine))


@pytest.fixture(scope="module", autouse=True)
def template(tmp_path_factory):
    PLACE["folder"] = tmp_path_factory.mktemp("machine")
    PLACE["home"] = PLACE["folder"] / "template"
    with connect(PLACE["home"]) as reg:
        for width in (OLD, NEW):
            reg.register_version("m", dim=width)
        reg.create_gallery("shelf", id_type="int")
        reg.append("shelf", version="m/1", ids=list(range(20)), vectors=vectors(list(range(20)), OLD))


TestBackfills = Machine.TestCase
TestBackfills.settings = settings(
    max_examples=5, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
