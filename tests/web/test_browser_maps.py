"""The two linked maps in a real Chromium: pointed at, lassoed, by keys and by touch, kept in the address, saved to a file."""

from __future__ import annotations

import csv
import re
import time
from math import hypot
from urllib.parse import quote

import numpy as np
import pytest

from tests.web.browsing import check_whole, served
from tests.web.mapping import FORMULA, HOSTILE, ITEMS, OLD, PAGE, studied

pytestmark = pytest.mark.browser

DRAWN = """() => new Promise((done, fail) => {
  setTimeout(() => fail(new Error("the maps were not drawn")), 20000);
  const look = () => performance.getEntriesByName("maps:drawn").length ? done() : setTimeout(look, 10);
  look();
})"""
PLACE = """([side, i]) => {
  const field = document.querySelector(".maps").maps.fields[side];
  const box = field.over.getBoundingClientRect();
  const [x, y] = field.at(i);
  return [box.left + x, box.top + y];
}"""
PIXEL = """([side, name, i, dx]) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
  const field = document.querySelector(".maps").maps.fields[side];
  const [x, y] = i < 0 ? [4, 4] : field.at(i);
  const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  copy.drawImage(field.figure.querySelector(name), -Math.round((x + dx) * field.dense), -Math.round(y * field.dense));
  done([...copy.getImageData(0, 0, 1, 1).data]);
})))"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with studied(tmp_path_factory.mktemp("maps") / "home") as registry:
        yield registry


@pytest.fixture(scope="module")
def at(registry):
    """Where the registry is served."""
    with served(registry) as address:
        yield address


@pytest.fixture(scope="module")
def items(registry):
    """What the study found of each item, by column."""
    return registry.study_items(registry.studies()[0].id).to_pydict()


@pytest.fixture(scope="module")
def context(browser):
    """One that keeps files, so that each test loads them once."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context


@pytest.fixture
def page(context, said):
    """An empty page that tells what the browser complains about."""
    with context.new_page() as empty:
        empty.on("console", lambda message: said.append(message.text))
        empty.on("pageerror", lambda error: said.append(str(error)))
        yield empty


@pytest.fixture
def maps(page, at):
    """`maps(more="")`: the page with both maps drawn."""

    def show(more=""):
        page.goto(f"{at}{PAGE}{more}")
        page.evaluate(DRAWN)
        page.locator(".maps .two").scroll_into_view_if_needed()
        return page

    return show


def place(page, side, i):
    return page.evaluate(PLACE, [side, int(i)])


def pixel(page, side, i, canvas=".dots", dx=0):
    """The colour on a canvas at an item, or beside it."""
    return page.evaluate(PIXEL, [side, canvas, int(i), dx])


def soon(test):
    """Hold what becomes true with one of the next frames."""
    end = time.monotonic() + 5
    while not test():
        assert time.monotonic() < end
        time.sleep(0.02)


def readout(page):
    return page.locator(".readout").inner_text()


def chosen(page):
    """The ids that the panel lists."""
    return set(page.locator(".chosen tbody .show").all_inner_texts())


def drag(page, points, key=None):
    """The pointer, held down, along points of the screen."""
    if key:
        page.keyboard.down(key)
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()
    if key:
        page.keyboard.up(key)


def around(page, side, wanted):
    """Corners of a box around some items, just wider than they are."""
    places = np.array([place(page, side, i) for i in wanted])
    (left, top), (right, bottom) = places.min(axis=0) - 3, places.max(axis=0) + 3
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 1)]


def boxed(items, side, wanted):
    """The ids in the smallest box around some items."""
    x, y = np.array(items[f"x_{side}"]), np.array(items[f"y_{side}"])
    inside = (x >= x[wanted].min()) & (x <= x[wanted].max()) & (y >= y[wanted].min()) & (y <= y[wanted].max())
    return {items["id"][i] for i in np.flatnonzero(inside)}


def westernmost(items, side, n):
    return np.argsort(items[f"x_{side}"])[:n]


def test_the_maps_are_whole_in_both_themes_and_on_a_phone(maps, said):
    page = maps("#maps?by=overlap&pick=overlap:100")
    check_whole(page, said, within=".maps")
    assert page.locator(".chosen tbody tr").count() == ITEMS


