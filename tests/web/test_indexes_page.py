"""The indexes of a gallery on its page, and in the API: what is shown, and who may build."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from registry import connect
from tests.web.conftest import csrf_of, sign_in
from web import create_app


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A registry with an index over one of two segments, whose last rows came later, and a client for each role."""
    with connect(tmp_path_factory.mktemp("shelf") / "home") as registry:
        rng = np.random.default_rng(0)
        for _ in range(2):
            registry.register_version("shoes", dim=8)
        registry.create_gallery("shelf", id_type="int")
        for number in (1, 2):
            registry.append("shelf", version=f"shoes/{number}", ids=range(200), vectors=rng.standard_normal((200, 8)))
        registry.build_index("shelf", "shoes/1", kind="ivf", compression="int8")
        registry.append("shelf", version="shoes/1", ids=range(200, 250), vectors=rng.standard_normal((50, 8)))
        secrets = {role: registry.create_token(role, role=role)[1] for role in ("reader", "writer")}
        secrets["other"] = registry.create_token("other", role="writer", models=["boots"])[1]
        app = create_app(registry)
        yield registry, lambda who: sign_in(app.test_client(), secrets[who])


def shown(page):
    """What the table of indexes says, row by row."""
    table = page.text[page.text.index('class="list indexes"') :].partition("</table>")[0]
    return [
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip()
        for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    ]


def test_the_page_shows_kind_loss_size_and_what_is_covered(shelf):
    registry, client = shelf
    (info,) = [i for i in registry.indexes() if i.version == "shoes/1"]
    _, first, second = shown(client("reader").get("/galleries/shelf"))
    assert f"shoes/1 ivf + int8 {100 * info.recall:.1f} {100 * (1 - info.recall):.1f}" in first
    assert "200 of 250" in first and "Build" not in first
    assert "shoes/2 none: every search looks at all 200 vectors" in second


def test_a_writer_builds_from_the_page_and_is_told(shelf):
    registry, client = shelf
    writer = client("writer")
    page = writer.get("/galleries/shelf")
    assert "Build an index" in shown(page)[2] and "Build again" in shown(page)[1]
    sent = {"version": "shoes/2", "csrf_token": csrf_of(page)}
    answer = writer.post("/galleries/shelf/index", data=sent, headers={"Accept": "application/x-ndjson"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[0] == {"progress": [0, 200]} and lines[-1] == {"done": "/galleries/shelf#indexes"}
    assert {i.version for i in registry.indexes("shelf")} == {"shoes/1", "shoes/2"}
    assert "200 of 200" in shown(writer.get("/galleries/shelf"))[2]
    assert "✗ below" not in writer.get("/galleries/shelf").text
    registry.build_index("shelf", "shoes/2", kind="ivfpq")
    assert "✗ below 95.0" in shown(writer.get("/galleries/shelf"))[2], "a recall that was asked for and not reached"


@pytest.mark.parametrize("who", ["reader", "other"])
def test_others_build_nothing(shelf, who):
    registry, client = shelf
    one, before = client(who), registry.indexes()
    sent = {"version": "shoes/1", "csrf_token": csrf_of(one.get("/galleries"))}
    assert one.post("/galleries/shelf/index", data=sent).status_code == 403
    assert registry.indexes() == before


def test_a_where_that_is_no_filter_is_refused(shelf):
    _, client = shelf
    asked = client("reader")
    for where in ("{", "[1]", "[" * 1500, '{"class": 1}'):
        answer = asked.post("/api/v1/galleries/shelf/search", query_string={"version": "shoes/1", "where": where})
        assert answer.status_code < 500
