"""The comparison in a real Chromium: drawn, live, by keyboard, on a phone, and measured from the page."""

from __future__ import annotations

import numpy as np
import pytest

from registry import connect
from tests.web.browsing import check_whole, served
from tests.web.test_compare_page import HOSTILE, add_versions

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """Where a registry of two studied versions is served, and two that are to be studied."""
    rng = np.random.default_rng(4)
    labels = rng.integers(6, size=100)
    with connect(tmp_path_factory.mktemp("compare") / "home") as registry:
        for model in ("shoes", "hats"):
            made = add_versions(registry, model, labels=labels, rng=rng)
            registry.create_gallery(model, id_type="int", labels=["class", "shop"])
            for number, x in made.items():
                both = {"class": labels, "shop": np.array(["here", HOSTILE])[labels % 2]}
                registry.append(model, version=f"{model}/{number}", ids=range(100), vectors=x, labels=both)
            registry.evaluate(model)
        registry.add_previews("shoes", range(100), pictures=[PNG_OF_ONE_PIXEL] * 100)
        registry.study("shoes/1", "shoes/2", benchmark="shoes")
        with served(registry) as address:
            yield f"{address}/compare"


PNG_OF_ONE_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)
SHOES = "?old=shoes/1&new=shoes/2"


def test_the_comparison_is_whole(page, at, said):
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(at + SHOES)
    page.wait_for_function("[...document.querySelectorAll('figure.chart')].every(f => f.plot)")
    assert page.locator("figure.chart canvas").count() == 7  # ranks, three of scores, neighbours, two of the planner
    assert page.get_by_text(HOSTILE, exact=True).first.is_visible()
    check_whole(page, said)
    assert dialogs == []


@pytest.mark.parametrize("query", ["", "?old=hats/1&new=hats/2"])
def test_choosing_and_unstudied_pairs_are_whole(page, at, said, query):
    page.goto(at + query)
    check_whole(page, said)


def test_two_versions_are_chosen_by_keyboard(page, at):
    page.goto(at)
    page.get_by_label("Old version").focus()
    page.keyboard.type("shoes/1")
    page.keyboard.press("Tab")
    page.keyboard.type("shoes/2")
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?old=shoes*")
    assert page.get_by_role("heading", level=1).inner_text() == "May shoes/2 replace shoes/1 without backfilling?"


def test_a_heading_sorts_and_the_address_keeps_it(page, at):
    page.goto(at + SHOES)
    table = page.locator("table.groups").first
    lost = table.get_by_role("link", name="Lost at rank 1")
    lost.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**sort=-lost#groups")
    shown = [int(cell.inner_text()) for cell in table.locator("tbody tr td:nth-last-child(2)").all()]
    assert shown == sorted(shown, reverse=True)
    assert table.locator("th[aria-sort=descending]").inner_text().startswith("Lost")


def test_the_planner_is_live_says_what_the_server_says_and_is_kept_in_the_address(page, at, said):
    page.goto(at + SHOES)
    page.get_by_label("Items to re-embed").fill("2000000")
    page.get_by_label("Items per second").fill("150")
    page.get_by_label("Price").fill("2.5")
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Tab")
    live = page.locator("[data-planner] .card").nth(1)
    told = live.inner_text()
    assert "A backfill of 30\N{NO-BREAK SPACE}%" in told
    assert "600\N{NARROW NO-BREAK SPACE}000" in told
    assert "1 h 6 min" in told
    assert f"{600000 / 150 / 3600 * 2.5:.2f}" in told
    page.wait_for_url("**share=30**")
    page.reload()
    assert live.inner_text() == told
    assert _complaints(said) == []


def test_measuring_shows_progress_and_ends_at_the_study(page, at, said):
    page.goto(f"{at}?old=hats/1&new=hats/2")
    page.evaluate("""() => {
      window.seen = [];
      new MutationObserver(() => window.seen.push(document.querySelector('form.work [role=status]').textContent))
        .observe(document.querySelector('form.work'), { subtree: true, childList: true });
      addEventListener('beforeunload', () => sessionStorage.setItem('seen', JSON.stringify(window.seen)));
    }""")
    page.get_by_role("button", name="Study this pair now").click()
    page.wait_for_selector("#planner", timeout=60_000)
    seen = page.evaluate("JSON.parse(sessionStorage.getItem('seen'))")
    steps = [text.split()[1:4:2] for text in seen if " of " in text]
    assert steps
    assert steps[-1][0] == steps[-1][1]
    assert _complaints(said) == []


def _complaints(said):
    """Without the icon, which a browser that moves on lets go of."""
    return [text for text in said if not text.endswith("/mark.svg")]


def test_a_failure_is_told_beside_the_button(page, at):
    page.goto(at + "?old=hats/2&new=hats/1")
    page.locator("form.work input[name=benchmark]").evaluate("e => { e.value = 'nothing'; }")
    page.get_by_role("button", name="Study this pair now").click()
    told = page.locator("form.work[data-failed] [role=status]")
    told.wait_for()
    assert "there is no gallery 'nothing'" in told.inner_text()
    assert page.get_by_role("button", name="Study this pair now").is_enabled()


def test_it_measures_without_scripts(browser, at):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(at + "?old=hats/2&new=hats/1")
    page.get_by_role("button", name="Study this pair now").click(timeout=60_000)
    page.wait_for_url("**benchmark=hats**", timeout=60_000)
    assert page.get_by_role("heading", name="What would half a backfill bring").is_visible()
    page.locator("input[name=rate]").fill("100")
    page.get_by_role("button", name="Plan").click()
    assert "rate=100" in page.url
    context.close()