def test_pointing_at_an_item_rings_it_in_both_maps_and_tells_its_numbers(maps, items, said):
    page = maps()
    i = int(np.argmax(items["x_old"]))
    page.mouse.move(*place(page, "old", i))
    told = readout(page)
    assert items["id"][i] in told
    assert f"keeps {round(items['overlap'][i] * 10)} of 10 neighbours" in told
    assert f"AP {100 * items['ap_today'][i]:.1f} → {100 * items['ap_upgraded'][i]:.1f}" in told
    for side in ("old", "new"):
        assert pixel(page, side, i, ".over", 9)[3] == 255, side  # on the ring
        assert pixel(page, side, i, ".over")[3] == 0, side  # in its middle
    south = int(np.argmin(items["y_new"]))
    page.mouse.move(*place(page, "new", south))  # the other way round
    assert items["id"][south] in readout(page)
    assert pixel(page, "old", south, ".over", 9)[3] == 255
    page.mouse.move(5, 5)
    assert pixel(page, "old", south, ".over", 9)[3] == 0
    assert said == []


def test_a_lasso_in_one_map_chooses_in_both_and_sums_up(maps, items):
    page = maps()
    wanted = westernmost(items, "old", 9)
    expected = boxed(items, "old", wanted)
    outside = int(np.argmax(items["x_old"]))
    before = {side: pixel(page, side, outside) for side in ("old", "new")}
    page.get_by_label("draws a lasso").check()
    drag(page, around(page, "old", wanted))
    assert chosen(page) == expected
    rows = [i for i in range(ITEMS) if items["id"][i] in expected]
    panel = page.locator(".chosen").inner_text()
    assert f"{len(rows)} of {ITEMS} items chosen" in panel
    today, after = (np.mean([items[f"ap_{stage}"][i] for i in rows]) * 100 for stage in ("today", "upgraded"))
    assert f"{today:.1f} → {after:.1f}" in panel
    assert f"{np.mean([items['overlap'][i] for i in rows]) * 100:.1f} %" in panel
    for side, colour in before.items():
        assert pixel(page, side, outside) != colour, side  # faded in both


def test_a_lasso_holds_what_is_inside_and_not_what_is_in_its_box(maps, items):
    page = maps()
    page.get_by_label("draws a lasso").check()
    places = np.array([place(page, "new", i) for i in range(ITEMS)])
    (left, top), (right, bottom) = places.min(axis=0) - 8, places.max(axis=0) + 8
    drag(page, [(left, top), (right, top), (left, bottom)])
    share = (places - (left, top)) / (right - left, bottom - top)
    beyond = (share.sum(axis=1) - 1) * min(right - left, bottom - top)  # px, from the slanted side and more
    inside, outside = ({items["id"][i] for i in np.flatnonzero(which)} for which in (beyond < -6, beyond > 6))
    assert inside
    assert outside
    assert inside <= chosen(page)
    assert not outside & chosen(page)


def test_shift_adds_alt_takes_away_and_escape_clears(maps, items):
    page = maps()
    page.get_by_label("draws a lasso").check()
    west, east = westernmost(items, "new", 6), np.argsort(items["x_new"])[-4:]
    drag(page, around(page, "new", west))
    drag(page, around(page, "new", east), "Shift")
    both = boxed(items, "new", west) | boxed(items, "new", east)
    assert chosen(page) == both
    drag(page, around(page, "new", east), "Alt")
    assert chosen(page) == both - boxed(items, "new", east)
    page.keyboard.press("Escape")
    assert page.locator(".chosen").is_hidden()
    assert "#" not in page.url


def test_a_choice_has_a_permanent_address(maps, items, at):
    page = maps()
    page.get_by_label("draws a lasso").check()
    wanted = westernmost(items, "old", 7)
    drag(page, around(page, "old", wanted))
    page.get_by_label("Colour by").select_option("flips")
    expected, address = chosen(page), page.url
    assert "#maps?by=flips&pick=old" in address
    page.goto(f"{at}/api/v1/")
    page.goto(address)
    page.evaluate(DRAWN)
    assert chosen(page) == expected
    assert page.get_by_label("Colour by").input_value() == "flips"


def test_an_address_that_makes_no_sense_is_told_and_others_are_left_alone(maps):
    page = maps("#maps?by=label.colour")
    assert "no label.colour to colour by" in page.locator(".fault-line").inner_text()
    page = maps("#planner")
    page.get_by_label("Colour by").select_option("overlap")
    page.get_by_label("Colour by").select_option("label.class")
    page.reload()
    page.evaluate(DRAWN)
    page.evaluate("location.hash = '#maps?pick=old:1,2'")
    assert "No rule for these items" in page.locator(".fault-line").inner_text()


