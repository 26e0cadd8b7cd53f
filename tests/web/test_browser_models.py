"""Models in a real browser: the graph and its arrows by keyboard, the chart, a version on an older page, a phone."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bench.facts import Size, fill
from registry import connect
from tests.web.browsing import check_whole, served

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The address of a model of 60 versions, with transforms between all neighbours."""
    with connect(tmp_path_factory.mktemp("many") / "home") as registry, served(registry) as at:
        with registry._home.database.engine.begin() as connection:
            fill(connection, Size(models=1, versions_each=60, measured=1, transforms=100, evaluations=0, galleries=1))
        yield f"{at}/models/model-0001"


def test_from_the_list_to_a_model_and_along_an_arrow_to_its_evidence(page, said):
    page.goto("/models")
    check_whole(page, said)
    page.get_by_label("Name has").fill("PROD")
    page.keyboard.press("Enter")
    page.wait_for_url("**/models?q=PROD")
    page.get_by_role("link", name="products", exact=True).click()
    page.wait_for_url("**/models/products")
    page.locator("#chart-quality canvas").wait_for()
    arrow = page.locator("svg.graph a.arc").first
    name = arrow.get_attribute("aria-label")
    assert page.get_by_role("link", name=name).count() == 1
    arrow.focus()
    assert arrow.locator(".line").evaluate("e => getComputedStyle(e).strokeWidth") == "3.5px"
    page.keyboard.press("Enter")
    page.wait_for_url("**/transforms/*")
    assert name.partition(" ")[0] in page.locator("dl").first.inner_text()
    check_whole(page, said)


def test_each_class_is_told_by_the_style_of_the_line_too(page, said):
    page.goto("/models/products")
    keys = page.locator(".graph-keys .arc .line").all()
    styles = [
        key.evaluate("e => { const s = getComputedStyle(e); return s.stroke + s.strokeDasharray }") for key in keys
    ]
    dashes = [key.evaluate("e => getComputedStyle(e).strokeDasharray") for key in keys]
    assert len(set(styles)) == len(set(dashes)) == 4
    assert said == []


def test_the_key_t_opens_the_numbers_and_the_table_of_transforms(page, said):
    page.goto("/models/products")
    table = page.get_by_role("region", name="Transforms of products")
    assert not table.is_visible()
    page.locator("#chart-quality canvas").wait_for()
    page.keyboard.press("t")
    assert table.is_visible()
    check_whole(page, said)


def test_the_form_changes_the_address_and_the_numbers(page):
    page.goto("/models/products")
    before = page.locator("#chart-quality tbody").inner_html()
    page.get_by_label("Metric").select_option("mrr")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/models/products?benchmark=digits-bench&metric=mrr")
    assert page.locator("#chart-quality tbody").inner_html() != before
    assert page.get_by_label("Metric").input_value() == "mrr"


def test_a_version_on_an_older_page_is_found_by_its_address(page, many, said):
    page.goto(f"{many}#model-0001/3")
    page.wait_for_url("**/models/model-0001?after=4#model-0001/3")
    assert page.locator("li:target").get_attribute("id") == "model-0001/3"
    assert page.locator("li.release").count() == 3
    page.goto(f"{many}#model-0001/99")  # there is none: nothing goes round in circles
    page.wait_for_timeout(300)
    assert said == []


def test_a_graph_of_fifty_versions_is_whole_on_a_phone(page, many, said):
    page.goto(many)
    drawing = page.locator("svg.graph[role=group]")
    boxes = [box.bounding_box() for box in drawing.locator("a.node rect").all()]
    assert len(boxes) == 51  # of the oldest version shown, the one before it is named too
    assert all(a["y"] + a["height"] <= b["y"] for a, b in pairwise(boxes))
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert said == []


def test_an_anchor_set_and_a_transform_are_whole(page, said):
    page.goto("/anchors/landmarks")
    assert page.get_by_role("heading", level=1).inner_text() == "Where versions meet by 10 anchors"
    check_whole(page, said)
    page.goto("/models")
    page.get_by_role("link", name="relative/landmarks").click()
    page.wait_for_url("**/anchors/landmarks")
