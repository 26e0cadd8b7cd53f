"""A person's whole visit: from signing in to a verdict, a closer look, both searches, exports, in the dark, on a phone, and out."""

from __future__ import annotations

import csv
import shutil

import pytest

from registry import connect
from tests.web.browsing import served
from tests.web.conftest import BENCHMARK

pytestmark = pytest.mark.browser

LASSO = [(0.05, 0.05), (0.95, 0.05), (0.95, 0.6), (0.5, 0.95), (0.05, 0.6), (0.05, 0.05)]


@pytest.fixture(scope="module")
def visited(home, tmp_path_factory):
    """Where a registry with a study answers to tokens, and a token."""
    with connect(shutil.copytree(home, tmp_path_factory.mktemp("visit") / "home")) as registry:
        registry.study("products/1", "products/2", benchmark=BENCHMARK)
        secret = registry.create_token("ann.smith", role="reader")[1]
        with served(registry) as at:
            yield at, secret


def ground(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def saved(page, click):
    """The lines of the CSV file that a click saves."""
    with page.expect_download() as download:
        click()
    return list(csv.reader(download.value.path().read_text().splitlines()))


def test_a_whole_visit(page, visited, said):
    at, secret = visited
    page.goto(at)
    page.get_by_label("Token").fill(secret)
    page.get_by_role("button", name="Sign in").click()

    # Home answers in words, and leads closer.
    card = page.locator(".card", has_text="products/1").filter(has_text="products/2").filter(has_text=BENCHMARK).first
    assert "upgrade without backfill" in card.inner_text()
    card.get_by_role("link", name="Look closer").click()
    assert page.get_by_role("heading", level=1).inner_text().split() == [
        "May",
        "products/2",
        "replace",
        "products/1",
        "without",
        "backfilling?",
    ]
    page.get_by_text("Half a backfill").first.wait_for()
    page.locator("figure.chart canvas").first.wait_for()

    # A lasso in one map chooses in both, and the choice is saved.
    page.get_by_role("radio", name="draws a lasso").check()
    left = page.locator('.map[data-side="old"] canvas.over')
    left.scroll_into_view_if_needed()
    box = left.bounding_box()
    spots = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in LASSO]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=6)
    page.mouse.up()
    chosen = page.locator(".chosen.card")
    chosen.wait_for()
    listed = saved(page, lambda: chosen.get_by_role("button", name="Download as CSV").click())
    assert len(listed) > 10
    page.keyboard.press("Escape")
    chosen.wait_for(state="hidden")

    # The matrix by another metric, for some versions, as a file.
    page.get_by_role("link", name="Compatibility").click()
    page.get_by_label("Metric").select_option("cmc@1")
    page.get_by_label("Only these versions").fill("products/1, products/2")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**metric=cmc%401&**versions=products%2F1*")
    page.wait_for_load_state()
    assert page.locator("table.heat tbody tr").count() == 2
    cells = saved(page, lambda: page.get_by_role("link", name="Save as CSV").click())
    assert {"products/1", "products/2"} <= {value for row in cells for value in row}
    with page.expect_download() as picture:
        page.get_by_role("button", name="Save as PNG").click()
    assert picture.value.path().read_bytes().startswith(b"\x89PNG")

    # One query as old and as new.
    page.get_by_role("link", name="Galleries").click()
    page.get_by_role("link", name="catalog", exact=True).first.click()
    page.get_by_role("link", name="Search it as old and as new").click()
    page.get_by_label("Old version").fill("products/1")
    page.get_by_label("New version").fill("products/2")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("heading", name="results stay").wait_for()

    # In the dark, which stays from page to page; on a phone; and out.
    light = ground(page)
    page.locator("button.theme").click()
    page.locator("button.theme").click()
    assert ground(page) != light
    page.set_viewport_size({"width": 360, "height": 740})
    for name in ("Home", "Models", "Compatibility", "Compare", "Galleries", "Runs", "Changes"):
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
        page.wait_for_load_state()
        assert ground(page) != light, name
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{at}/login")
    assert ground(page) != light
    # The browser lets go of an icon when it moves on, and of a page whose answer is a file.
    assert [line for line in said if not line.endswith("/mark.svg") and "/matrix.csv?" not in line] == []
