"""One transform and one anchor set: facts, the fit's own words, evidence, how to use it, and who may see it."""

from __future__ import annotations

import html
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align import relative
from registry import connect
from registry.transforms import Orthogonal, Slerp
from tests.web.conftest import CLASSES, HOSTILE, fitted, sign_in
from web import create_app, reports

ITEMS = 120
KNOTS = [0.0, 0.25, 0.5, 1.0]
REPORT = {
    "method": "orthogonal",
    "pairs": 1234,
    "residual": 0.48563450356018095,
    "note": HOSTILE,
    "wide": list(range(40)),
    "nested": {"deep": {"er": [True, None]}, "list": [{"a": HOSTILE}]},
    "holdout": {
        "pairs": 40,
        "recall": {
            name: {"value": v, "low": v - 0.05, "high": v + 0.05}
            for name, v in (("bridged", 0.5), ("stay", 0.4), ("gain", 0.1))
        },
    },
    "calibration": {"x": KNOTS, "y": [0.1, 0.4, 0.6, 0.9], "native": "source", "ks_before": 0.375, "ks_after": 0.125},
}


@pytest.fixture(scope="module")
def hats(tmp_path_factory):
    """A registry of `hats`, three versions that meet directly and by anchors, and of `secret`, which meets them there."""
    with connect(tmp_path_factory.mktemp("transforms") / "home") as registry:
        build(registry)
        yield registry


def build(registry):
    rng = np.random.default_rng(5)
    labels = rng.integers(CLASSES, size=ITEMS)
    clean = rng.normal(size=(CLASSES, 16))[labels]
    x = {
        ref: clean + s * rng.normal(size=clean.shape)
        for ref, s in (("hats/1", 1.6), ("hats/2", 1.0), ("secret/1", 1.2))
    }
    x["hats/3"] = x["hats/2"][:, :12] + 0.1
    for ref in ("hats/1", "hats/2", "hats/3", "secret/1"):
        registry.register_version(ref.partition("/")[0], dim=x[ref].shape[1], fingerprint={"of": ref})
    registry.create_gallery("bench", id_type="int", labels=["class"])
    registry.create_gallery("hidden", id_type="int")
    for ref, rows in x.items():
        registry.append("bench", version=ref, ids=range(ITEMS), vectors=rows, labels={"class": labels.astype(str)})
    registry.append("hidden", version="hats/1", ids=range(30), vectors=x["hats/1"][:30])
    turn = replace(fitted(x["hats/2"], x["hats/1"]), report=REPORT)
    registry.add_transform(turn, source="hats/2", target="hats/1", run_id="9a" * 16)
    registry.add_transform(fitted(x["hats/1"], x["secret/1"]), source="hats/1", target="secret/1")
    between = Slerp(weight=np.eye(16), bias=np.zeros(16), alpha=0.5, report={"curve": {"0.0": 0.25, "1.0": 0.5}})
    registry.add_transform(between, source="hats/2", target="hats/1")
    registry.add_anchors("landmarks", gallery="bench", ids=list(range(40)))
    registry.add_anchors("unseen", gallery="hidden", ids=list(range(20)))
    for name, refs, count in (("landmarks", ("hats/1", "hats/2", "secret/1"), 40), ("unseen", ("hats/1",), 20)):
        for ref in refs:
            map_ = relative.transform(x[ref][:count].astype(np.float32))
            registry.add_transform(map_, source=ref, target=f"relative/{name}")
    registry.evaluate("bench")
    registry.register_version("fresh", dim=16)
    registry.add_transform(Orthogonal(weight=np.eye(16), bias=np.zeros(16)), source="fresh/1", target="hats/1")


@pytest.fixture(scope="module")
def client(hats):
    return create_app(hats).test_client()


@pytest.fixture
def seen_by(hats, tmp_path):
    """`seen_by(**scope)`: a client whose token covers only this."""
    with connect(shutil.copytree(hats.home, tmp_path / "guarded")) as registry:
        app = create_app(registry)
        yield lambda **scope: sign_in(
            app.test_client(), registry.create_token(f"t-{len(registry.tokens())}", **scope)[1]
        )


def named(registry, source, target, kind="orthogonal"):
    return next(t for t in registry.transforms() if (t.source, t.target, t.kind) == (source, target, kind))


