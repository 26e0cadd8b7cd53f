"""The two maps of the comparison in a real Chromium: how soon they are drawn, and how soon they answer.

    python -m bench.maps [--items 50000]

A study of a small benchmark is made, and its items replaced by 50,000 of 24 classes on made-up maps, of which 2,000 were
queries; `samespace serve` serves it. Every visit is of a browser that has seen nothing, on the same cores as the server;
drawn is when both maps are, counted from the start of the navigation. A move, a pan or a lasso is answered when the frame
that shows it is painted, counted from the time that the browser gave the pointer's event.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from sqlalchemy import select

from bench.measuring import load
from bench.report import header, table
from bench.served import served
from registry.embedded import Registry
from registry.study import items as kept_items
from registry.tables import StudyRow
from registry.transforms import Prefix

SEED, CLASSES, QUERIES, DIM = 0, 24, 2000, 16
VISITS, MOVES, DRAGS, LASSOS = 10, 300, 100, 20
OLD, NEW, BENCHMARK = "shop/1", "shop/2", "bench"
CHROMIUM = "/usr/bin/chromium"
ARGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
DRAWN = """() => new Promise((done, fail) => {
  setTimeout(() => fail(new Error("the maps were not drawn")), 30000);
  const look = () => {
    const [mark] = performance.getEntriesByName("maps:drawn");
    if (mark) done(mark.startTime); else setTimeout(look, 10);
  };
  look();
})"""
WATCH = """() => {
  const root = document.querySelector(".maps");
  window.answers = [];
  let asked = null;
  const ask = (event) => { asked ??= event.timeStamp; };
  for (const name of ["pointermove", "pointerup"]) addEventListener(name, ask, true);
  root.addEventListener("maps:drawn", () => {
    if (asked === null) return;
    const since = asked;
    asked = null;
    const painted = new MessageChannel();
    painted.port1.onmessage = () => window.answers.push(performance.now() - since);
    painted.port2.postMessage(null);
  });
}"""
BYTES = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .reduce((sum, entry) => sum + entry.transferSize, 0)"""
READ = """async () => {
  const root = document.querySelector(".maps");
  const at = [...document.scripts].find((script) => script.src.endsWith("/maps.js")).src;
  const { read } = await import(at.replace("maps.js", "maps-data.js"));
  const bytes = await (await fetch(root.dataset.points)).arrayBuffer();
  const times = [];
  for (let i = 0; i < 10; i += 1) {
    const began = performance.now();
    read(bytes);
    times.push(performance.now() - began);
  }
  return { bytes: bytes.byteLength, times };
}"""


def made_up(n: int, rng: np.random.Generator) -> pa.Table:
    """Items of a study, as `Registry.study_items` gives them."""
    classes = np.minimum(rng.exponential(CLASSES / 5, n).astype(int), CLASSES - 1)
    moved = rng.random(n) < 0.15
    centres = rng.uniform(-0.8, 0.8, (CLASSES, 2))
    old = centres[np.where(moved, rng.integers(CLASSES, size=n), classes)] + rng.normal(0, 0.06, (n, 2))
    new = (centres + rng.normal(0, 0.1, (CLASSES, 2)))[classes] + rng.normal(0, 0.05, (n, 2))
    widest = max(np.abs(old).max(), np.abs(new).max())
    columns: dict[str, Any] = {
        "id": [f"item-{i:06d}" for i in range(n)],
        "label.class": [f"class {c}" for c in classes],
    }
    for side, places in (("old", old / widest), ("new", new / widest)):
        columns |= {f"{axis}_{side}": places[:, i].astype(np.float32) for i, axis in enumerate("xy")}
    columns["overlap"] = (rng.binomial(10, np.where(moved, 0.15, 0.65)) / 10).astype(np.float32)
    asked = np.sort(rng.choice(n, min(n, QUERIES), replace=False))
    precision = {stage: rng.beta(5 + step, 3, len(asked)) for step, stage in enumerate(kept_items.STAGES)}
    for name, of in (("ap", lambda x: x), ("hit", lambda x: x > 0.5)):
        for stage, x in precision.items():
            values = np.full(n, np.nan, np.float32)
            values[asked] = of(x)
            columns[f"{name}_{stage}"] = values
    return pa.table(columns)


def prepare(home: Path, n: int) -> tuple[str, str]:
    """A registry with a study of `n` items; the addresses of its page and of its points."""
    rng = np.random.default_rng(SEED)
    labels = np.arange(400) % 8
    x = rng.normal(size=(8, DIM))[labels] + rng.normal(size=(400, DIM))
    with Registry.open(home) as registry:
        registry.create_gallery(BENCHMARK, labels=["class"])
        for _ in range(2):
            ref = registry.register_version("shop", dim=DIM).ref
            y = x + rng.normal(0, 0.5, x.shape)
            ids = [f"item-{i:06d}" for i in range(400)]
            registry.append(BENCHMARK, version=ref, ids=ids, vectors=y, labels={"class": labels})
        registry.add_transform(Prefix(from_dim=DIM, to_dim=DIM), source=NEW, target=OLD)
        registry.evaluate(BENCHMARK)
        id = registry.study(OLD, NEW, benchmark=BENCHMARK).id
        data = kept_items.dumps(made_up(n, rng))
        registry._home.keep_study(id, data)
        with registry._home.database.writing() as session:
            row = session.scalar(select(StudyRow))
            assert row is not None
            row.digest, row.findings = kept_items.digest_of(data), {**row.findings, "items": n}
    return f"/compare?old={OLD}&new={NEW}&benchmark={BENCHMARK}", f"/studies/{id}/points"


