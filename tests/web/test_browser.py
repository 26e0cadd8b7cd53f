"""The page in a real Chromium: the policy holds, the form and the keyboard work, it fits a phone, it has a dark side."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from registry import connect
from web import create_app

pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
ARGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def require(condition: bool, reason: str) -> None:
    """Skip where the browser is missing; under CI that is a failure, not an excuse."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    require(sync_playwright is not None, "playwright is not installed: pip install 'samespace[dev]'")
    require(Path(CHROMIUM).is_file(), f"there is no Chromium at {CHROMIUM}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield chromium
        chromium.close()


@contextmanager
def served(registry):
    server = make_server("127.0.0.1", 0, create_app(registry), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def address(home):
    with connect(home) as registry, served(registry) as at:
        yield at


@pytest.fixture
def said():
    """What the browser complained about; a page must leave it empty."""
    return []


@pytest.fixture
def page(browser, address, said):
    with_size = browser.new_page(viewport={"width": 1280, "height": 900}, base_url=address)
    with_size.on("console", lambda message: said.append(message.text))
    with_size.on("pageerror", lambda error: said.append(str(error)))
    with_size.on("requestfailed", lambda request: said.append(request.url))
    yield with_size
    with_size.close()


def test_loads_without_complaints_and_shows_the_matrix(page, said):
    hosts = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.goto("/")
    assert page.locator("table.matrix").is_visible()
    assert page.locator("table.matrix tbody tr").count() == 4
    assert page.locator("td.cell.compatible").count() > 0
    assert page.evaluate("document.styleSheets[0].cssRules.length") > 50
    assert page.evaluate("document.querySelector('.brand img').naturalWidth") > 0
    assert said == []
    assert len(hosts) == 1  # nothing is fetched from elsewhere


def test_hostile_names_stay_text(page, said):
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto("/")
    assert page.get_by_text("<script>alert(1)</script>").first.is_visible()
    assert dialogs == []
    assert said == []


def test_the_form_changes_address_and_values(page):
    page.goto("/")
    value = page.locator("td.cell.compatible .value").first
    before = value.inner_text()
    page.get_by_label("Metric").select_option("cmc@1")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(lambda url: url.endswith("/?benchmark=digits-bench&metric=cmc%401"))
    assert value.inner_text() != before
    page.reload()
    assert page.get_by_label("Metric").input_value() == "cmc@1"


def test_details_open_by_keyboard(page):
    page.goto("/")
    details = page.locator("td.cell details").first
    details.locator("summary").focus()
    assert details.get_attribute("open") is None
    page.keyboard.press("Enter")
    assert details.get_attribute("open") is not None
    assert details.locator("li, .other").first.is_visible()


def test_the_first_tab_stop_skips_to_the_content(page):
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_a_phone_does_not_scroll_sideways(page):
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/")
    for element in page.locator("td.cell details").all():
        element.evaluate("e => e.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("table.matrix").is_visible()


CONTRASTS = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walker.nextNode());) {
    if (!n.textContent.trim()) continue;
    const [a, b] = [parse(getComputedStyle(n.parentElement).color), behind(n.parentElement)].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(n.textContent.trim().slice(0, 40) + " " + ratio.toFixed(2));
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto("/")
    assert page.evaluate(CONTRASTS) == []


def test_dark_differs(page):
    grounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto("/")
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


@pytest.fixture
def guarded(page, home, tmp_path):
    """The address of a filled registry that answers to tokens, and a token."""
    with connect(shutil.copytree(home, tmp_path / "home")) as registry:
        secret = registry.create_token("ann.smith", role="writer")[1]
        with served(registry) as at:
            yield at, secret


def test_signing_in_and_out(page, guarded, said):
    at, secret = guarded
    page.goto(f"{at}/?benchmark=digits-bench&metric=mrr")
    assert page.get_by_role("heading", name="Sign in").is_visible()
    assert page.evaluate("document.activeElement.id") == "token"
    page.keyboard.type(secret)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{at}/?benchmark=digits-bench&metric=mrr")
    assert page.get_by_role("banner").get_by_text("ann.smith").is_visible()
    assert page.get_by_role("banner").get_by_text("writer").is_visible()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Lax", False)
    assert page.evaluate("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})") == "{}"
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{at}/login")
    page.goto(f"{at}/")
    assert page.url == f"{at}/login"
    assert [s for s in said if not s.endswith("/mark.svg")] == []  # a browser that moves on lets go of the icon


def test_a_wrong_token_is_told(page, guarded):
    at, _ = guarded
    page.goto(f"{at}/login")
    page.get_by_label("Token").fill("sst_wrong")
    page.get_by_role("button", name="Sign in").click()
    assert "unknown here" in page.get_by_role("alert").inner_text()
    assert page.get_by_label("Token").get_attribute("aria-invalid") == "true"
    assert page.get_by_label("Token").input_value() == ""


def test_a_form_of_another_site_is_refused(page, guarded, address):
    """The other site is the other server: its host is the same, so that browsers send the cookie along."""
    at, secret = guarded
    page.goto(f"{at}/login")
    page.get_by_label("Token").fill(secret)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{at}/")
    page.route("**/forged", lambda route: route.fulfill(body=FORGED.format(at=at), content_type="text/html"))
    page.goto(f"{address}/forged")
    page.get_by_role("button").click()
    page.wait_for_url(f"{at}/logout")
    assert "came from another site" in page.inner_text("main")
    page.goto(f"{at}/")
    assert page.get_by_role("button", name="Sign out").is_visible()


FORGED = """<!doctype html><form method="post" action="{at}/logout"><button>Win a prize</button></form>"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_signing_in_on_a_phone_with_contrast(page, guarded, scheme):
    at, secret = guarded
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{at}/login")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    assert page.get_by_role("alert").is_visible()
    assert page.evaluate(CONTRASTS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_label("Token").fill(secret)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{at}/")
    assert page.get_by_role("button", name="Sign out").is_visible()
    assert page.evaluate(CONTRASTS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_description_of_the_api_reads_on_a_phone(page, said, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/api/v1/")
    summary = page.locator("details.operation summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.operation[open] dl.fields").first.is_visible()
    for element in page.locator("details.operation").all():
        element.evaluate("e => e.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(CONTRASTS) == []
    assert said == []
