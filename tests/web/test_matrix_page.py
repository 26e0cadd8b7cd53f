"""The compatibility matrix: what cells say, which versions are shown, shades, the file, measuring, scopes, and the cost."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, insert, select

from registry import connect
from registry.tables import EvaluationRow, GalleryRow, VersionRow
from registry.types import METRIC_NAMES, Evaluation, Matrix
from tests.web.conftest import HOSTILE, csrf_of, sign_in
from web import create_app
from web.heat import Scale, scale_of
from web.lines import LINES
from web.matrices import Cell, cells

BENCHMARK = "digits-bench"
REFS = [f"products/{n}" for n in range(1, 5)]


def grid(page):
    """Of each (query, gallery) on a page the HTML of its cell."""
    body = page.text[page.text.index("<tbody>") : page.text.index("</tbody>")]
    found = [(re.search(r">([^<]+)</a></th>", row)[1], row) for row in body.split("<tr>")[1:]]
    order = [name for name, _ in found]
    return {
        (query, gallery): cell
        for query, row in found
        for gallery, cell in zip(order, re.findall(r"<td .*?</td>", row, re.DOTALL), strict=True)
    }


def words(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html)).strip()


def number(cell):
    """The large number of a cell, as it is written."""
    return re.search(r'class="number[^"]*"[^>]*>([^<]+)', cell)[1].strip()


# What cells say


def test_cells_have_marks_words_values_intervals_and_paths(client, registry):
    page = client.get("/matrix")
    assert page.status_code == 200
    found = grid(page)
    assert set(found) == {(q, g) for q in REFS for g in REFS}
    for query, row in cells(registry.matrix(BENCHMARK)):
        for cell in row:
            said = words(found[query, cell.gallery])
            assert {"own": "● own space", "nopath": "∅ no path"}.get(cell.state, cell.state) in said
            if cell.best:
                assert number(found[query, cell.gallery]) == f"{100 * cell.best.value:.1f} %"
                assert f"{100 * cell.best.low:.1f} – {100 * cell.best.high:.1f}" in said
    assert "✓ compatible" in words(found["products/2", "products/1"])
    assert "prefix, on the query" in words(found["products/2", "products/1"])
    assert "orthogonal, on the query" in words(found["products/3", "products/1"])
    assert "naive control of products/4 on products/2" in words(found["products/4", "products/2"])
    assert "naive swap: " in words(page.text) and "never used" in page.text


def test_values_are_of_the_metric_that_is_chosen(client, registry):
    cell = registry.matrix(BENCHMARK, metric="cmc@1").cell("products/2", "products/1")
    page = client.get("/matrix", query_string={"benchmark": BENCHMARK, "metric": "cmc@1"})
    assert number(grid(page)["products/2", "products/1"]) == f"{100 * cell.value:.1f} %"
    assert '<option value="cmc@1" selected>' in page.text


def test_cells_lead_to_the_comparison_of_their_versions(client):
    for (query, gallery), cell in grid(client.get("/matrix")).items():
        links = re.findall(r'href="(/compare[^"]*)"', cell)
        expected = f"/compare?benchmark={BENCHMARK}&amp;label=class&amp;old={gallery}&amp;new={query}"
        assert links == ([] if query == gallery else [expected])


def test_gain_and_share_of_re_embedding(client, registry):
    matrix = registry.matrix(BENCHMARK)
    cell, new, old = (matrix.cell(f"products/{q}", f"products/{g}") for q, g in ((2, 1), (2, 2), (1, 1)))
    gain = grid(client.get("/matrix?show=gain"))["products/2", "products/1"]
    assert number(gain) == f"+{100 * cell.gain:.1f} pts"
    share = grid(client.get("/matrix?show=share"))
    told = 100 * (cell.value - old.value) / (new.value - old.value)
    assert number(share["products/2", "products/1"]) == f"{told:.0f} %"
    assert number(share["products/1", "products/2"]) == "no share"  # the old version gains nothing on the new vectors
    assert "plain" in share["products/1", "products/1"]


def test_an_example_and_the_verdicts_are_counted_in_words(client, registry):
    page = words(client.get("/matrix").text)
    best = registry.matrix(BENCHMARK).cell("products/2", "products/1")
    assert (
        f"queries of products/2 on vectors of products/1 give {100 * best.value:.1f} % mAP, "
        f"+{100 * best.gain:.1f} points against products/1 itself"
    ) in page
    flat = [cell for _, row in cells(registry.matrix(BENCHMARK)) for cell in row]
    assert f"compatible {sum(cell.state == 'compatible' for cell in flat)} " in page
    assert "All 4 versions measured" in page


# Shades


def evaluation(query, gallery, **given):
    facts = {
        "benchmark": "b", "label": "class", "metric": "map", "query": query, "gallery": gallery, "role": "path", "query_path": ("t",),
        "gallery_path": (), "kinds": ("affine",), "value": 0.5, "low": 0.4, "high": 0.6, "gain": 0.0, "gain_low": -0.1,
        "gain_high": 0.1, "verdict": "inconclusive", "queries": 9, "items": 9, "seed": 0, "measurement": "m",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return Evaluation(**{**facts, **given})


def of(value=0.5, gain=0.0, share=None, state="compatible"):
    best = evaluation("m/2", "m/1", value=value, gain=gain)
    return Cell("m/2", "m/1", state, best, (), share)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(-1, 1), st.none() | st.floats(-3, 3)), min_size=1, max_size=6),
    st.sampled_from(["value", "gain", "share"]),
)
def test_shades_follow_the_numbers(numbers, show):
    made = [of(*three) for three in numbers]
    scale = scale_of(made, show)
    shades = scale.shades
    placed = sorted(
        (scale.number(cell), shades.index(scale.shade(cell))) for cell in made if scale.number(cell) is not None
    )
    assert [shade for _, shade in placed] == sorted(shade for _, shade in placed)
    for value, shade in placed:
        assert (value < scale.zero) == shades[shade].startswith("down")
    assert all(scale.shade(cell) == "plain" for cell in made if scale.number(cell) is None)


def test_the_ends_of_scales():
    value = scale_of([of(0.324), of(0.994)], "value")
    assert (round(value.low, 6), round(value.high, 6)) == (0.3, 1.0)
    assert (value.shade(of(0.3)), value.shade(of(1.0))) == ("up-0", "up-7")
    gain = scale_of([of(gain=-0.67), of(gain=0.219), of(0.9, 0.9, state="own")], "gain")
    assert (round(gain.low, 6), round(gain.high, 6)) == (-0.7, 0.25)
    assert [gain.shade(of(gain=g)) for g in (-0.7, -0.01, 0.0, 0.25)] == ["down-4", "down-1", "up-0", "up-7"]
    assert scale_of([], "value").shade(of()) == "up-7"
    assert Scale("share", 0, 0, 1).shade(of(share=1.4)) == "up-7"


def test_a_share_needs_a_sure_gain_measured_together():
    own = {"kinds": (), "query_path": (), "role": "self", "verdict": None}
    old = evaluation("m/1", "m/1", **{**own, "value": 0.4, "low": 0.35, "high": 0.45})
    new = evaluation("m/2", "m/2", **{**own, "value": 0.8, "low": 0.75, "high": 0.85})
    path = evaluation("m/2", "m/1", value=0.6, gain=0.2)

    def share(*found):
        return cells(Matrix("b", "class", "map", ("m/1", "m/2"), found))[1][1][0].share

    assert share(old, new, path) == pytest.approx(0.5)
    assert share(old, path) is None
    assert share(old, replace(new, low=0.44), path) is None
    assert share(old, replace(new, measurement="another"), path) is None
    assert share(old, new, replace(path, role="naive")) is None


def test_the_naive_control_is_never_the_answer():
    naive = evaluation("m/2", "m/1", role="naive", value=0.9, verdict="compatible", kinds=(), query_path=())
    ((_, (own, _)), (_, (cell, _))) = cells(Matrix("b", "class", "map", ("m/1", "m/2"), (naive,)))
    assert (cell.state, cell.best, cell.others) == ("nopath", None, (naive,))
    assert own.state == "unmeasured"


# Which versions


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A registry with 30 versions of two models measured on a benchmark, each with the one before; tests only read it."""
    with connect(tmp_path_factory.mktemp("many") / "home") as registry:
        registry.create_gallery("bench", labels=["class", "shape"])
        for n in range(30):
            registry.register_version("abc"[n % 2], dim=4)
        add_cells(registry, "bench")
        registry.create_gallery("apart", labels=["class"])
        registry.set_alias("a", "champion", 15)
        yield registry


