"""What the two maps are drawn from: the numbers of the study, small, kept by browsers, and for whoever may see them."""

from __future__ import annotations

import gzip
import json
import shutil
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from registry import connect
from registry.types import Overlap, Study
from tests.web.conftest import sign_in
from tests.web.mapping import BENCHMARK, FORMULA, HOSTILE, IDS, ITEMS, NEW, OLD, studied
from web import create_app
from web.points import OVERLAP_PARTS, Kept, Points, encode

STEP = 0.5 / 32767
STUDY = Study(
    id="study-1", benchmark=BENCHMARK, label="class", old=OLD, new=NEW, has_path=True, query_path=(), gallery_path=(),
    kinds=(), items=0, queries=0, seed=0, cmc={}, groups=(), scores={}, thresholds=(), overlap=Overlap(10, 0.5, ()),
    filling=(), created_at=datetime.now(UTC),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a registry with a study; tests only read it."""
    folder = tmp_path_factory.mktemp("maps") / "home"
    studied(folder).close()
    return folder


@pytest.fixture
def registry(folder):
    with connect(folder) as registry:
        yield registry


@pytest.fixture
def study(registry):
    return registry.studies()[0]


def path_of(study):
    return f"/studies/{study.id}/points"


def decoded(data):
    """The line of JSON and the columns, as the form is described."""
    line, _, body = data.partition(b"\n")
    assert (len(line) + 1) % 4 == 0
    head = json.loads(line)
    columns = {}
    for c in head["columns"]:
        assert c["at"] % 4 == 0
        kind = np.dtype(c["dtype"]).newbyteorder("<")
        columns[c["name"]] = np.frombuffer(body, kind, count=c["length"], offset=c["at"])
    return head, columns


def table(n, rng, **more):
    """Items as a study keeps them, none of which was a query."""
    none = np.full(n, np.nan, np.float32)
    columns = {"id": pa.array([f"item-{i}" for i in range(n)])}
    columns |= {f"{axis}_{side}": rng.uniform(-1, 1, n).astype("f4") for side in ("old", "new") for axis in "xy"}
    columns["overlap"] = (rng.integers(11, size=n) / 10).astype("f4")
    columns |= {f"{name}_{stage}": none for name in ("ap", "hit") for stage in ("today", "upgraded", "backfilled")}
    return pa.table({**columns, **more})


def test_says_what_the_study_found_of_each_item(registry, study):
    head, columns = decoded(create_app(registry).test_client().get(path_of(study)).data)
    items = registry.study_items(study.id)
    assert (head["old"], head["new"], head["benchmark"], head["label"]) == (OLD, NEW, BENCHMARK, "class")
    assert (head["items"], head["queries"], head["k"]) == (ITEMS, study.queries, study.overlap.k)
    assert head["ids"] == items["id"].to_pylist()
    assert set(head["ids"]) == set(IDS)
    for name in ("x_old", "y_old", "x_new", "y_new"):
        assert np.abs(columns[name] / 32767 * head["extent"] - items[name].to_numpy()).max() <= STEP * head["extent"]
    assert columns["overlap"] / OVERLAP_PARTS == pytest.approx(items["overlap"].to_numpy(), abs=0.5 / OVERLAP_PARTS)
    assert {HOSTILE, FORMULA} == set(head["labels"][1]["values"])
    for label in head["labels"]:
        shown = [label["values"][i] for i in columns[f"label.{label['name']}"]]
        assert shown == [str(v) for v in items[f"label.{label['name']}"].to_pylist()]
    for stage in ("today", "upgraded", "backfilled"):
        np.testing.assert_array_equal(columns[f"ap_{stage}"], items[f"ap_{stage}"].to_numpy()[columns["query"]])
        np.testing.assert_array_equal(columns[f"hit_{stage}"], items[f"hit_{stage}"].to_numpy()[columns["query"]])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=8)), min_size=1, max_size=40))
def test_any_text_comes_back_the_most_frequent_first(values):
    rng = np.random.default_rng(0)
    items = table(len(values), rng, id=pa.array([f"{v}\n{i}" for i, v in enumerate(values)]))
    items = items.append_column("label.class", pa.array(values, pa.string()))
    head, columns = decoded(encode(STUDY, items).plain)
    (label,) = head["labels"]
    assert [label["values"][i] for i in columns["label.class"]] == values
    counts = [values.count(v) for v in label["values"]]
    assert counts == sorted(counts, reverse=True)
    assert head["ids"] == items["id"].to_pylist()


def test_stages_that_do_not_exist_and_items_that_were_no_queries_are_left_out():
    rng = np.random.default_rng(1)
    asked = np.array([np.nan, 0.25, np.nan, 1.0], np.float32)
    items = table(4, rng, ap_today=asked, hit_today=np.array([np.nan, 0, np.nan, 1], np.float32))
    items = items.set_column(
        items.column_names.index("overlap"), "overlap", pa.array([0.1, None, float("nan"), 1.0], pa.float32())
    )
    head, columns = decoded(encode(STUDY, items).plain)
    assert head["queries"] == 2
    assert columns["query"].tolist() == [1, 3]
    assert columns["ap_today"].tolist() == [0.25, 1.0]
    assert columns["hit_today"].tolist() == [0, 1]
    assert not {"ap_upgraded", "ap_backfilled", "hit_upgraded"} & set(columns)
    assert columns["overlap"].tolist() == [20, 255, 255, 200]


def test_whole_numbers_beyond_a_browsers_are_told_as_text():
    large = 2**63 - 1
    items = table(2, np.random.default_rng(2), id=pa.array([large, -1]))
    items = items.append_column("label.class", pa.array([large, large]))
    head, _ = decoded(encode(STUDY, items).plain)
    assert head["ids"] == [str(large), "-1"]
    assert head["labels"][0]["values"] == [str(large)]


def test_fifty_thousand_items_with_long_ids_stay_small():
    rng = np.random.default_rng(3)
    n = 50_000
    ids = [rng.bytes(18).hex() for _ in range(n)]
    people = rng.integers(400, size=n).astype(str)
    items = table(n, rng, id=pa.array(ids)).append_column("label.person", pa.array(people))
    made = encode(STUDY, items)
    assert len(made.plain) < 3_000_000
    assert len(made.packed) < 0.75 * len(made.plain)
    _, columns = decoded(made.plain)
    assert columns["label.person"].dtype == np.uint16


def test_whoever_takes_gzip_gets_the_same_by_gzip(registry, study):
    client = create_app(registry).test_client()
    plain, packed = client.get(path_of(study)), client.get(path_of(study), headers={"Accept-Encoding": "br, gzip"})
    refused = client.get(path_of(study), headers={"Accept-Encoding": "gzip;q=0"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data == refused.data
    assert "Content-Encoding" not in plain.headers
    assert "Accept-Encoding" in plain.headers["Vary"]


def test_a_browser_asks_again_and_gets_no_bytes_twice(registry, study):
    client = create_app(registry).test_client()
    first = client.get(path_of(study), headers={"Accept-Encoding": "gzip"})
    again = client.get(path_of(study), headers={"Accept-Encoding": "gzip", "If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert first.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize("id", ["study-0", "..", "%00", "<script>alert(1)</script>", "x" * 5000])
def test_an_unknown_study_is_told(registry, id):
    answer = create_app(registry).test_client().get(f"/studies/{id}/points")
    assert answer.status_code == 404
    assert "<script>" not in answer.text


def test_an_unknown_parameter_is_told(registry, study):
    answer = create_app(registry).test_client().get(f"{path_of(study)}?part=1")
    assert answer.status_code == 400
    assert "this address takes none" in answer.text


def test_a_token_needs_both_models_and_the_benchmark(folder, study, tmp_path):
    with connect(shutil.copytree(folder, tmp_path / "home")) as registry:
        app = create_app(registry)
        scopes = (
            ({"models": ["shoes"]}, 403),
            ({"models": ["boots"]}, 403),
            ({"galleries": ["elsewhere"]}, 403),
            ({"models": ["shoes", "boots"], "galleries": [BENCHMARK]}, 200),
        )
        for number, (scope, status) in enumerate(scopes):
            secret = registry.create_token(f"t{number}", role="reader", **scope)[1]
            answer = sign_in(app.test_client(), secret).get(path_of(study))
            assert answer.status_code == status, scope
            assert (b"item/2" in answer.data) == (status == 200)
        first = sign_in(app.test_client(), registry.create_token("all", role="reader")[1]).get(path_of(study))
        narrow = sign_in(app.test_client(), registry.create_token("narrow", role="reader", models=["shoes"])[1])
        assert narrow.get(path_of(study), headers={"If-None-Match": first.headers["ETag"]}).status_code == 403
        assert app.test_client().get(path_of(study)).status_code == 303  # to the way in


def test_statements_do_not_grow_with_studies(folder, tmp_path):
    with connect(shutil.copytree(folder, tmp_path / "home")) as registry:
        client, asked = create_app(registry).test_client(), []
        event.listen(registry._home.database.engine, "before_cursor_execute", lambda *_: asked.append(1))
        counts = []
        for _ in range(2):
            found = registry.studies()[0]
            del asked[:]
            assert client.get(path_of(found)).status_code == 200
            counts.append(len(asked))
            registry.study(OLD, NEW, benchmark=BENCHMARK, label="class", seed=1)
        assert counts[0] == counts[1] <= 6


def test_answers_are_kept_up_to_a_limit_the_last_ones_asked_for():
    kept, made = Kept(most=1000), []

    def make(name):
        return lambda: made.append(name) or Points(bytes(300), bytes(100))

    for name in ("a", "b", "a", "c", "a", "b"):
        kept.get(name, make(name))
    assert made == ["a", "b", "c", "b"]  # two fit: b was the one not asked for
