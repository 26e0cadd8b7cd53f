"""All pages in a real Chromium: the policy holds, the keyboard works, there is a dark side, signing in and out."""

from __future__ import annotations

import shutil

import pytest

from registry import connect
from tests.web.browsing import CONTRASTS, served

pytestmark = pytest.mark.browser


def test_loads_without_complaints_and_from_nowhere_else(page, said):
    hosts = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.goto("/")
    assert page.locator("h1").is_visible()
    assert page.evaluate("document.styleSheets[0].cssRules.length") > 50
    assert page.evaluate("document.querySelector('.brand img').naturalWidth") > 0
    assert said == []
    assert len(hosts) == 1


def test_hostile_names_stay_text(page, said):
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto("/models/products")
    assert page.get_by_text("<script>alert(1)</script>").first.is_visible()
    assert dialogs == []
    assert said == []


def test_the_first_tab_stop_skips_to_the_content(page):
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


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
    page.goto(f"{at}/changes?action=alias.moved")
    assert page.get_by_role("heading", name="Sign in").is_visible()
    assert page.evaluate("document.activeElement.id") == "token"
    page.keyboard.type(secret)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{at}/changes?action=alias.moved")
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