def add_cells(registry, benchmark, *, last=30):
    """Evaluations of the first versions, each on vectors of its own and of the one registered before."""
    with registry._home.database.engine.begin() as connection:
        at = connection.scalar(select(GalleryRow.id).where(GalleryRow.name == benchmark))
        ids = list(connection.scalars(select(VersionRow.id).order_by(VersionRow.id)))[:last]
        rows = [
            {
                "benchmark_id": at, "query_id": query, "gallery_id": gallery, "label": "class", "metric": metric, "role": role,
                "query_path": "", "gallery_path": "", "kinds": [], "value": 0.5, "low": 0.4, "high": 0.6, "gain": 0.0,
                "gain_low": -0.1, "gain_high": 0.1, "verdict": None if role == "self" else "inconclusive", "queries": 9,
                "items": 9, "seed": 0, "measurement": f"{query:032}", "created_at": datetime(2026, 1, 1, tzinfo=UTC),
            }
            for before, query in zip([None, *ids], ids, strict=False)
            for gallery, role in ((query, "self"), (before, "path"))
            if gallery
            for metric in METRIC_NAMES
        ]  # fmt: skip
        connection.execute(insert(EvaluationRow), rows)


@pytest.fixture
def crowd(many):
    """A client over the registry with many versions."""
    return create_app(many).test_client()


