"""What tests in a real Chromium share: where it is, a server for it, and what to hold a page to."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

import pytest
from werkzeug.serving import make_server

from web import create_app

CHROMIUM = "/usr/bin/chromium"
ARGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def require(condition: bool, reason: str) -> None:
    """Skip where the browser is missing; under CI that is a failure, not an excuse."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def served(registry):
    """The address of a server of this registry, in a thread."""
    server = make_server("127.0.0.1", 0, create_app(registry), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def violations(page, within: str | None = None, *, colours_alone: bool = False) -> list[str]:
    """What axe-core holds for a serious or critical barrier on this page, or in a part of it: the rule, and the first place."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"runOnly": ["color-contrast", "link-in-text-block"]} if colours_alone else {}
    options["resultTypes"] = ["violations"]  # what passes is a hundred times as much
    found = Axe().run(page, context=within, options=options).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {rule['nodes'][0]['html'][:120]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


def check_whole(page, said, within: str | None = None) -> None:
    """Hold a page that is open to all that any page must keep: in light and dark, and on a phone."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(50)
        assert violations(page, within, colours_alone=scheme == "dark") == [], scheme  # nothing else differs
    size = page.viewport_size
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_timeout(50)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size(size)
    page.emulate_media(color_scheme="light")
    assert said == []


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