@contextmanager
def visiting(browser: Browser, address: str) -> Iterator[Page]:
    """A page of a browser that has seen nothing yet."""
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        answer = page.goto(address, wait_until="commit")
        assert answer is not None, address
        assert answer.ok, f"{address}: {answer.status}"
        yield page


def asked_for(address: str) -> tuple[list[float], int]:
    """Milliseconds of requests by gzip, the first of which finds nothing kept, and bytes of the answer."""
    times, size = [], 0
    for _ in range(20):
        began = time.perf_counter()
        request = urllib.request.Request(address, headers={"Accept-Encoding": "gzip"})  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            size = len(answer.read())
        times.append(1000 * (time.perf_counter() - began))
    return times, size


def answers(page: Page) -> list[float]:
    """What was measured since the last time, in milliseconds."""
    page.wait_for_timeout(200)
    found: list[float] = page.evaluate("() => window.answers.splice(0)")
    return found


def hover(page: Page, over: Locator, rng: np.random.Generator) -> list[float]:
    """Real moves of the pointer in small and large steps."""
    box = over.bounding_box()
    assert box is not None
    x, y = 0.5, 0.5
    for step in rng.normal(0, 0.08, (MOVES, 2)):
        x, y = (min(0.95, max(0.05, value)) for value in (x + step[0], y + step[1]))
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(10)
    return answers(page)


def circle(page: Page, over: Locator, steps: int, radius: float) -> None:
    """Drag around the middle of a map."""
    box = over.bounding_box()
    assert box is not None
    for i in range(steps + 1):
        angle = 2 * math.pi * i / steps
        reach = radius * box["width"]
        page.mouse.move(
            box["x"] + box["width"] / 2 + reach * math.cos(angle),
            box["y"] + box["height"] / 2 + reach * math.sin(angle),
        )
        if not i:
            page.mouse.down()


def lassos(page: Page, over: Locator) -> list[float]:
    """From letting go to both maps, the numbers and the list of what is chosen."""
    page.check("[name=drag][value=lasso]")
    found = []
    for i in range(LASSOS):
        circle(page, over, 30, 0.08 + 0.015 * i)
        answers(page)
        page.mouse.up()
        found += answers(page)[:1]
        page.keyboard.press("Escape")
        answers(page)
    page.check("[name=drag][value=move]")
    return found


def pans(page: Page, over: Locator) -> list[float]:
    """Drags of a map at twice its size, both maps moving."""
    page.check("[name=together]")
    over.hover()
    page.mouse.click(*_middle(over))
    page.mouse.wheel(0, -280)
    answers(page)
    circle(page, over, DRAGS, 0.2)
    found = answers(page)
    page.mouse.up()
    return found


def _middle(over: Locator) -> tuple[float, float]:
    box = over.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def row(name: str, values: Sequence[float], bar: str) -> list[str]:
    """A line of the table: how many, median, 95th percentile and the worst, in ms."""
    p50, p95, worst = np.percentile(values, [50, 95, 100])
    return [name, str(len(values)), f"{p50:.0f}", f"{p95:.0f}", f"{worst:.0f}", bar]


def measure(address: str, page_path: str, points_path: str) -> tuple[list[list[str]], list[str]]:
    """The lines of the table, and what is said about bytes."""
    rng = np.random.default_rng(SEED)
    times, packed = asked_for(address + points_path)
    rows = [row("server: items, first request", times[:1], "150"), row("server: items, again", times[1:], "150")]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        drawn, loaded = [], 0
        for _ in range(VISITS):
            with visiting(browser, address + page_path) as page:
                drawn.append(page.evaluate(DRAWN))
                loaded = page.evaluate(BYTES)
        rows.append(row("navigation to both maps drawn", drawn, "2000"))
        with visiting(browser, address + page_path) as page:
            page.evaluate(DRAWN)
            read = page.evaluate(READ)
            rows.append(row("items read in the browser", read["times"], "100"))
            over = page.locator(".map .over").first
            over.scroll_into_view_if_needed()
            page.evaluate(WATCH)
            rows.append(row("hover: move to painted frame", hover(page, over, rng), "50"))
            rows.append(row("pan of both maps: move to painted frame", pans(page, over), ""))
            page.keyboard.press("0")
            rows.append(row("lasso: let go to painted frame and list", lassos(page, over), ""))
        browser.close()
    return rows, [
        f"first visit {loaded / 1024:,.0f} KiB by the wire",
        f"items {packed / 1024:,.0f} KiB by gzip, {read['bytes'] / 1024:,.0f} KiB as they are",
    ]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=50_000)
    chosen = parser.parse_args()
    print(header(seed=SEED), flush=True)
    print(f"{chosen.items} items; load at the start {load()}\n", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        page_path, points_path = prepare(home, chosen.items)
        with served(home) as (address, _):
            rows, said = measure(address, page_path, points_path)
    print(table(["what", "times", "median, ms", "p95, ms", "worst, ms", "bar, ms"], rows))
    print("\n" + "; ".join(said))


if __name__ == "__main__":
    main()