def shown(page):
    return list(dict.fromkeys(query for query, _ in grid(page)))


def test_the_newest_are_shown_and_it_is_said(crowd):
    page = crowd.get("/matrix")
    assert shown(page) == [*(f"a/{n}" for n in range(10, 16)), *(f"b/{n}" for n in range(10, 16))]
    assert "The 12 newest of 30 versions measured" in words(page.text)
    assert "These cells come from 12 measurements" in words(page.text)
    of_one = crowd.get("/matrix?model=a")
    assert shown(of_one) == [f"a/{n}" for n in range(4, 16)]
    assert "The 12 newest of 15 versions measured of a;" in words(of_one.text)
    assert '<option value="a" selected>a (15)</option>' in of_one.text


@pytest.mark.parametrize(
    "query",
    ["versions=b/2&versions=a/15,a/2", "versions=b/2,+a/2+,a@champion,", "versions=a/2,b/2,a/15,a@champion&model="],
)
def test_versions_are_named_with_commas_or_one_by_one(crowd, query):
    page = crowd.get(f"/matrix?{query}")
    assert shown(page) == ["a/2", "a/15", "b/2"]
    assert "The 3 versions named" in words(page.text)
    assert 'value="a/2, a/15, b/2"' in page.text
    exact = re.search(r'id="matrix-address" href="([^"]+)"', page.text)[1].replace("&amp;", "&")
    assert shown(crowd.get(exact)) == ["a/2", "a/15", "b/2"]


def test_a_version_that_is_not_measured_is_shown_as_that(crowd):
    page = crowd.get("/matrix?benchmark=apart&versions=a/1,a/2")
    assert words(grid(page)["a/2", "a/1"]) == "– not measured compare a/1 with a/2"


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("sort=up", 400, "there is no query parameter"),
        ("metric=nope", 400, "cmc@1"),
        ("metric=map&metric=mrr", 400, "give it once"),
        ("show=nope", 400, "value, gain, share"),
        ("versions=a/99", 404, "there is no version a/99"),
        ("versions=a", 400, "write it like"),
        ("versions=<script>alert(1)</script>", 400, "is not a version"),
        ("versions=" + ",".join(f"a/{n}" for n in range(1, 26)), 400, "at most 24 versions at once, got 25"),
        ("model=b&versions=b/1,a/1", 400, "other models than b"),
        ("benchmark=<script>alert(1)</script>", 404, "there is no gallery"),
    ],
)
def test_a_wrong_address_is_told(crowd, query, status, said):
    for path in ("/matrix", "/matrix.csv"):
        page = crowd.get(f"{path}?{query}")
        assert page.status_code == status
        assert said in page.text
        assert "<script>" not in page.text


def test_twenty_four_versions_fit(crowd):
    refs = [f"{model}/{n}" for model in "ab" for n in range(1, 13)]
    page = crowd.get(f"/matrix?show=gain&versions={','.join(refs)}")
    assert shown(page) == refs
    assert len(page.data) < 1 << 20


# Which benchmark


def test_the_benchmark_measured_last_is_shown_first(tmp_path):
    with connect(tmp_path / "home") as registry:
        client = create_app(registry).test_client()
        registry.register_version("m", dim=4)
        for name in ("a", "b"):
            registry.create_gallery(name, id_type="int", labels=["class"])
        append(registry, "b", "m/1")
        assert '<option value="a" selected>' in client.get("/matrix").text
        registry.evaluate("b")
        assert '<option value="b" selected>' in client.get("/matrix").text


