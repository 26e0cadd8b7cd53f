"""Models and one model: what is listed, how quality went, what leads where, and what of it a token hides."""

from __future__ import annotations

import html
import re
import shutil
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from bench.facts import Size, fill
from registry import connect
from registry.paths import Edge
from registry.services.links import Link
from registry.tables import now
from registry.transforms import Orthogonal, Prefix
from registry.types import Version
from tests.web.conftest import CLASSES, HOSTILE, fitted, sign_in
from web import create_app
from web.graphs import draw

ITEMS = 120


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A home with `hats`, whose six versions lead to each other in all ways, and `secret`, of which hats/6 was made."""
    home = tmp_path_factory.mktemp("models") / "home"
    with connect(home) as registry:
        build(registry)
    return home


def build(registry):
    rng = np.random.default_rng(3)
    labels = rng.integers(CLASSES, size=ITEMS)
    clean = rng.normal(size=(CLASSES, 16))[labels]
    x = {n: clean + (2 - 0.3 * n) * rng.normal(size=clean.shape) for n in range(1, 7)}
    registry.register_version("secret", dim=16)
    for n in x:
        registry.register_version(
            "hats", dim=16, parent={3: "hats/2", 6: "secret/1"}.get(n), method="oca", run_id="7f" * 16 if n == 1 else None,
            source=HOSTILE if n == 1 else None, tags={"note": HOSTILE} if n == 1 else {},
            fingerprint={"weights": f"w{n}", "preprocessing": {"size": [8, 8], "note": HOSTILE}},
        )  # fmt: skip
    registry.set_alias("hats", "champion", 3)
    columns = {"class": labels.astype(str), "colour": rng.integers(3, size=ITEMS).astype(str)}
    registry.create_gallery("bench", id_type="int", labels=list(columns))
    registry.create_gallery("hidden", id_type="int", labels=["class"])
    registry.create_gallery("shop", id_type="int")
    for n in x:
        registry.append("bench", version=f"hats/{n}", ids=range(ITEMS), vectors=x[n], labels=columns)
    registry.append("bench", version="secret/1", ids=range(ITEMS), vectors=x[4], labels=columns)
    registry.append("hidden", version="hats/3", ids=range(ITEMS), vectors=x[3], labels={"class": columns["class"]})
    registry.append("shop", version="hats/4", ids=range(50), vectors=x[4][:50])
    registry.append("shop", version="hats/5", ids=range(50, 60), vectors=x[5][50:60])
    registry.add_transform(fitted(x[2], x[1]), source="hats/2", target="hats/1")
    registry.add_transform(fitted(x[3][:, :8], x[2]), source="hats/3[:8]", target="hats/2")
    registry.add_transform(fitted(x[3], x[1]), source="hats/3", target="hats/1")
    registry.add_transform(fitted(x[3], x[4]), source="hats/3", target="hats/4")
    registry.evaluate("hidden", versions=["hats/3"])
    registry.evaluate("bench", versions=[f"hats/{n}" for n in (1, 2, 3)], label="colour")
    registry.evaluate("bench", versions=[f"hats/{n}" for n in (1, 2, 3)])
    registry.add_transform(fitted(x[2], x[3]), source="hats/2", target="hats/3")  # nobody measures this one
    registry.add_transform(fitted(x[6], x[4]), source="hats/6", target="secret/1")
    for n in (1, 2, 3):
        registry.add_canaries(f"hats/{n}", ["one", "two"], x[n][:2])
    registry.verify_encoder("hats/2", lambda _: x[2][:2], record=True)
    registry.verify_encoder("hats/3", lambda _: x[3][:2] + 1, record=True)


@pytest.fixture(scope="module")
def hats(family):
    with connect(family) as registry:
        yield registry


@pytest.fixture(scope="module")
def client(hats):
    return create_app(hats).test_client()


@pytest.fixture
def seen_by(family, tmp_path):
    """`seen_by(**scope)`: a client whose token covers only this."""
    with connect(shutil.copytree(family, tmp_path / "guarded")) as registry:
        app = create_app(registry)
        yield lambda **scope: sign_in(
            app.test_client(), registry.create_token(f"t-{len(registry.tokens())}", **scope)[1]
        )


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A home with many models, of which the first has 20 versions and 38 transforms at least."""
    home = tmp_path_factory.mktemp("many") / "home"
    with connect(home) as registry, registry._home.database.engine.begin() as connection:
        fill(connection, Size(models=130, versions_each=60, measured=1, transforms=118, evaluations=0, galleries=2))
    return home


