"""Home and Changes in a real Chromium: from the answer to the closer look, copying a command, filtering, all whole."""

from __future__ import annotations

import re

import numpy as np
import pytest

from registry import connect
from tests.web.browsing import check_whole, served

pytestmark = pytest.mark.browser

LONG = "a-model-with-a-rather-long-name-that-somebody-chose-for-reasons"


@pytest.fixture
def urgent(tmp_path):
    """The address of a registry of which a gallery cannot be read, with names as long as they come."""
    x = np.eye(4, 8)
    with connect(tmp_path / "home") as registry:
        registry.register_version(LONG, dim=8)
        registry.register_version(LONG, dim=8, parent=f"{LONG}/1", tags={"note": "b"})
        registry.create_gallery(f"{LONG}-catalog")
        registry.append(f"{LONG}-catalog", version=f"{LONG}/1", ids=list("abcd"), vectors=x)
        with served(registry) as at:
            yield at


def test_from_the_answer_to_the_closer_look(page, said):
    page.goto("/")
    card = page.locator(".card").filter(has=page.locator("h3 a[href*='old=products/1&new=products/2']"))
    assert card.locator(".advice").inner_text() == "✓ upgrade without backfill"
    assert card.locator("circle").count() == 3
    card.get_by_role("link", name="Look closer").click()
    page.wait_for_url(re.compile(r"/compare\?old=products/1&new=products/2&benchmark=digits-bench&label=class$"))
    assert page.locator("h1").is_visible()
    assert said == []


def test_home_is_whole(page, said):
    page.goto("/")
    check_whole(page, said)


def test_a_decision_and_its_command_copied(page, said, urgent):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=urgent)
    page.goto(urgent)
    assert page.get_by_text("cannot be read").first.is_visible()
    button = page.get_by_role("button", name=re.compile("^Copy: samespace fit orthogonal"))
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("copied", exact=True).wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"samespace fit orthogonal --source {LONG}/2 --target {LONG}/1 --gallery GALLERY"
    check_whole(page, said)


def test_the_way_in_is_whole(page, said, tmp_path):
    with connect(tmp_path / "home") as registry, served(registry) as at:
        page.goto(at)
        assert page.get_by_role("heading", name="Nothing is registered yet").is_visible()
        check_whole(page, said)


def test_changes_are_filtered_and_the_address_says_so(page, said):
    page.goto("/changes")
    everything = page.locator("tbody tr").count()
    page.get_by_role("combobox", name="Change").select_option("gallery.appended")
    page.get_by_label("Of", exact=True).fill("digits*")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"action=gallery.appended&subject=digits"))
    assert 0 < page.locator("tbody tr").count() < everything
    assert set(page.locator("tbody tr td:nth-child(2)").all_inner_texts()) == {"gallery.appended"}
    page.reload()
    assert page.get_by_label("Of", exact=True).input_value() == "digits*"
    page.get_by_role("link", name="All changes").click()
    page.wait_for_url(re.compile(r"/changes$"))
    check_whole(page, said)