def test_a_label_column_of_another_benchmark_means_the_first(many, crowd):
    assert "on bench by shape" not in crowd.get("/matrix?benchmark=bench&label=colour").text
    page = words(crowd.get("/matrix?benchmark=bench&label=shape").text)
    assert "samespace evaluate bench --label shape" in page


def test_a_gallery_without_labels_is_no_benchmark(client):
    page = client.get("/matrix?benchmark=catalog")
    assert page.status_code == 400
    assert "has no labels" in page.text


def test_empty_states_name_the_command(empty, tmp_path):
    page = words(empty.get("/matrix").text)
    for said in ("samespace demo", "samespace evaluate BENCHMARK", "There is no benchmark yet"):
        assert said in page
    assert empty.get("/matrix.csv").status_code == 404
    with connect(tmp_path / "fresh") as registry:
        registry.create_gallery("fresh", labels=["class"])
        page = create_app(registry).test_client().get("/matrix").text
        assert "samespace evaluate fresh" in words(page) and "samespace gallery append fresh" in words(page)
        assert "/matrix/evaluate" not in page  # there is nothing to measure


# The file


def rows_of(answer):
    assert answer.mimetype == "text/csv"
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_the_file_has_every_number_of_every_path(client, registry):
    answer = client.get("/matrix.csv?metric=mrr")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="matrix-digits-bench-class-mrr.csv"'
    found = {(r["query"], r["gallery"], r["role"], r["query_path"], r["gallery_path"]): r for r in rows_of(answer)}
    matrix = registry.matrix(BENCHMARK, metric="mrr")
    assert len(found) == len(matrix.evaluations)
    for e in matrix.evaluations:
        row = found[e.query, e.gallery, e.role, " > ".join(e.query_path), " > ".join(e.gallery_path)]
        for name in ("value", "low", "high", "gain", "gain_low", "gain_high"):
            assert float(row[name]) == getattr(e, name)
        assert (row["verdict"], row["queries"], row["measurement"]) == (e.verdict or "", str(e.queries), e.measurement)
        assert datetime.fromisoformat(row["measured_at"]) == e.created_at.replace(microsecond=0)
        assert row["best"] == ("yes" if e.role != "naive" and e == matrix.cell(e.query, e.gallery) else "no")


def test_the_file_is_of_the_versions_that_are_shown(crowd):
    rows = rows_of(crowd.get("/matrix.csv?versions=a/1,b/1,a/9"))
    assert {(r["query"], r["gallery"]) for r in rows} == {
        (q, g) for q in ("a/1", "a/9", "b/1") for g in ("a/1", "a/9", "b/1")
    }
    assert next(r for r in rows if (r["query"], r["gallery"]) == ("a/9", "b/1"))["state"] == "unmeasured"


def test_the_api_gives_some_versions_too(client):
    query = {"benchmark": BENCHMARK, "versions": ["products/2", "products/1"]}
    found = client.get("/api/v1/matrix", query_string=query).json
    assert found["versions"] == ["products/1", "products/2"]
    assert {e["query"] for e in found["evaluations"]} == {"products/1", "products/2"}


# Measuring


LABELS = np.arange(12) % 3


def append(registry, benchmark, *versions):
    x = np.eye(4)[LABELS] + 0.1 * np.random.default_rng(0).normal(size=(12, 4))
    for version in versions:
        registry.append(benchmark, version=version, ids=np.arange(12), vectors=x, labels={"class": LABELS})


def fill_two(registry):
    """A benchmark that holds vectors of two models, which nobody measured."""
    registry.create_gallery("bench", id_type="int", labels=["class"])
    for model in ("a", "b"):
        registry.register_version(model, dim=4, tags={"note": HOSTILE})
    append(registry, "bench", "a/1", "b/1")


@pytest.fixture
def unmeasured(tmp_path):
    """A registry of that."""
    with connect(tmp_path / "home") as registry:
        fill_two(registry)
        yield registry


def sent(page):
    """What the form of a page sends."""
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))


def test_a_button_measures_what_is_stored(unmeasured):
    client = create_app(unmeasured).test_client()
    page = client.get("/matrix")
    assert "samespace evaluate bench" in words(page.text)
    form = sent(page)
    assert form["versions"] == "a/1,b/1"
    answer = client.post("/matrix/evaluate", data=form)
    assert answer.status_code == 303
    assert shown(client.get(answer.location)) == ["a/1", "b/1"]
    assert unmeasured.matrix("bench").cell("a/1", "b/1") is not None