def test_everything_goes_by_keys(maps, items):
    page = maps()
    page.locator(".map[data-side=old] .over").focus()
    page.keyboard.press("ArrowRight")
    first = readout(page)
    page.keyboard.press("ArrowRight")
    assert readout(page) != first
    here = next(i for i in range(ITEMS) if readout(page).startswith(f"{items['id'][i]} ·"))
    page.keyboard.press("ArrowRight")
    there = next(i for i in range(ITEMS) if readout(page).startswith(f"{items['id'][i]} ·"))
    dx, dy = (items[f"{axis}_old"][there] - items[f"{axis}_old"][here] for axis in "xy")
    assert dx >= abs(dy) and hypot(dx, dy) > 0  # the next one to the right
    assert page.locator(".said").inner_text() == readout(page)  # for whoever listens
    page.keyboard.press("Enter")
    assert chosen(page) == {items["id"][there]}
    page.keyboard.press("Enter")
    assert page.locator(".chosen").is_hidden()
    page.keyboard.press("+")
    assert page.evaluate("document.querySelector('.maps').maps.fields.old.view.zoom") == 1.5
    page.keyboard.press("0")
    assert page.evaluate("document.querySelector('.maps').maps.fields.old.view") == {"x": 0, "y": 0, "zoom": 1}


RULES = {
    "label.class": ("1", lambda items, i: items["label.class"][i] == 1),
    "label.shop": (HOSTILE, lambda items, i: items["label.shop"][i] == HOSTILE),
    "overlap": ("40", lambda items, i: items["overlap"][i] < 0.405),
    "flips:won": (None, lambda items, i: (items["hit_today"][i], items["hit_upgraded"][i]) == (0, 1)),
    "loses": ("1", lambda items, i: items["ap_today"][i] - items["ap_upgraded"][i] >= 0.01),
    "id": ("m/2", lambda items, i: "m/2" in items["id"][i]),
}


def test_a_form_chooses_by_every_rule(maps, items):
    page = maps()
    for rule, (value, test) in RULES.items():
        page.locator("[name=rule]").select_option(rule)
        if value is not None:
            page.locator("[name=value]").fill(value)
            page.keyboard.press("Enter")
        else:
            page.get_by_role("button", name="Choose", exact=True).click()
        expected = {items["id"][i] for i in range(ITEMS) if test(items, i)}
        assert expected, rule
        assert chosen(page) == expected, rule
    page.locator("[name=rule]").select_option("label.class")
    page.locator("[name=value]").fill("0")
    page.get_by_role("button", name="Add").click()
    assert chosen(page) == expected | {items["id"][i] for i in range(ITEMS) if items["label.class"][i] == 0}


def test_what_is_in_view_is_chosen(maps, items):
    page = maps()
    page.get_by_role("button", name=f"Zoom in on {OLD}").click(click_count=1)
    page.get_by_role("button", name=f"Zoom in on {OLD}").click()
    page.locator(".map[data-side=old] .seen").click()
    reach = 1 / 0.93 / 1.6**2
    expected = {
        items["id"][i] for i in range(ITEMS) if abs(items["x_old"][i]) < reach and abs(items["y_old"][i]) < reach
    }
    assert 0 < len(expected) < ITEMS
    assert chosen(page) == expected


def test_the_file_holds_the_chosen_and_no_formula(maps, items, tmp_path):
    page = maps("#maps?pick=overlap:100")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download as CSV").click()
    assert re.fullmatch(r"chosen-bench-shoes-1-boots-1\.csv", saved.value.suggested_filename)
    saved.value.save_as(tmp_path / "chosen.csv")
    with (tmp_path / "chosen.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == ITEMS
    by_id = {row["id"]: row for row in rows}
    assert f"'{FORMULA}" in by_id
    assert not any(value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())
    i = items["id"].index(HOSTILE)
    row = by_id[HOSTILE]
    assert float(row["ap_today"]) == pytest.approx(items["ap_today"][i], abs=1e-6)
    assert float(row["overlap"]) == pytest.approx(items["overlap"][i])
    assert int(row["hit_upgraded"]) == items["hit_upgraded"][i]
    assert row["class"] == str(items["label.class"][i])


def test_evil_names_stay_text(maps, items):
    dialogs = []
    page = maps("#maps?pick=overlap:100&by=label.shop")
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    assert page.locator(".legend-keys").get_by_text(HOSTILE).is_visible()
    page.mouse.move(*place(page, "old", items["id"].index(HOSTILE)))
    assert HOSTILE in readout(page)
    assert page.locator(".chosen tbody").get_by_text(HOSTILE).first.is_visible()
    assert page.locator(".maps script").count() == 0
    assert dialogs == []


def test_the_legend_lights_a_class_in_both_maps(maps, items):
    page = maps()
    keys = page.locator(".legend-keys button")
    name = keys.nth(0).locator(".name").inner_text()
    other = next(i for i in range(ITEMS) if str(items["label.class"][i]) != name)
    before = {side: pixel(page, side, other) for side in ("old", "new")}
    keys.nth(0).hover()
    faded = {side: pixel(page, side, other) for side in ("old", "new")}
    assert all(faded[side] != before[side] for side in before)
    keys.nth(0).click()
    page.mouse.move(5, 5)
    assert keys.nth(0).get_attribute("aria-pressed") == "true"
    assert {side: pixel(page, side, other) for side in ("old", "new")} == faded
    keys.nth(0).click()
    page.mouse.move(5, 5)
    assert {side: pixel(page, side, other) for side in ("old", "new")} == before


def test_the_maps_take_the_colours_of_the_theme(maps, said):
    page = maps()
    page.emulate_media(color_scheme="dark")
    soon(lambda: pixel(page, "old", -1)[:3] == [22, 26, 32])
    page.get_by_role("banner").get_by_role("button", name="Colours").click()  # light by hand
    soon(lambda: pixel(page, "new", -1)[:3] == [255, 255, 255])
    assert said == []


def test_the_wheel_scrolls_the_page_until_the_map_is_clicked(maps):
    page = maps()
    zoom = "document.querySelector('.maps').maps.fields.old.view.zoom"
    page.locator(".map[data-side=old] .over").hover()
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, -120)
    soon(lambda: page.evaluate("scrollY") < before)
    assert page.evaluate(zoom) == 1
    page.locator(".map[data-side=old] .over").click()
    page.mouse.wheel(0, -120)
    soon(lambda: page.evaluate(zoom) > 1.2)
    page.locator(".map[data-side=old] .over").dblclick()
    assert page.evaluate(zoom) == 1


