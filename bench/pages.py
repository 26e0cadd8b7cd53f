"""Pages: server time, SQL statements and weight of each, on the demo's registry and on a synthetic one of 1,000 models.

    python -m bench.pages                    # both; the demo's is ./demo, made by `make demo SERVE=0`
    python -m bench.pages --synthetic-only

Server time is that of the whole WSGI call, in this process, one request after another. The synthetic registry holds 1,000
models with 20,000 versions, 200,000 evaluations and 500 galleries, inserted in bulk, and beside them a real benchmark of
2,000 items with previews, a study, and 60 runs; statements are counted on it and on one of a tenth of the size. Weight is of
a first visit: the page, and all files that it loads, uncompressed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urljoin

import numpy as np
from flask.testing import FlaskClient

from bench import facts
from bench.measuring import load
from bench.report import header, table
from registry.embedded import Registry
from registry.tracking import default_uri
from registry.transforms import Prefix
from web import create_app
from web.serving import settle

WHOLE = replace(facts.WHOLE, galleries=500)
SMALL = facts.SMALL
SHOP, ITEMS, CLASSES, DIM = "shop", 2000, 20, 128
OLD, NEW, NEXT = "shop/1", "shop/2", "shop/3"
RUNS, EPOCHS = 60, 30
BACKFILLS = 20
SEED = 0
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000 1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)

_LOADS = re.compile(r'(?:<link rel="(?:stylesheet|icon)" href|<script type="module" src|<img src)="(/[^"]+)"')
_IMPORTS = re.compile(r'(?:from|import) "(\.[^"]+)"')


@dataclass(frozen=True, slots=True)
class Visit:
    """What a page cost: milliseconds of each request, statements of one, bytes of the first visit."""

    ms: Sequence[float]
    statements: int
    weight: int


def paths(
    *,
    old: str,
    new: str,
    benchmark: str,
    gallery: str,
    item: str,
    run: str,
    transform: str,
    backfill: str | None = None,
) -> dict[str, str]:
    """Name -> address of every page in its usual state; that of a backfill where there is one."""
    model, pair = quote(old.partition("/")[0]), f"old={quote(old)}&new={quote(new)}"
    return {
        "home": "/",
        "models": "/models",
        "models, filtered": "/models?q=1",
        "model": f"/models/{model}",
        "transform": f"/transforms/{quote(transform)}",
        "matrix": f"/matrix?benchmark={quote(benchmark)}",
        "matrix as CSV": f"/matrix.csv?benchmark={quote(benchmark)}",
        "compare, choosing": "/compare",
        "compare": f"/compare?{pair}&benchmark={quote(benchmark)}",
        "galleries": "/galleries",
        "gallery": f"/galleries/{quote(gallery)}",
        "search": f"/galleries/{quote(gallery)}/search?{pair}&from={quote(benchmark)}&id={quote(item)}",
        "backfills": "/backfills",
        **({"backfill": f"/backfills/{backfill}"} if backfill else {}),
        "runs": "/runs",
        "run": f"/runs/{quote(run)}",
        "changes": "/changes",
        "changes, filtered": "/changes?action=benchmark.evaluated",
        "tokens": "/tokens",
        "settings": "/settings",
    }


def visit(registry: Registry, client: FlaskClient, path: str, repeats: int, *, change: bool = False) -> Visit:
    """Ask for a page several times, after twice that are not counted; with `change`, each time after a change of the facts."""
    for _ in range(2):
        answer = client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[-2000:]}"
    with facts.statements(registry) as asked:
        client.get(path)
    ms = []
    for number in range(repeats):
        if change:
            registry.set_tag(OLD, "bench", str(number))
        began = time.perf_counter()
        client.get(path).get_data()
        ms.append(1000 * (time.perf_counter() - began))
    return Visit(ms, len(asked), weight(client, path))


def weight(client: FlaskClient, path: str) -> int:
    """Bytes of a page and of all that it loads, each file once."""
    page = client.get(path)
    total, waiting, seen = len(page.data), _LOADS.findall(page.text) if page.mimetype == "text/html" else [], set()
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        found = client.get(address)
        assert found.status_code == 200, address
        total += len(found.data)
        if address.endswith(".js"):
            waiting += [urljoin(address, name) for name in _IMPORTS.findall(found.text)]
    return total


def synthetic(home: Path, size: facts.Size) -> tuple[Registry, dict[str, str]]:
    """A registry of this size in `home`, and the addresses of its pages."""
    registry = Registry.open(home)
    with registry._home.database.engine.begin() as connection:
        facts.fill(connection, size)
    rng = np.random.default_rng(SEED)
    labels = rng.integers(CLASSES, size=ITEMS)
    new = rng.normal(size=(CLASSES, DIM))[labels] + 1.5 * rng.normal(size=(ITEMS, DIM))
    old = new + rng.normal(size=new.shape)
    registry.register_version("shop", dim=DIM)
    registry.register_version("shop", dim=DIM, parent=OLD, method="oca")
    registry.create_gallery(SHOP, id_type="int", labels=["class"])
    for version, x in ((OLD, old), (NEW, new)):
        registry.append(SHOP, version=version, ids=np.arange(ITEMS), vectors=x, labels={"class": labels})
    registry.add_previews(SHOP, np.arange(ITEMS), pictures=[PIXEL] * ITEMS)
    info = registry.add_transform(Prefix(from_dim=DIM, to_dim=DIM), source=NEW, target=OLD)
    registry.evaluate(SHOP)
    registry.study(OLD, NEW, benchmark=SHOP)
    registry.register_version("shop", dim=DIM)
    for _ in range(BACKFILLS):
        registry.roll_back_backfill(registry.plan_backfill(SHOP, into=NEXT, encoder="shop:encode").id)
    planned = registry.plan_backfill(SHOP, into=NEXT, encoder="shop:encode")
    return registry, paths(
        old=OLD,
        new=NEW,
        benchmark=SHOP,
        gallery=SHOP,
        item="7",
        run=_runs(home),
        transform=info.id,
        backfill=planned.id,
    )


def _runs(home: Path) -> str:
    """Runs in the home's store; the id of the last one."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(default_uri(home))
    experiment = client.create_experiment("bench")
    for n in range(RUNS):
        run = client.create_run(experiment, run_name=f"run {n}").info.run_id
        metrics = [Metric(name, 1 / (1 + e), e, e) for name in ("loss", "class_loss", "lr") for e in range(EPOCHS)]
        client.log_batch(run, metrics=metrics, params=[Param("method", "oca")])
        client.set_terminated(run)
    return run


