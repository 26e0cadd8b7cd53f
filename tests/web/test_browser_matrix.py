"""The compatibility matrix in a real Chromium: whole in every view, by keyboard, on a phone, saved as a picture, measured."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from registry import connect
from tests.web.browsing import CONTRASTS, check_whole, served

pytestmark = pytest.mark.browser

LONG = "a-model-with-a-rather-long-name-that-somebody-chose-for-reasons"


def cell(page, query, gallery):
    return page.locator("table.heat tbody tr").nth(query - 1).locator("td.cell").nth(gallery - 1)


def test_the_matrix_is_whole(page, said):
    page.goto("/matrix")
    assert page.locator("table.heat tbody tr").count() == 4
    assert page.locator("td.cell.compatible").count() > 0
    check_whole(page, said)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_shade_has_contrast(page, scheme):
    page.emulate_media(color_scheme=scheme)
    for show in ("value", "gain", "share"):
        page.goto(f"/matrix?show={show}")
        shades = page.locator(".ramp .swatch").evaluate_all("all => all.map(e => e.className)")
        for shade in [name.split()[1] for name in shades]:  # each of them under all the text of a cell
            page.locator("td.cell").evaluate_all(
                "(all, shade) => all.forEach(e => e.className = `cell ${shade}`)", shade
            )
            assert page.evaluate(CONTRASTS) == [], (show, shade)
        grounds = page.locator(".ramp .swatch").evaluate_all("all => all.map(e => getComputedStyle(e).backgroundColor)")
        assert len(set(grounds)) == len(grounds)


def test_the_form_changes_address_and_numbers(page):
    page.goto("/matrix")
    number = cell(page, 2, 1).locator(".number")
    before = number.inner_text()
    page.get_by_label("Metric").select_option("cmc@1")
    page.get_by_role("combobox", name="Only these versions").fill("products/2, products/1")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(re.compile(r"metric=cmc%401&show=value&versions=products%2F2%2C\+products%2F1$"))
    assert page.locator("table.heat tbody tr").count() == 2
    assert number.inner_text() != before
    page.reload()
    assert page.get_by_label("Metric").input_value() == "cmc@1"
    assert page.get_by_role("combobox", name="Only these versions").input_value() == "products/1, products/2"


def test_arrow_keys_go_from_cell_to_cell_and_enter_leads_on(page):
    page.goto("/matrix")
    page.locator(".scroll.fit").focus()
    for _ in range(5):  # past the links of the four columns, and of the first row
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    focused = "document.activeElement.closest('td.cell') && [document.activeElement.closest('tr').rowIndex, document.activeElement.closest('td.cell').cellIndex]"
    assert page.evaluate(focused) == [1, 1]
    for key, at in (
        ("ArrowDown", [2, 1]),
        ("End", [2, 4]),
        ("ArrowRight", [2, 4]),
        ("Home", [2, 1]),
        ("ArrowUp", [1, 1]),
        ("ArrowDown", [2, 1]),
    ):
        page.keyboard.press(key)
        assert page.evaluate(focused) == at
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/compare\?benchmark=digits-bench&label=class&old=products/1&new=products/2$"))


def test_the_table_is_few_stops_of_the_tab_key(page):
    page.goto("/matrix")
    assert page.locator("td.cell :is(a, summary):not([tabindex='-1'])").count() == 0  # the first cell has no link
    cell(page, 2, 1).locator("summary").focus()
    stops = page.locator("td.cell :is(a, summary):not([tabindex='-1'])")
    assert stops.count() == cell(page, 2, 1).locator("a, summary").count()


def test_details_open_and_close_by_keyboard(page):
    page.goto("/matrix")
    details = cell(page, 2, 1).locator("details")
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    assert details.get_attribute("open") is not None
    assert details.locator("li").first.is_visible()
    page.keyboard.press("Escape")
    assert details.get_attribute("open") is None


def test_the_matrix_is_saved_as_a_picture(page, said):
    image = pytest.importorskip("PIL.Image")
    page.goto("/matrix?show=gain")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename == "matrix-digits-bench-class-map.png"
    with open(download.value.path(), "rb") as file:
        picture = image.open(io.BytesIO(file.read())).convert("RGB")
    shown = page.locator("table.heat").bounding_box()
    assert picture.width > 1.2 * shown["width"] and picture.height > 1.2 * shown["height"]
    colours = {colour for count, colour in picture.getcolors(1 << 20) if count > 2000}
    for shade in ("td.cell.compatible", "td.cell.incompatible"):
        ground = page.locator(shade).first.evaluate("e => getComputedStyle(e).backgroundColor")
        assert tuple(int(part) for part in re.findall(r"\d+", ground)) in colours
    assert said == []


@pytest.fixture
def crowded(tmp_path):
    """The address of a registry with six versions of a model with a long name, which nobody measured."""
    labels = np.arange(12) % 3
    with connect(tmp_path / "home") as registry:
        registry.create_gallery("bench", id_type="int", labels=["class"])
        for n in range(6):
            registry.register_version(LONG, dim=4)
            x = np.eye(4)[labels] + 0.3 * np.random.default_rng(n).normal(size=(12, 4))
            registry.append("bench", version=f"{LONG}/{n + 1}", ids=np.arange(12), vectors=x, labels={"class": labels})
        with served(registry) as at:
            yield at


def test_measuring_with_progress_and_many_versions_on_a_phone(page, said, crowded):
    page.goto(f"{crowded}/matrix")
    assert page.get_by_text("samespace evaluate bench").is_visible()
    check_whole(page, said)
    page.get_by_role("button", name="Measure the 6 newest versions there").click()
    page.wait_for_url(re.compile(r"/matrix\?benchmark=bench&.*versions="))
    assert page.locator("table.heat.some tbody tr").count() == 6
    details = cell(page, 6, 6 - 1).locator("details")
    details.locator("summary").click()
    page.set_viewport_size({"width": 360, "height": 740})
    assert details.locator(".more").is_visible()
    check_whole(page, said)


def test_the_headers_stay_in_sight(page, crowded):
    page.goto(f"{crowded}/matrix")
    page.get_by_role("button", name="Measure").click()
    page.wait_for_url(re.compile("versions="))
    page.set_viewport_size({"width": 500, "height": 500})
    page.locator(".scroll.fit").evaluate("e => e.scrollTo(300, 300)")
    box, head, side = (
        page.locator(place).bounding_box()
        for place in (".scroll.fit", "table.heat thead th >> nth=3", "table.heat tbody th >> nth=4")
    )
    assert abs(head["y"] - box["y"]) < 8 and abs(side["x"] - box["x"]) < 8
