"""Runs in a real browser: curves are drawn from their numbers, and a live run is followed."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from registry import connect
from registry.tracking import default_uri
from tests.web.browsing import check_whole, served

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A home with one run that is going on, its address, and what logs the loss of further epochs."""
    home = tmp_path_factory.mktemp("live") / "home"
    with connect(home) as registry, served(registry) as at:
        client = MlflowClient(default_uri(home))
        run = client.create_run(client.create_experiment("shop"), run_name="going on").info.run_id

        def log(*epochs):
            client.log_batch(run, metrics=[Metric("loss", 2 / epoch, 1000 + epoch, epoch) for epoch in epochs])

        log(1, 2, 3)
        yield f"{at}/runs/{run}", log, lambda: client.set_terminated(run)


def test_a_live_run_is_followed_until_it_ends(page, live, said):
    address, log, end = live
    page.goto(address)
    figure = page.locator("figure.chart")
    figure.locator("canvas").wait_for()
    assert figure.locator("tbody tr").count() == 3
    assert not figure.locator("details").evaluate("e => e.open")
    page.keyboard.press("t")
    assert figure.locator("tbody tr").first.is_visible()
    check_whole(page, said)
    log(4)
    figure.locator("tbody tr:nth-child(4)").wait_for(timeout=10_000)
    figure.locator("canvas").wait_for()
    assert figure.locator("details").evaluate("e => e.open")  # what was open stays open
    end()
    page.get_by_text("✓ finished").wait_for(timeout=10_000)
    assert page.get_by_role("status").count() == 0
    assert said == []


def test_the_list_is_whole(page, live, said):
    page.goto(live[0].rpartition("/")[0])
    assert page.get_by_role("link", name="going on").is_visible()
    check_whole(page, said)