def plain(fragment):
    """What is read of HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", fragment)).split())


def measured(page):
    """The lines of what was measured, as they are read."""
    body = re.search(r'aria-label="What was measured.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    return [plain(row) for row in body[1].split("</tr>") if row.strip()] if body else []


def test_what_it_maps_and_when_and_by_whom(client, hats):
    info = named(hats, "hats/2", "hats/1")
    page = client.get(f"/transforms/{info.id}").text
    facts = dict(re.findall(r"<dt>(\w+)</dt><dd>(.*?)</dd>", page, re.DOTALL))
    assert plain(facts["From"]) == "hats/2 , 16 dimensions"
    assert plain(facts["Into"]) == "hats/1 , 16 dimensions"
    assert plain(facts["Digest"]) == info.digest == hats.transform(info.id).digest()
    assert 'href="/runs/9a9a' in facts["Run"]
    assert 'href="/models/hats#hats/2"' in facts["From"]


def test_its_report_is_written_plainly_and_escaped(client, hats):
    page = client.get(f"/transforms/{named(hats, 'hats/2', 'hats/1').id}").text
    table = re.search(r'class="list report">(.*?)</table>', page, re.DOTALL)[1]
    said = {plain(k): plain(v) for k, v in re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', table, re.DOTALL)}
    assert said["pairs"] == "1 234" and said["residual"] == "0.4856"
    assert said["note"] == HOSTILE
    assert said["wide"] == "40 numbers from 0 to 39"
    assert said["nested › deep › er"] == "yes, none"
    assert said["calibration › ks before"] == "0.375"
    assert not {"calibration › x", "holdout › recall › gain"} & set(said)  # said elsewhere on the page
    assert "<script>alert" not in page
    held = plain(re.search(r'aria-label="On pairs that were held out".*?</table>', page, re.DOTALL)[0])
    assert "neighbours of a full re-embedding 50.0 45.0 – 55.0 40.0 35.0 – 45.0 +10.0 [+5.0, +15.0]" in held


def test_calibration_and_curves_are_charts(client, hats):
    page = client.get(f"/transforms/{named(hats, 'hats/2', 'hats/1').id}").text
    table = re.search(r'id="chart-calibration".*?<tbody>(.*?)</tbody>', page, re.DOTALL)[1]
    assert re.findall(r'<th[^>]*><data value="([^"]+)"', table) == [str(x) for x in KNOTS]
    assert re.findall(r'<td class="num"><data value="([^"]+)"', table)[::2] == ["0.1", "0.4", "0.6", "0.9"]
    page = client.get(f"/transforms/{named(hats, 'hats/2', 'hats/1', 'slerp').id}").text
    table = re.search(r'id="chart-curve".*?<tbody>(.*?)</tbody>', page, re.DOTALL)[1]
    assert re.findall(r'value="([^"]+)"', table) == ["0.0", "0.25", "1.0", "0.5"]


@pytest.mark.parametrize("metric", ["map", "cmc@1"])
def test_evidence_is_what_was_measured_through_it(client, hats, metric):
    id = named(hats, "hats/2", "hats/1").id
    lines = measured(client.get(f"/transforms/{id}", query_string={"metric": metric}).text)
    cells = [e for e in hats.evaluations("bench", metric=metric) if id in (*e.query_path, *e.gallery_path)]
    assert len(lines) == len(cells) > 2
    for e in cells:
        line = f"{e.query} on {e.gallery} {e.way}"
        (found,) = [
            said for said in lines if said.startswith(line) and all(s in said for s in (*e.query_path, *e.gallery_path))
        ]
        assert e.verdict in found and f"{100 * e.value:.1f}" in found and "bench by class" in found
    assert lines[0].startswith("hats/2 on hats/1 orthogonal, on the query")  # what an upgrade is about


def test_how_to_use_it_and_how_not(client, hats):
    page = plain(client.get(f"/transforms/{named(hats, 'hats/2', 'hats/1').id}").text)
    assert 'reg.search("GALLERY", x, version="hats/2")' in page
    assert 'reg.convert(x, source="hats/2", into="hats/1") # (n, 16) -> (n, 16)' in page
    assert "Not for the other direction." in page
    assert "samespace fit orthogonal --source hats/1 --target hats/2" in page
    slerp = plain(client.get(f"/transforms/{named(hats, 'hats/2', 'hats/1', 'slerp').id}").text)
    assert 'side={"hats/1": x_old}' in slerp and "reg.convert" not in slerp and "Nor for stored vectors" in slerp
    into = plain(client.get(f"/transforms/{named(hats, 'hats/1', 'relative/landmarks', 'relative').id}").text)
    assert 'into="relative/landmarks"' in into and "Nothing leads back" in into and "samespace fit" not in into


def test_an_unmeasured_one_says_how_to_measure_it(client, hats):
    page = client.get(f"/transforms/{named(hats, 'fresh/1', 'hats/1').id}").text
    assert "Nobody measured it yet" in page
    assert "samespace evaluate BENCHMARK --version fresh/1 --version hats/1" in page
    assert "It brought no report" in page


def test_what_is_not_there_or_not_asked_rightly(client, hats):
    id = named(hats, "hats/2", "hats/1").id
    for path, status in (
        ("/transforms/nope", 404),
        (f"/transforms/{HOSTILE}", 404),
        ("/anchors/nope", 404),
        (f"/transforms/{id}?metric=nope", 400),
        (f"/transforms/{id}?after=nope", 400),
        (f"/transforms/{id}?label=class", 400),
        ("/anchors/landmarks?k=1", 400),
    ):
        page = client.get(path)
        assert page.status_code == status, path
        assert "<script>alert" not in page.text


def test_a_token_sees_only_transforms_between_what_it_covers(seen_by, hats):
    who = seen_by(models=["hats"])
    assert who.get(f"/transforms/{named(hats, 'hats/2', 'hats/1').id}").status_code == 200
    refused = who.get(f"/transforms/{named(hats, 'hats/1', 'secret/1').id}")
    assert refused.status_code == 403 and "secret" not in refused.text
    lines = measured(who.get(f"/transforms/{named(hats, 'hats/1', 'relative/landmarks', 'relative').id}").text)
    assert lines and not any("secret" in line for line in lines)
    blind = seen_by(galleries=["hidden"])
    assert blind.get(f"/transforms/{named(hats, 'hats/1', 'relative/landmarks', 'relative').id}").status_code == 403
    assert "Nobody measured it yet" in blind.get(f"/transforms/{named(hats, 'hats/2', 'hats/1').id}").text


def test_an_anchor_set_who_reaches_it_and_how_they_compare_in_it(client, hats):
    page = client.get("/anchors/landmarks").text
    facts = dict(re.findall(r"<dt>(\w+)</dt><dd>(.*?)</dd>", page, re.DOTALL))
    assert plain(facts["Anchors"]) == "40, an item each" and plain(facts["Width"]) == "40 dimensions"
    reach = re.search(r'aria-label="Transforms into.*?<tbody>(.*?)</tbody>', page, re.DOTALL)[1]
    assert re.findall(r">((?:hats|secret)/\d)<", reach) == ["hats/1", "hats/2", "secret/1"]
    maps = {t.id for t in hats.transforms() if t.target == "relative/landmarks"}
    alone = [
        e
        for e in hats.evaluations("bench", metric="map")
        if {*e.query_path, *e.gallery_path} <= maps and e.role == "path"
    ]
    lines = measured(page)
    for e in alone:
        assert any(
            f"{e.query} on {e.gallery} relative anchors" in line and f"{100 * e.value:.1f}" in line for line in lines
        )
    assert "samespace evaluate BENCHMARK" in client.get("/anchors/unseen").text
    assert re.findall(r'<span class="tag">(\d+)</span>', page) == [str(i) for i in range(40)]


def test_an_anchor_set_as_a_token_sees_it(seen_by):
    page = seen_by(models=["hats"]).get("/anchors/landmarks").text
    assert "secret" not in page and measured(page)
    assert seen_by(galleries=["bench"]).get("/anchors/unseen").status_code == 403
    listed = seen_by(galleries=["bench"]).get("/models").text
    assert "relative/landmarks" in listed and "unseen" not in listed


def test_anchor_sets_are_found_from_the_list_of_models(client):
    assert 'href="/anchors/landmarks"' in client.get("/models").text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
INTERVAL = st.fixed_dictionaries({"value": JSON, "low": JSON, "high": JSON})


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.text(max_size=10), JSON, max_size=6)
    | st.fixed_dictionaries(
        {
            "holdout": JSON
            | st.fixed_dictionaries({"map": JSON | st.fixed_dictionaries({"bridged": INTERVAL, "gain": JSON})}),
            "calibration": JSON | st.fixed_dictionaries({"x": JSON, "y": JSON, "native": st.just("source")}),
            "curve": JSON,
        }
    )
)
def test_no_report_is_too_odd_to_be_written(report):
    for key, value in reports.lines(reports.rest(report)):
        assert isinstance(key, str) and isinstance(value, str) and value
    for chart in reports.charts(report):
        assert all(len(s.values) == len(chart.x) for s in chart.series)
    reports.compared(report)


def test_a_report_without_end_is_cut():
    lines = reports.lines({f"k{i}": "x" * 10_000 for i in range(1000)})
    assert len(lines) == 201 and max(len(value) for _, value in lines) < 500
    assert "there is more" in lines[-1][1]
