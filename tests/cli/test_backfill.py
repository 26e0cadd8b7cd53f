"""`samespace backfill` and `samespace gallery drop-segment`, command by command."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry import connect
from tests.conftest import serving

N = 40


@pytest.fixture
def shop(home, tmp_path, monkeypatch):
    """A home with a gallery that m/1 embedded, and a module `shopping` with encoders."""
    (tmp_path / "shopping.py").write_text(
        "import numpy as np\n"
        "def encode(ids): return np.asarray([[int(i) + 1.0, 1.0] for i in ids])\n"
        "def interrupted(ids): raise KeyboardInterrupt\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shopping", raising=False)
    with connect(home) as reg:
        for width in (3, 2):
            reg.register_version("m", dim=width)
        reg.create_gallery("shelf", id_type="int")
        reg.append("shelf", version="m/1", ids=np.arange(N), vectors=np.ones((N, 3)))
    return home


def test_a_backfill_from_plan_to_rollback(shop, samespace):
    plan = ("--home", shop, "backfill", "plan", "shelf", "--into", "m/2", "--encoder", "shopping:encode", "--batch", 16)
    assert "40 items" in samespace(*plan, "--dry-run").stdout
    assert "no backfills yet" in samespace("--home", shop, "backfill", "status").stdout
    shown = samespace(*plan, "--time").stdout
    assert "nobody measured whether it is worth it" in shown
    assert "the first batch went at" in shown
    (found,) = json.loads(samespace("--home", shop, "--json", "backfill", "status").stdout)
    id = found["id"]
    assert f"samespace backfill run {id}" in shown
    assert (found["state"], found["done"], found["share"]) == ("planned", 0, 0.0)
    assert id in samespace("--home", shop, "status").stdout
    assert f"{id} is finished: 40 of 40, 40 vectors stored" in samespace("--home", shop, "backfill", "run", id).stdout
    again = samespace("--home", shop, "backfill", "run", id, code=1).output
    assert "is finished: plan another" in again
    refused = samespace("--home", shop, "gallery", "drop-segment", "shelf", "m/2", "--yes").stdout
    assert "dropped 40 vectors of m/2" in refused
    other = json.loads(samespace("--home", shop, "--json", *plan[2:]).stdout)["id"]
    samespace("--home", shop, "backfill", "run", other)
    assert "would remove 40 vectors" in samespace("--home", shop, "backfill", "rollback", other, "--dry-run").stdout
    assert "removed 40 vectors of m/2" in samespace("--home", shop, "backfill", "rollback", other, "--yes").stdout
    shown = samespace("--home", shop, "backfill", "status", other).stdout
    assert "rolled back" in shown
    assert "0 vectors of it are there" in shown


def test_a_plan_says_how_it_is_run_and_what_nothing_will_check(shop, samespace):
    plan = ("--home", shop, "backfill", "plan", "shelf", "--into", "m/2")
    shown = samespace(*plan).stdout
    assert "run it with reg.run_backfill('backfill-" in shown and "encode=function)" in shown
    assert "m/2 has no canaries" in shown
    with connect(shop) as reg:
        reg.add_canaries("m/2", ["a", "b"], [[1.0, 2.0], [2.0, 1.0]])
    assert "canaries" not in samespace(*plan, "--encoder", "shopping:encode", "--dry-run").stdout


def test_ctrl_c_pauses_it_and_resume_goes_on(shop, samespace):
    with connect(shop) as reg:
        id = reg.plan_backfill("shelf", into="m/2", encoder="shopping:interrupted").id
    shown = samespace("--home", shop, "backfill", "run", id, code=130).stdout
    assert f"paused at 0 of 40: 'samespace backfill resume {id}' goes on" in shown
    assert "is paused" in samespace("--home", shop, "backfill", "run", id, code=1).output
    assert "may be run again" in samespace("--home", shop, "backfill", "resume", id, "--only").stdout
    paused = json.loads(samespace("--home", shop, "--json", "backfill", "pause", id).stdout)
    assert paused["state"] == "paused"
    assert samespace("--home", shop, "backfill", "resume", id, code=130)


def test_the_time_that_all_takes_is_no_shorter_than_the_rate_allows(shop, samespace):
    plan = ("backfill", "plan", "shelf", "--into", "m/2", "--encoder", "shopping:encode", "--batch", 8)
    shown = samespace("--home", shop, *plan, "--rate", 0.5, "--time").stdout
    assert "all takes 1 min 20 s" in shown  # 40 items at one in two seconds


def test_counts_come_from_a_file(shop, samespace, tmp_path):
    pq.write_table(pa.table({"id": [7, 30], "count": [2, 9]}), tmp_path / "counts.parquet")
    plan = ("--home", shop, "--json", "backfill", "plan", "shelf", "--into", "m/2", "--order", "most-searched")
    assert "needs counts" in samespace(*plan, code=1).output
    assert "no Parquet file" in samespace(*plan, "--counts", tmp_path / "shopping.py", code=1).output
    id = json.loads(samespace(*plan, "--counts", tmp_path / "counts.parquet").stdout)["id"]
    with connect(shop) as reg:
        reg.hold_backfill(id, runner="me")
        assert reg.next_portion(id, runner="me", most=2).ids == (30, 7)


def test_against_a_server_the_encoder_is_named_by_whoever_runs_it(shop, samespace):
    with connect(shop) as reg, serving(reg) as url:
        shown = samespace(
            "--home", url, "backfill", "plan", "shelf", "--into", "m/2", "--encoder", "shopping:encode", "--time"
        ).stdout
        assert "the first batch went at" in shown  # of the encoder that this very command names
        sys.modules.pop("shopping")
        id = reg.backfills()[0].id
        assert f"'samespace backfill run {id} --trust shopping:encode'" in shown
        refused = samespace("--home", url, "backfill", "run", id, code=1).output
        assert "asks to call the encoder 'shopping:encode' here" in refused
        assert "shopping" not in sys.modules
        reg.pause_backfill(id)
        shown = samespace("--home", url, "backfill", "resume", id, "--trust", "shopping:encode").stdout
        assert f"{id} is finished" in shown
