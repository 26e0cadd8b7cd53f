"""Backfills in a real browser: one that runs is followed, its curve is drawn, and a button pauses it."""

from __future__ import annotations

import numpy as np
import pytest

from registry import connect
from tests.web.browsing import check_whole, served

pytestmark = pytest.mark.browser

N, BATCH = 40, 10
ME = "ann@there, process 7"


@pytest.fixture
def running(tmp_path):
    """A backfill that is run, the registry, its address, and what does one batch more and measures."""
    with connect(tmp_path / "home") as reg, served(reg) as at:
        rng, labels = np.random.default_rng(0), {"class": np.arange(N) % 4}
        for width in (3, 2):
            reg.register_version("m", dim=width)
        for name in ("bench", "shelf"):
            reg.create_gallery(name, id_type="int", labels=["class"])
            reg.append(name, version="m/1", ids=np.arange(N), vectors=rng.normal(size=(N, 3)), labels=labels)
        reg.append("bench", version="m/2", ids=np.arange(N), vectors=rng.normal(size=(N, 2)))
        id = reg.plan_backfill("shelf", into="m/2", encoder="shop:encode", batch=BATCH, benchmark="bench").id
        reg.hold_backfill(id, runner=ME)

        def batch():
            portion = reg.next_portion(id, runner=ME)
            reg.store_portion(id, runner=ME, portion=portion, vectors=np.ones((BATCH, 2)), pace=4.0)
            reg.measure_backfill(id, runner=ME)

        reg.measure_backfill(id, runner=ME)
        batch()
        yield id, reg, at, batch


def test_a_backfill_is_followed_and_paused(page, running, said):
    id, reg, at, batch = running
    page.goto(f"{at}/backfills")
    bar = page.locator("progress").first
    assert (bar.get_attribute("value"), bar.get_attribute("max")) == ("10", "40")
    check_whole(page, said)
    page.get_by_role("link", name=id).click()
    figure = page.locator("figure.chart").first
    figure.locator("canvas").wait_for()
    assert figure.locator("tbody tr").count() == 2  # measured before anything was done, and at a quarter
    check_whole(page, said)
    batch()
    page.locator("progress[value='20']").wait_for(timeout=10_000)
    figure.locator("tbody tr:nth-child(3)").wait_for(state="attached", timeout=10_000)
    page.get_by_role("button", name="Pause after the batch at hand").click()
    page.get_by_text("pausing").wait_for()
    assert reg.backfill(id).status == "paused"
    reg.leave_backfill(id, runner=ME)
    page.get_by_role("button", name="Let it be run again").wait_for()
    page.get_by_text(f"samespace backfill resume {id}").wait_for(timeout=10_000)
    page.get_by_role("button", name="Let it be run again").click()
    page.get_by_text("planned").first.wait_for()
    assert reg.backfill(id).status == "planned"
    assert said == []
