"""Hostile input, at length: `python -m bench.hostile`, about four minutes.

What `tests/web/test_description.py`, `tests/web/test_hostile.py` and `tests/registry/test_corruption.py` send a little of.
Every request must be answered as the description says, hostile ones with a 4xx; what is stored must not change; no small
body may take much memory; and a home with a flipped bit must give a clear error or the right data. The last is more
than Lance can promise, which keeps no checksum of its data pages: the last table says how often nobody noticed.
"""

from __future__ import annotations

import logging
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flask.testing import FlaskClient

from bench.corruption import KINDS, SAME, WRONG, flip, seen
from bench.described import explore
from bench.hostility import (
    ITEMS,
    JSON_BODIES,
    JSON_ROUTES,
    NAMES,
    ROUTES,
    cuts,
    evil_streams,
    fill,
    good,
    misnumbered,
    mutated,
    named,
    state_of,
    stream_of,
)
from bench.measuring import peak_bytes
from bench.report import header, table
from registry import connect
from registry.wire import ARROW
from web import create_app

SEED = 0
EXAMPLES = 20  # of each operation, twice: what it takes, and what it does not
MUTATIONS = {"append": 200}
MOST_MUTATIONS = 1500
FLIPS = 25
LISTS = ("models", "versions", "galleries", "transforms", "evaluations", "anchor-sets", "changes")


def main() -> None:
    """All of it, as tables."""
    logging.disable(logging.CRITICAL)  # every refused request would be logged
    print(header(seed=SEED))
    with tempfile.TemporaryDirectory() as folder:
        described(Path(folder) / "described")
        requests(Path(folder) / "requests")
        files(Path(folder) / "files")


def described(home: Path) -> None:
    """Requests that schemathesis makes of the description."""
    with connect(home) as registry:
        fill(registry)
        found = explore(create_app(registry), EXAMPLES)
    print(f"schemathesis: {found.total()} requests, none answered other than described\n")
    print(table(["status", "answers"], [[str(status), str(count)] for status, count in sorted(found.items())]), "\n")


def requests(home: Path) -> None:
    """Arrow streams, JSON and names that no client would send."""
    lines = []
    with connect(home) as registry:
        fill(registry)
        client = create_app(registry).test_client()
        for route in ROUTES:
            lines += [line(f"{route}: {what}", sent) for what, sent in _streams(registry, client, route)]
        before = state_of(registry)
        lines.append(line("JSON bodies that are none", _json(client)))
        lines.append(line("names in addresses", _addresses(client)))
        assert state_of(registry) == before, "something was stored"
        lines.append(line("names in bodies", _bodies(client)))
        assert all(client.get(f"/api/v1/{kind}").status_code == 200 for kind in LISTS)
    print(table(["what was sent", "requests", "4xx", "2xx", "5xx", "most memory"], lines), "\n")


class Sends:
    """Answers counted, and the most memory that one request took."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.most = 0


def line(what: str, sent: Sends) -> list[str]:
    """A row of the table."""
    by_kind = Counter(status // 100 for status in sent.statuses.elements())
    assert not by_kind[5], f"{what}: {sent.statuses}"
    kinds = [str(by_kind[4]), str(by_kind[2] + by_kind[3]), str(by_kind[5])]
    return [what, str(sent.statuses.total()), *kinds, f"{sent.most >> 20} MB" if sent.most else "-"]


def _streams(registry: Any, client: FlaskClient, route: str) -> Iterator[tuple[str, Sends]]:
    sound, rng = stream_of(good(route)), random.Random(SEED)  # noqa: S311 - repeatable, not secret
    count = MUTATIONS.get(route, MOST_MUTATIONS)
    before = state_of(registry)
    yield "evil streams", _sent(client, route, (body for _, body in evil_streams(route)), measured=True)
    yield "cut anywhere", _sent(client, route, cuts(sound))
    assert state_of(registry) == before, f"{route} stored something"
    if route == "delete":  # what is left of a stream may name an item
        return
    yield "false numbers", _sent(client, route, _each(registry, (body for _, body in misnumbered(sound))))
    yield "flipped bytes", _sent(client, route, _each(registry, (mutated(sound, rng) for _ in range(count))))


def _each(registry: Any, bodies: Iterable[bytes]) -> Iterator[bytes]:
    """The bodies; what one of them stored goes before the next: an append with another number in a vector is sound."""
    for body in bodies:
        yield body
        if registry.gallery("catalog").items > ITEMS:
            ids = [id for block in registry.scan("catalog", into="products/1") for id in block.ids]
            registry.delete("catalog", [id for id in ids if not id.startswith("item-")])


def _sent(client: FlaskClient, route: str, bodies: Iterable[bytes], *, measured: bool = False) -> Sends:
    sent = Sends()
    for body in bodies:
        answers: list[int] = []
        call = _call(client, route, body, answers)
        if measured:
            sent.most = max(sent.most, peak_bytes(call))
        else:
            call()
        sent.statuses.update(answers)
    return sent


def _call(client: FlaskClient, route: str, body: bytes, answers: list[int]) -> Callable[[], None]:
    return lambda: answers.append(client.post(f"/api/v1{ROUTES[route]}", data=body, content_type=ARROW).status_code)


def _json(client: FlaskClient) -> Sends:
    sent = Sends()
    for method, address in JSON_ROUTES:
        for _, body, kind in JSON_BODIES:
            answer = client.open(f"/api/v1{address}", method=method, data=body, content_type=kind or None)
            sent.statuses[answer.status_code] += 1
    return sent


def _bodies(client: FlaskClient) -> Sends:
    sent = Sends()
    for (method, address), body in JSON_ROUTES.items():
        for name in NAMES:
            answer = client.open(f"/api/v1{address}", method=method, json=named(body, name))
            sent.statuses[answer.status_code] += 1
    return sent


def _addresses(client: FlaskClient) -> Sends:
    sent = Sends()
    documented = client.get("/api/v1/openapi.json").json["paths"]
    for path, item in documented.items():
        for operation in (item[method] for method in item if method == "get"):
            for name in NAMES:
                text = quote(name.encode("utf-8", "surrogatepass"), safe="")
                places = {p["name"]: p["in"] for p in operation.get("parameters", ())}
                address = path.format(**dict.fromkeys((p for p in places if places[p] == "path"), text))
                query = "&".join(f"{p}={text}" for p in places if places[p] == "query")
                sent.statuses[client.get(f"{address}?{query}").status_code] += 1
    return sent


def files(home: Path) -> None:
    """Flipped bits in every file of a home."""
    with connect(home) as registry:
        fill(registry)
    rows = []
    for kind, pattern in KINDS.items():
        found: Counter[str] = Counter()
        for file in sorted(file for file in home.glob(pattern) if file.is_file()):
            found += flip(file, FLIPS, lambda: seen(home), SEED)
        noticed = {name: count for name, count in found.items() if name not in (SAME, WRONG)}
        said = ", ".join(f"{name} {count}" for name, count in sorted(noticed.items()))
        rows.append([kind, str(found.total()), f"{sum(noticed.values())}", str(found[SAME]), str(found[WRONG]), said])
    print(table(["flipped in", "flips", "noticed", SAME, WRONG, "told as"], rows))


if __name__ == "__main__":
    main()