def demo(home: Path) -> tuple[Registry, dict[str, str]]:
    """The demo's registry, and the addresses of its pages."""
    registry = Registry.open(home)
    transform = next(t.id for t in registry.transforms() if t.kind == "affine")
    run = next(v.run_id for v in registry.versions("digits") if v.ref == "digits/3")
    (block,) = (next(registry.scan("digits-bench", into="digits/1", rows=1)),)
    return registry, paths(
        old="digits/1", new="digits/3", benchmark="digits-bench", gallery="digits", item=str(block.ids[0]), run=str(run),
        transform=transform,
    )  # fmt: skip


def measure(registry: Registry, addresses: dict[str, str], repeats: int) -> dict[str, Visit]:
    """Visit every page."""
    client = create_app(registry).test_client()
    settle()  # as the server does
    return {name: visit(registry, client, path, repeats) for name, path in addresses.items()}


def show(title: str, found: dict[str, Visit], smaller: dict[str, Visit] | None) -> None:
    """Print a table of the pages."""
    rows = []
    for name, v in found.items():
        p50, p95 = np.percentile(v.ms, [50, 95])
        said = str(v.statements) if smaller is None else f"{v.statements} and {smaller[name].statements}"
        rows.append([name, f"{p50:.0f}", f"{p95:.0f}", said, f"{v.weight / 1024:,.0f}"])
    print(f"\n{title}\n")
    print(
        table(
            ["page", "p50, ms", "p95, ms", "statements" + (" (whole, a tenth)" if smaller else ""), "first visit, KiB"],
            rows,
        )
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="the demo's home")
    parser.add_argument("--synthetic-only", action="store_true")
    parser.add_argument("--repeats", type=int, default=40)
    given = parser.parse_args()
    print(header(seed=SEED), load())
    if not given.synthetic_only:
        if not given.demo.is_dir():
            raise SystemExit(
                f"skipped: there is no demo at {given.demo}: make it with 'make demo SERVE=0', or name its home with --demo"
            )
        show("The demo", measure(*demo(given.demo), given.repeats), None)
    scratch = Path(tempfile.mkdtemp(prefix="samespace-pages-"))
    try:
        smaller = measure(*synthetic(scratch / "small", SMALL), 1)
        registry, addresses = synthetic(scratch / "whole", WHOLE)
        whole = measure(registry, addresses, given.repeats)
        changed = visit(registry, create_app(registry).test_client(), "/", given.repeats, change=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    show("1,000 models, 20,000 versions, 200,000 evaluations, 500 galleries", whole, smaller)
    p50, p95 = np.percentile(changed.ms, [50, 95])
    print(f"\nHome after a change of the facts: p50 {p50:.0f} ms, p95 {p95:.0f} ms")


if __name__ == "__main__":
    main()