def test_dragging_moves_one_map_or_both(maps):
    page = maps()
    views = "Object.values(document.querySelector('.maps').maps.fields).map((field) => field.view.x)"
    over = page.locator(".map[data-side=new] .over")
    box = over.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    over.click()
    page.keyboard.press("+")
    drag(page, [middle, (middle[0] + 60, middle[1])])
    old, new = page.evaluate(views)
    assert old == 0
    assert new == pytest.approx(-60 / (box["width"] / 2 * 0.93 * 1.5), rel=0.02)
    page.get_by_label("Move both maps together").check()
    drag(page, [middle, (middle[0] - 30, middle[1])])
    old, new = page.evaluate(views)
    assert old == new < 0


def test_an_item_is_shown_with_its_picture(maps, items):
    page = maps()
    i = int(np.argmax(items["y_old"]))
    page.mouse.move(*place(page, "old", i))
    picture = page.locator(".readout img")
    picture.wait_for()
    assert f"id={quote(items['id'][i], safe='')}" in picture.get_attribute("src")
    soon(lambda: picture.evaluate("e => e.naturalWidth") == 1)


def test_rows_of_the_list_ring_their_items(maps, items):
    page = maps("#maps?pick=overlap:100")
    button = page.locator(".chosen tbody .show").nth(3)
    i = items["id"].index(button.inner_text())
    button.focus()
    assert items["id"][i] in readout(page)
    assert pixel(page, "new", i, ".over", 9)[3] == 255


def test_a_finger_draws_a_lasso_and_two_fingers_zoom(browser, at, items):
    phone = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = phone.new_page()
    page.goto(at + PAGE)
    page.evaluate(DRAWN)
    fingers = phone.new_cdp_session(page)

    def touch(kind, *points):
        at = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    page.locator(".map[data-side=old] .over").evaluate("e => e.scrollIntoView({block: 'center'})")
    page.get_by_label("draws a lasso").evaluate("e => e.click()")
    wanted = westernmost(items, "old", 8)
    corners = around(page, "old", wanted)
    touch("touchStart", corners[0])
    for corner in corners[1:]:
        touch("touchMove", corner)
    touch("touchEnd")
    assert chosen(page) == boxed(items, "old", wanted)
    box = page.locator(".map[data-side=old] .over").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch("touchStart", (x - 20, y), (x + 20, y))
    for reach in (30, 40, 60):
        touch("touchMove", (x - reach, y), (x + reach, y))
    touch("touchEnd")
    zoom = page.evaluate("document.querySelector('.maps').maps.fields.old.view.zoom")
    assert zoom == pytest.approx(3, rel=0.1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    phone.close()


def test_what_cannot_be_loaded_is_told(page, at):
    page.route("**/points", lambda route: route.fulfill(status=500, body="no"))
    page.goto(at + PAGE)
    page.locator(".loading.failed").wait_for()
    assert "the server answered 500" in page.locator(".loading").inner_text()
    assert page.locator(".board").is_hidden()