def test_progress_is_told_line_by_line(unmeasured):
    client = create_app(unmeasured).test_client()
    form = sent(client.get("/matrix"))
    answer = client.post("/matrix/evaluate", data=form, headers={"Accept": LINES})
    *progress, last = [json.loads(line) for line in answer.text.splitlines()]
    assert progress and all(set(line) == {"progress"} for line in progress)
    assert last == {"done": "/matrix?benchmark=bench&label=class&metric=map&show=value&versions=a/1,b/1"}
    form["versions"] = "a/1,a/7"
    (line,) = client.post("/matrix/evaluate", data=form, headers={"Accept": LINES}).text.splitlines()
    assert json.loads(line)["error"]["code"] == "not_found"


@pytest.mark.parametrize("versions", ["", ",".join(f"products/{n}" for n in range(1, 26))])
def test_a_form_without_versions_or_with_too_many_is_refused(client, versions):
    form = {**sent(client.get("/matrix")), "versions": versions}
    assert client.post("/matrix/evaluate", data=form).status_code == 400


def test_measuring_needs_a_writer_of_what_is_named_and_a_form_of_ours(as_token):
    reader, writer = as_token(), as_token("writer", models=["other"])
    assert "/matrix/evaluate" not in reader.get("/matrix").text
    form = {"benchmark": BENCHMARK, "label": "class", "versions": "products/1"}
    for who in (reader, writer):
        token = csrf_of(who.get("/matrix"))
        assert who.post("/matrix/evaluate", data={**form, "csrf_token": token}).status_code == 403
    assert as_token("writer").post("/matrix/evaluate", data=form).status_code == 403


# Scopes


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """`shared(**scope)`: a client, signed in so, of the two models measured on their benchmark, and one of them on another."""
    with connect(tmp_path_factory.mktemp("shared") / "home") as registry:
        fill_two(registry)
        registry.evaluate("bench")
        registry.create_gallery("secret-bench", id_type="int", labels=["class"])
        append(registry, "secret-bench", "b/1")
        registry.evaluate("secret-bench")
        app = create_app(registry)

        def signed_in(**scope):
            token = registry.create_token(f"t-{len(registry.tokens())}", role="writer", **scope)[1]
            return sign_in(app.test_client(), token)

        yield signed_in


def test_a_token_of_one_model_sees_that_alone(shared):
    client = shared(models=["a"])
    page = client.get("/matrix")
    assert shown(page) == ["a/1"]  # on the benchmark where it was measured, not on the one measured last
    for path in ("/matrix?benchmark=bench", "/matrix?benchmark=secret-bench", "/matrix.csv", "/matrix?show=share"):
        assert "b/1" not in client.get(path).text
    assert rows_of(client.get("/matrix.csv"))[0]["query"] == "a/1"
    for query in ("versions=b/1", "versions=a/1,b/1", "versions=b@x", "model=b", "versions=nothing/1", "model=nothing"):
        for path in ("/matrix", "/matrix.csv"):
            assert client.get(f"{path}?{query}").status_code == 403
    assert client.get("/api/v1/matrix?benchmark=bench&versions=b/1").status_code == 401  # programs send tokens
    empty = client.get("/matrix?benchmark=secret-bench")
    assert "/matrix/evaluate" not in empty.text  # of what it covers nothing is stored there


def test_a_token_of_one_benchmark_sees_no_other(shared):
    client = shared(galleries=["bench"])
    assert "secret" not in client.get("/matrix").text
    assert client.get("/matrix?benchmark=secret-bench").status_code == 403
    assert client.get("/matrix.csv?benchmark=secret-bench").status_code == 403
    assert "There is no benchmark yet" in shared(galleries=["other"]).get("/matrix").text


# The cost


def test_statements_do_not_grow_with_rows(tmp_path):
    with connect(tmp_path / "home") as registry:
        client, statements = create_app(registry).test_client(), []
        event.listen(registry._home.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        counts = []
        for block in (2, 12):
            for i in range(block):
                registry.register_version("abc"[i % 3], dim=4)
                registry.create_gallery(f"bench-{block}-{i}", labels=["class"])
                add_cells(registry, f"bench-{block}-{i}")
            refs = [v.ref for v in registry.versions()][:10]
            for query in ("", "&show=share", f"&versions={','.join(refs)}"):
                statements.clear()
                assert client.get(f"/matrix?benchmark=bench-{block}-{block - 1}{query}").status_code == 200
                counts.append(len(statements))
        assert counts[:3] == counts[3:]
        assert max(counts) <= 12
