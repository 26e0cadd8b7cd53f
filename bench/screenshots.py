"""Pictures of every page for the manual, taken in Chromium from the demo's registry.

    make demo SERVE=0
    python -m bench.screenshots            # writes docs/pictures/pages/*.png

The demo is seeded, so a later run shows the same numbers but for what a processor rounds otherwise, times and ids.
"""

from __future__ import annotations

import argparse
import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from werkzeug.serving import make_server

from bench.pages import demo
from web import create_app

CHROMIUM = "/usr/bin/chromium"
ARGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
WIDE, PHONE, TALLEST, ANSWER, COLOURS = 1280, 360, 2600, 830, 192
SHOWN = ("home", "models", "model", "transform", "matrix", "compare", "galleries", "gallery", "search", "runs", "run", "changes", "tokens", "settings")  # fmt: skip
DARK = ("home", "compare", "matrix")
SMALL = ("home", "matrix", "search")


@contextmanager
def served(home: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where the demo is served, and the addresses of its pages."""
    registry, addresses = demo(home)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", 0, create_app(registry), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}", addresses
    server.shutdown()


def take(page: Any, path: Path, *, element: str | None = None, tallest: int = TALLEST) -> None:
    """One picture: of the page down to a height that a reader bears, or of an element; few colours, so that it stays small."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(600)
    if element:
        found = page.locator(element).first
        found.scroll_into_view_if_needed()
        raw = found.screenshot()
    else:
        height = min(tallest, page.evaluate("document.documentElement.scrollHeight"))
        width = page.viewport_size["width"]
        raw = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
    Image.open(io.BytesIO(raw)).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def lasso(page: Any) -> None:
    """Draw a ring around the middle of the left map."""
    page.get_by_role("radio", name="draws a lasso").check()
    field = page.locator('.map[data-side="old"] canvas.over')
    field.scroll_into_view_if_needed()
    box = field.bounding_box()
    x, y, w, h = box["x"], box["y"], box["width"], box["height"]
    ring = [(0.2, 0.25), (0.5, 0.15), (0.7, 0.35), (0.6, 0.6), (0.3, 0.6), (0.2, 0.25)]
    page.mouse.move(x + w * ring[0][0], y + h * ring[0][1])
    page.mouse.down()
    for left, top in ring[1:]:
        page.mouse.move(x + w * left, y + h * top, steps=8)
    page.mouse.up()


def main() -> None:
    """Take them all."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="the demo's home")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/pages"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with served(given.demo) as (at, addresses), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        looks = (("", WIDE, "light", SHOWN), ("-dark", WIDE, "dark", DARK), ("-phone", PHONE, "light", SMALL))
        for ending, width, scheme, names in looks:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, base_url=at)
            for name in names:
                page.goto(addresses[name])
                take(page, given.out / f"{name}{ending}.png")
            page.close()
        page = browser.new_page(viewport={"width": WIDE, "height": 1100}, base_url=at)
        page.goto(addresses["compare"])
        take(page, given.out / "answer.png", tallest=ANSWER)
        lasso(page)
        take(page, given.out / "maps.png", element="#maps")
        browser.close()


if __name__ == "__main__":
    main()
