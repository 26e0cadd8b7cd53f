"""A gallery and its search in a real Chromium: whole, drawn, by keyboard, and with a vector from a file."""

from __future__ import annotations

import io

import numpy as np
import pytest

from registry import connect
from registry.transforms import Prefix
from tests.web.browsing import check_whole, served
from tests.web.test_browser_compare import PNG_OF_ONE_PIXEL

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>\"'&"
PAIR = "?old=shoes/1&new=shoes/2"


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """Where a registry of two versions and a gallery with pictures is served."""
    rng = np.random.default_rng(4)
    labels = np.arange(60) % 6
    with connect(tmp_path_factory.mktemp("gallery") / "home") as registry:
        registry.register_version("shoes", dim=8)
        registry.register_version("shoes", dim=16)
        registry.register_version("shoes", dim=16)
        registry.add_transform(Prefix(from_dim=16, to_dim=8), source="shoes/2", target="shoes/1")
        new = rng.normal(size=(6, 16))[labels] + rng.normal(size=(60, 16)) * 0.7
        ids = [f"shoe {i} {HOSTILE if i % 7 == 0 else ''}" for i in range(60)]
        registry.create_gallery("shop", labels=["class"])
        registry.create_gallery("bare")
        for ref, x in (("shoes/1", new[:, :8] + rng.normal(size=(60, 8)) * 0.7), ("shoes/2", new)):
            registry.append("shop", version=ref, ids=ids, vectors=x, labels={"class": labels})
        registry.append("bare", version="shoes/1", ids=ids[:9], vectors=new[:9, :8])
        registry.add_previews("shop", ids[:50], pictures=[PNG_OF_ONE_PIXEL] * 50)
        registry.set_preview_url("bare", "http://127.0.0.1:9/{id}.png")
        registry.evaluate("shop")
        with served(registry) as address:
            yield f"{address}/galleries"


@pytest.mark.parametrize(
    "path", ["", "?q=nothing", "/shop", "/shop?value=3", f"/shop/search{PAIR}", "/shop/search?new=shoes/3"]
)
def test_pages_are_whole(page, at, said, path):
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(at + path)
    check_whole(page, said)
    assert dialogs == []


def test_lines_begin_and_end_at_the_rows_that_they_join(page, at):
    page.goto(f"{at}/shop/search{PAIR}")
    rows = [page.locator(f".list-of.{which} .hit") for which in ("old", "new")]
    box = page.locator(".tracks svg").bounding_box()
    for d in page.locator(".track").evaluate_all("all => all.map(t => t.getAttribute('d'))"):
        if "C" not in d:
            continue
        for side, height in enumerate((d.partition("C")[0].split()[-1], d.split()[-1])):
            row = rows[side].nth((int(height) - 5) // 10).bounding_box()
            drawn = box["y"] + int(height) / 10 * box["height"] / rows[side].count()
            assert abs(row["y"] + row["height"] / 2 - drawn) < 3


def test_a_picture_that_is_not_there_leaves_the_id(page, at):
    page.goto(f"{at}/bare")
    assert page.get_by_text("shoe 1", exact=False).first.is_visible()
    assert page.locator("img.look").first.get_attribute("src").startswith("http://127.0.0.1:9/shoe%200%20")


def test_on_a_phone_the_lists_stand_one_below_the_other(page, at):
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{at}/shop/search{PAIR}")
    old, new = (page.locator(f".list-of.{which}").bounding_box() for which in ("old", "new"))
    assert new["y"] > old["y"] + old["height"] and not page.locator(".tracks").is_visible()
    assert page.locator(".list-of.new .moved").first.is_visible()


def test_a_result_is_searched_with_by_keyboard(page, at):
    page.goto(f"{at}/shop/search{PAIR}")
    link = page.locator(".list-of.new a.id").first
    id = link.inner_text()
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**id=**")
    assert page.locator(".asked .id").inner_text() == id


def test_a_vector_is_brought_as_a_file(page, at):
    held = io.BytesIO()
    np.save(held, np.ones(8, dtype="float32"))
    page.goto(f"{at}/shop/search{PAIR}")
    page.get_by_text("Vectors of your own").click()
    page.get_by_label("File").first.set_input_files({"name": "q.npy", "mimeType": "", "buffer": held.getvalue()})
    page.get_by_role("button", name="Search with these").click()
    page.get_by_text("the vectors that you gave").wait_for()
    assert page.locator(".list-of.old .hit").count() == 10
    assert page.get_by_text("There is no query as shoes/2 embeds it").is_visible()