def rows(page):
    """The lines of the list of models: by name, the text of each cell."""
    body = re.search(r'aria-label="Models" tabindex.*?<tbody>(.*?)</tbody>', page, re.DOTALL)[1]
    lines = [re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)]
    texts = [[plain(cell) for cell in line] for line in lines]
    return {line[0]: line for line in texts}


def plain(fragment):
    """What is read of HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", fragment)).split())


def arcs(page):
    """By transform, the class and the name of its arrow."""
    found = re.findall(r'<a class="arc (\w+)" href="/transforms/([^"]+)" aria-label="([^"]+)">', page)
    return {id: (kind, html.unescape(said)) for kind, id, said in found}


def walked(client, address):
    """All parts of a list, by the links that lead from one to the next."""
    pages = []
    while address:
        pages.append(client.get(address).text)
        link = re.search(r'<a href="([^"]+)" rel="next">', pages[-1])
        address = link and html.unescape(link[1])
    return pages


# The list


def test_each_model_in_a_line(client, hats):
    line = rows(client.get("/models").text)["hats"]
    own = hats.matrix("bench").cell("hats/3", "hats/3")
    assert line[1:4] == ["hats/3 @champion", "6", "hats/6 16-d, cosine"]
    assert (
        line[5] == "✗ 2 of 3"
    )  # bench and hidden hold its own vectors of every item; nothing leads to those of hats/5 in the shop
    assert line[6].startswith(f"{100 * own.value:.1f}")
    assert f"{100 * own.low:.1f} – {100 * own.high:.1f}" in line[6]
    assert line[7] == "bench"


def test_a_model_that_reads_all_and_one_that_stored_nothing(tmp_path):
    with connect(tmp_path / "home") as registry:
        client = create_app(registry).test_client()
        registry.register_version("hats", dim=4)
        assert rows(client.get("/models").text)["hats"][5] == "none filled"
        registry.create_gallery("shop", id_type="int")
        registry.append("shop", version="hats/1", ids=[1], vectors=np.ones((1, 4)))
        assert rows(client.get("/models").text)["hats"][5] == "✓ the one"
        registry.register_version("hats", dim=4)  # in use from now on, and reads nothing
        assert rows(client.get("/models").text)["hats"][5] == "✗ 0 of 1"
        registry.add_transform(Orthogonal(weight=np.eye(4), bias=np.zeros(4)), source="hats/2", target="hats/1")
        assert rows(client.get("/models").text)["hats"][5] == "✓ the one"
        assert "not measured" in rows(client.get("/models").text)["hats"][7]


def test_all_models_come_once_page_by_page(many):
    with connect(many) as registry:
        pages = walked(create_app(registry).test_client(), "/models")
        names = [name for page in pages for name in rows(page)]
        assert names == [m.name for m in registry.models()]
        assert [len(rows(page)) for page in pages] == [50, 50, 30]
        assert "From the start" in pages[1] and "From the start" not in pages[0]


@pytest.mark.parametrize(("part", "count"), [("012", 11), ("MODEL-0130", 1), ("_", 0), ("%", 0), ("-", 50)])
def test_a_part_of_the_name_is_looked_for_to_the_letter(many, part, count):
    with connect(many) as registry:
        page = create_app(registry).test_client().get("/models", query_string={"q": part}).text
        found = rows(page) if count else {}
        assert len(found) == count
        assert all(part.lower() in name for name in found)
        assert count or "No model has" in page
        assert f'name="q" value="{part}"' in page
        for link in re.findall(r'href="([^"]+)" rel="next"', page):
            assert parse_qs(urlsplit(html.unescape(link)).query)["q"] == [part]


def test_what_is_looked_for_is_escaped_and_other_words_are_refused(client):
    page = client.get("/models", query_string={"q": HOSTILE}).text
    assert "<script>alert" not in page and "&lt;script&gt;" in page
    refused = client.get("/models?name=hats")
    assert refused.status_code == 400 and "q, after" in refused.text
    assert client.get("/models?after=x").status_code == 400


def test_empty_states_name_a_command(empty):
    assert "samespace demo" in empty.get("/models").text
    assert empty.get("/models/hats").status_code == 404


def test_only_models_that_are_covered_are_listed(seen_by):
    page = seen_by(models=["hats"]).get("/models").text
    assert list(rows(page)) == ["hats"] and "secret" not in page
    assert "No model has" in seen_by(models=["hats"]).get("/models?q=secret").text
    assert "Your token covers no model" in seen_by(models=["other"]).get("/models").text
    line = rows(seen_by(galleries=["shop"]).get("/models").text)["hats"]
    assert line[5] == "✗ 0 of 1" and line[7] == "not measured"


# One model


def test_each_version_with_all_that_is_known_of_it(client, hats):
    page = client.get("/models/hats").text
    cards = dict(re.findall(r'<li class="card release" id="(hats/\d)"(.*?)</li>', page, re.DOTALL))
    assert list(cards) == [f"hats/{n}" for n in (6, 5, 4, 3, 2, 1)]
    for version in hats.versions("hats"):
        card = plain(cards[version.ref])
        assert version.fingerprint in card
        assert "16 × float32, cosine, of length 1" in card and "Trained oca" in card
        assert "preprocessing › size 8, 8" in card
    first, third = plain(cards["hats/1"]), plain(cards["hats/3"])
    assert "Stored in bench 120" in first and f"note {HOSTILE}" in first and f"Source {HOSTILE}" in first
    assert 'href="/runs/7f7f' in cards["hats/1"]
    assert "Stored in bench 120 hidden 120" in third and "@champion" in third and "Parent hats/2" in third
    assert "Stored in bench 120 shop 50" in plain(cards["hats/4"])
    assert "<script>alert" not in page


def test_each_version_leads_to_the_comparison_with_what_it_replaces(client):
    page = client.get("/models/hats").text
    links = [html.unescape(link) for link in re.findall(r'<a class="compare" href="([^"]+)"', page)]
    pairs = [tuple(parse_qs(urlsplit(link).query)[side][0] for side in ("old", "new")) for link in links]
    assert ("hats/2", "hats/3") in pairs  # its parent
    assert ("secret/1", "hats/6") in pairs
    assert ("hats/4", "hats/5") in pairs  # without a parent, the one before
    assert len(pairs) == 5


def test_whether_the_encoder_is_still_the_one(client):
    page = client.get("/models/hats").text
    said = dict(re.findall(r'id="(hats/\d)".*?<dt>Canaries</dt><dd>(.*?)</dd>', page, re.DOTALL))
    assert plain(said["hats/1"]) == "2 kept, never checked"
    assert plain(said["hats/2"]).startswith("✓ as registered off by 0 of")
    assert plain(said["hats/3"]).startswith("✗ it drifts off by")
    assert plain(said["hats/4"]) == "none"


@pytest.mark.parametrize(("metric", "label"), [("map", "class"), ("cmc@1", "class"), ("map", "colour")])
def test_quality_over_versions_is_what_was_measured(client, hats, metric, label):
    page = client.get("/models/hats", query_string={"metric": metric, "label": label}).text
    table = re.search(r'id="chart-quality".*?<tbody>(.*?)</tbody>', page, re.DOTALL)[1]
    shown = [
        re.findall(r'<data value="([^"]+)"(?: data-low="([^"]+)" data-high="([^"]+)")?', r)
        for r in table.split("</tr>")
    ]
    matrix = hats.matrix("bench", metric=metric, label=label)
    for n, row in zip((1, 2, 3, 4, 5, 6), shown, strict=False):
        assert row[0][0] == str(n)
        wanted = [matrix.cell(f"hats/{n}", f"hats/{n}")] if n < 4 else []
        if n == 3:  # the only one whose parent is measured
            wanted.append(matrix.cell("hats/3", "hats/2"))
        assert row[1:] == [(str(e.value), str(e.low), str(e.high)) for e in wanted]
    assert f'<option value="{metric}" selected>' in page and f'<option value="{label}" selected>' in page


def test_what_is_asked_is_read_strictly(client):
    for query, status, said in (
        ("metric=nope", 400, "cmc@1"),
        ("after=0", 400, "whole number"),
        ("after=one", 400, "whole number"),
        ("page=2", 400, "after, benchmark, label, metric"),
        ("benchmark=nope", 404, "there is no gallery"),
        ("benchmark=shop", 400, "has no labels"),
    ):
        page = client.get(f"/models/hats?{query}")
        assert (page.status_code, said in page.text) == (status, True), query
    assert '<option value="class" selected>' in client.get("/models/hats?benchmark=bench&label=other").text
    assert "None of these versions is measured on hidden" in client.get("/models/secret?benchmark=hidden").text
    assert client.get("/models/nope").status_code == 404


def test_arrows_say_what_was_measured_of_each_transform_alone(client, hats):
    page = client.get("/models/hats?label=class").text
    found = arcs(page)
    matrix = hats.matrix("bench")
    by_ends = {(t.source, t.target): t.id for t in hats.transforms()}
    for ends, pair in ((("hats/2", "hats/1"), ("hats/2", "hats/1")), (("hats/3", "hats/1"), ("hats/3", "hats/1"))):
        id = by_ends[ends]
        (cell,) = (e for e in matrix.evaluations if (e.query, e.gallery) == pair and e.query_path == (id,))
        kind, said = found[id]
        assert kind == cell.verdict
        assert f"orthogonal from {ends[0]} to {ends[1]}: {cell.verdict}, mAP {100 * cell.value:.1f}" in said
    cut = by_ends["hats/3[:8]", "hats/2"]
    (cell,) = (e for e in matrix.evaluations if e.query_path == ("[:8]", cut) and not e.gallery_path)
    assert found[cut][0] == cell.verdict and f"{100 * cell.value:.1f}" in found[cut][1]
    for ends in (("hats/2", "hats/3"), ("hats/3", "hats/4"), ("hats/6", "secret/1")):
        assert found[by_ends[ends]][0] == "unmeasured" and "not measured" in found[by_ends[ends]][1]
    assert set(found) == {t.id for t in hats.transforms()}
    assert 'aria-label="hats/3[:8], cut from the whole by definition: compare hats/2 with hats/3"' in page


def test_the_table_says_the_same_as_the_drawing(client, hats):
    page = client.get("/models/hats").text
    table = re.search(r'aria-label="Transforms of hats".*?<tbody>(.*?)</tbody>', page, re.DOTALL)[1]
    words = {
        "compatible": "compatible",
        "incompatible": "incompatible",
        "inconclusive": "inconclusive",
        "unmeasured": "not measured",
    }
    for line in filter(str.strip, table.split("</tr>")):
        id = re.search(r'href="/transforms/([^"]+)"', line)[1]
        assert words[arcs(page)[id][0]] in plain(line)
    assert table.count("</tr>") == len(hats.transforms())


def test_another_metric_colours_the_arrows_by_itself(client, hats):
    cells = {m: hats.matrix("bench", metric=m) for m in ("map", "cmc@1")}
    id = next(t.id for t in hats.transforms() if (t.source, t.target) == ("hats/2", "hats/1"))
    for metric, matrix in cells.items():
        (cell,) = (
            e for e in matrix.evaluations if e.query_path == (id,) and not e.gallery_path and e.gallery == "hats/1"
        )
        said = arcs(client.get("/models/hats", query_string={"metric": metric, "label": "class"}).text)[id][1]
        assert f"{100 * cell.value:.1f} [{100 * cell.low:.1f}, {100 * cell.high:.1f}]" in said


def test_what_a_token_does_not_cover_is_named_nowhere(seen_by):
    page = seen_by(models=["hats"]).get("/models/hats").text
    assert "secret" not in page
    assert "of a model that your token does not cover" in page
    assert len(arcs(page)) == 5
    blind = seen_by(galleries=["shop"]).get("/models/hats").text
    assert re.findall(r"/galleries/(\w+)", blind) == ["shop", "shop"]
    assert not re.search(r"\b(bench|hidden)\b", plain(blind))
    assert "None of these versions is measured yet" in blind
    assert {kind for kind, _ in arcs(blind).values()} == {"unmeasured"}
    refused = seen_by(models=["hats"]).get("/models/secret")
    assert refused.status_code == 403
    assert seen_by(galleries=["shop"]).get("/models/hats?benchmark=bench").status_code == 403


def test_all_versions_come_once_page_by_page(many):
    with connect(many) as registry:
        pages = walked(create_app(registry).test_client(), "/models/model-0001?metric=mrr")
        numbers = [int(n) for page in pages for n in re.findall(r'id="model-0001/(\d+)"', page)]
        assert numbers == list(range(60, 0, -1))
        assert len(pages) == 2
        assert '<a href="/models/model-0001?metric=mrr">Newest versions</a>' in pages[1]
        assert (
            "There is no version this old" in create_app(registry).test_client().get("/models/model-0001?after=1").text
        )


def test_the_newest_hundred_transforms_are_drawn_and_it_is_said(many):
    with connect(many) as registry:
        page = create_app(registry).test_client().get("/models/model-0001?after=61").text
        all_of_them = [t.id for t in registry.transforms()]
        shown = arcs(page)
        assert len(shown) == 100 and set(shown) < set(all_of_them)  # those of the 50 newest versions alone
        for i in range(10):
            turn = Orthogonal(weight=np.eye(128), bias=np.full(128, i, dtype=float))
            registry.add_transform(turn, source="model-0001/60", target="model-0001/59")
        page = create_app(registry).test_client().get("/models/model-0001").text
        assert len(arcs(page)) == 100
        assert "The 100 newest transforms are drawn; 10 older ones are left out" in page


def test_a_lone_version_is_told_what_to_do(tmp_path):
    with connect(tmp_path / "home") as registry:
        client = create_app(registry).test_client()
        registry.register_version("hats", dim=4)
        page = client.get("/models/hats").text
        assert "samespace evaluate BENCHMARK" in page and "samespace train oca" in page
        registry.register_version("hats", dim=4)
        registry.create_gallery("shop", id_type="int")
        for n in (1, 2):
            registry.append("shop", version=f"hats/{n}", ids=[1], vectors=np.ones((1, 4)))
        command = "samespace fit orthogonal --source hats/2 --target hats/1 --gallery shop"
        assert command in client.get("/models/hats").text


def test_statements_do_not_grow_with_rows(tmp_path):
    counts = []
    for size in (
        Size(models=3, versions_each=2, measured=1, transforms=2, evaluations=20, galleries=3, anchor_sets=1),
        Size(models=20, versions_each=5, measured=2, transforms=30, evaluations=200, galleries=9, anchor_sets=9),
    ):
        with connect(tmp_path / f"home-{size.models}") as registry:
            with registry._home.database.engine.begin() as connection:
                fill(connection, size)
            registry.add_transform(Prefix(from_dim=128, to_dim=64), source="model-0002/2", target="model-0002/2[:64]")
            client, seen = create_app(registry).test_client(), []
            event.listen(
                registry._home.database.engine, "before_cursor_execute", lambda *args, seen=seen: seen.append(args[2])
            )
            for path in (
                "/models",
                "/models/model-0001",
                "/transforms/orthogonal-000000000000",
                "/anchors/anchors-0001",
            ):
                assert client.get(path).status_code == 200
                seen.clear()
                client.get(path)
                counts.append((path, len(seen)))
    half = len(counts) // 2
    assert counts[:half] == counts[half:]
    assert max(n for _, n in counts) <= 20


# The drawing


SPACES = [f"a/{n}" for n in range(1, 6)] + [
    "a/1[:8]",
    "a/2[:8]",
    "a/2[:4]",
    "b/1",
    "b/1[:3]",
    "relative/w",
    "relative/v",
]


@st.composite
def pictures(draw_):
    ends = st.sampled_from(SPACES)
    drawn = draw_(st.lists(st.tuples(ends, ends), max_size=30))
    links = [Link(Edge(f"t{i}", "affine", s, t), now(), None) for i, (s, t) in enumerate(drawn) if s != t]
    shown = [version(n) for n in range(draw_(st.integers(1, 5)), 0, -1)]
    parents = {v.ref: draw_(st.sampled_from(["a/1", "b/1", "c/9"])) for v in shown if v.number > 1}
    return links, shown, parents


def version(number):
    return Version(
        "a", number, 8, "cosine", True, "float32", "oca", "f", now(), aliases=("live",) if number == 2 else ()
    )


@settings(max_examples=50, deadline=None)
@given(pictures())
def test_arcs_begin_and_end_at_places_of_their_own_on_the_right_boxes(picture):
    links, shown, parents = picture
    graph = draw(shown, links, parents)
    boxes = {n.space: n for n in graph.nodes}
    assert [n.space for n in graph.nodes if n.space.startswith("a/") and "[" not in n.space][: len(shown)] == [
        v.ref for v in shown
    ]
    assert set(boxes) >= {s for link in links for s in (link.edge.source, link.edge.target)} | set(parents.values())
    tops = [(n.y, n.y + n.height) for n in graph.nodes]
    assert all(bottom <= top for (_, bottom), (top, _) in pairwise(tops))
    places = []
    for arc in graph.arcs:
        start, (y, z) = [float(v) for v in re.findall(r"[-\d.]+", arc.line)][:2], ends_of(arc.line)
        for space, at in ((arc.source, y), (arc.target, z)):
            assert boxes[space].y < at < boxes[space].y + boxes[space].height
        assert start[0] == boxes[arc.source].x + boxes[arc.source].width
        assert arc.head.startswith(f"M{start[0]:g} {z:g}l")
        assert start[0] < start[0] + 0.75 * (float(re.search(r"C([\d.]+)", arc.line)[1]) - start[0]) < graph.width
        places += [y, z]
    assert len(set(places)) == len(places)
    assert {(arc.target, arc.source) for arc in graph.lineage} == set(parents.items())
    assert tops[-1][1] <= graph.height


def ends_of(line):
    numbers = [float(v) for v in re.findall(r"-?\d+(?:\.\d+)?", line)]
    return numbers[1], numbers[-1]
