"""The page: what it shows, what it escapes, what it says where there is nothing, and what it costs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sqlalchemy import event

from registry import connect, errors
from registry.types import Evaluation, Matrix
from web import assets, create_app
from web.errors import STATUS, status_of
from web.formats import details, points
from web.matrices import cells
from web.upgrades import PAIRS_SHOWN, pairs

BENCHMARK = "digits-bench"


class Spy:
    """A registry that counts the calls it passes on."""

    def __init__(self, registry):
        self.registry, self.calls = registry, Counter()

    def __getattr__(self, name):
        self.calls[name] += 1
        return getattr(self.registry, name)


def test_shows_the_matrix_with_marks_words_values_and_paths(client):
    page = client.get(f"/?benchmark={BENCHMARK}&metric=map")
    assert page.status_code == 200
    for said in ("✓", "compatible", "✗", "incompatible", "own space", "no path", "naive control", "higher is better"):
        assert said in page.text
    assert "prefix, on the query" in page.text
    assert "orthogonal, on the query" in page.text


def test_values_are_those_of_the_registry(client, registry):
    cell = registry.matrix(BENCHMARK, metric="cmc@1").cell("products/2", "products/1")
    page = client.get("/", query_string={"benchmark": BENCHMARK, "metric": "cmc@1"}).text
    assert f'<span class="value">{100 * cell.value:.1f}</span>' in page
    assert f"{100 * cell.low:.1f} – {100 * cell.high:.1f}" in page
    assert '<option value="cmc@1" selected>' in page


def test_advice_is_that_of_compare(client, registry):
    page = client.get("/").text
    for old, new in (("products/1", "products/2"), ("products/1", "products/3"), ("products/2", "products/4")):
        assert registry.compare(old, new, benchmark=BENCHMARK).advice in page


def test_names_every_object(client, registry):
    page = client.get("/").text
    for version in registry.versions():
        assert f'id="{version.ref}"' in page
        assert version.fingerprint[:12] in page
    for said in ("@champion", "8f1c2d3e4a5b", BENCHMARK, "catalog", "relative/landmarks", "benchmark.evaluated"):
        assert said in page
    for transform in registry.transforms():
        assert transform.id in page


def test_user_input_is_escaped(client):
    page = client.get("/").text
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "style=" not in page
    missing = client.get("/", query_string={"benchmark": "<script>alert(1)</script>"})
    assert missing.status_code == 404
    assert "<script>" not in missing.text


def test_an_unknown_metric_is_told(client):
    page = client.get("/?metric=nope")
    assert page.status_code == 400
    assert "cmc@1" in page.text


def test_empty_states_name_the_command(empty):
    page = empty.get("/")
    assert page.status_code == 200
    for said in ("samespace demo", "samespace evaluate BENCHMARK", "samespace fit orthogonal", "samespace train"):
        assert said in page.text


def test_a_benchmark_without_evidence_names_the_command(tmp_path):
    with connect(tmp_path / "home") as registry:
        registry.create_gallery("fresh", labels=["class"])
        assert "samespace evaluate fresh" in create_app(registry).test_client().get("/").text


def test_the_label_column_is_chosen_and_one_of_another_benchmark_means_the_first(tmp_path):
    with connect(tmp_path / "home") as registry:
        registry.create_gallery("shop", labels=["product", "category"])
        client = create_app(registry).test_client()
        assert "samespace evaluate shop --label category" in client.get("/?benchmark=shop&label=category").text
        assert '<option value="product" selected>' in client.get("/?benchmark=shop&label=class").text


def test_a_gallery_without_labels_is_no_benchmark(client):
    page = client.get("/?benchmark=catalog")
    assert page.status_code == 400
    assert "has no labels" in page.text


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/api/v1/models", "/api/v1/nothing", f"{assets.prefix()}/css/base.css"]
)
def test_every_answer_is_hardened(client, path):
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_a_missing_page_is_a_page(client):
    page = client.get("/nothing")
    assert page.status_code == 404
    assert page.mimetype == "text/html"
    assert "Not Found" in page.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8321", "a b"])
def test_other_hosts_are_refused(client, host):
    assert client.get("/api/v1/models", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:8321", "127.0.0.1", "[::1]:8321"])
def test_this_machine_is_served(client, host):
    assert client.get("/api/v1/models", headers={"Host": host}).status_code == 200


def every_error():
    found = [errors.SamespaceError]
    for cls in found:
        found += cls.__subclasses__()
    return [cls for cls in found if cls.__module__ == errors.__name__]


@pytest.mark.parametrize("cls", every_error())
def test_every_error_has_a_status(cls):
    assert cls in STATUS
    assert status_of(cls("x")) == STATUS[cls]


def test_a_newer_error_takes_the_status_above_it():
    class Newer(errors.NotFound):
        pass

    assert status_of(Newer("x")) == 404


@pytest.mark.parametrize("path", ["/", "/api/v1/models", "/readyz"])
def test_an_unexpected_failure_tells_no_details(path):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("secret")

    answer = create_app(Broken()).test_client().get(path)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Content-Security-Policy" in answer.headers


def test_an_unreachable_store_asks_to_come_back():
    class Down:
        def __getattr__(self, name):
            raise errors.Unavailable("the database did not answer")

    answer = create_app(Down()).test_client().get("/api/v1/models")
    assert answer.status_code == 503
    error = answer.json["error"]
    assert (error["code"], error["message"]) == ("unavailable", "the database did not answer")
    assert error["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["Retry-After"]


def test_each_list_is_asked_for_once(registry):
    spy = Spy(registry)
    create_app(spy).test_client().get("/")
    upgrades = spy.calls.pop("compare")
    assert upgrades == 6
    assert set(spy.calls.values()) == {1}


def test_statements_do_not_grow_with_rows(tmp_path):
    with connect(tmp_path / "home") as registry:
        client, statements = create_app(registry).test_client(), []
        event.listen(registry._home.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

        def add(model):
            registry.register_version(model, dim=4, tags={"a": "b"})
            registry.create_gallery(f"gallery-{model}")
            registry.append(f"gallery-{model}", version=f"{model}/1", ids=["a"], vectors=np.ones((1, 4)))

        counts = []
        for block in (range(2), range(2, 30)):
            for i in block:
                add(f"model-{i}")
            statements.clear()
            assert client.get("/").status_code == 200
            counts.append(len(statements))
        assert counts[0] == counts[1]


def evaluation(query, gallery, **given):
    facts = {
        "benchmark": "b", "label": "class", "metric": "map", "query": query, "gallery": gallery, "role": "path", "query_path": ("t",),
        "gallery_path": (), "kinds": ("affine",), "value": 0.5, "low": 0.4, "high": 0.6, "gain": 0.0, "gain_low": -0.1,
        "gain_high": 0.1, "verdict": "inconclusive", "queries": 9, "items": 9, "seed": 0, "measurement": "m", "created_at": None,
    }  # fmt: skip
    return Evaluation(**{**facts, **given})


def test_the_naive_control_is_never_the_answer():
    naive = evaluation("m/2", "m/1", role="naive", value=0.9, verdict="compatible", kinds=(), query_path=())
    ((_, (own, _)), (_, (cell, _))) = cells(Matrix("b", "class", "map", ("m/1", "m/2"), (naive,)))
    assert (cell.state, cell.best, cell.others) == ("nopath", None, (naive,))
    assert own.state == "unmeasured"


def test_pairs_go_from_older_to_newer_the_newest_first(registry):
    matrix = registry.matrix(BENCHMARK)
    found = pairs(matrix, registry.versions())
    assert found[0] == ("products/3", "products/4")
    assert found[-1] == ("products/1", "products/2")
    assert len(found) == 6


def test_many_pairs_are_cut_and_it_is_said(registry):
    asked = []

    class Many(Spy):
        def compare(self, old, new, *, benchmark, label):
            asked.append((old, new))
            return self.registry.compare("products/1", "products/2", benchmark=benchmark)

        def versions(self):
            first = self.registry.versions()[0]
            return [type(first)(**{**facts(first), "number": n}) for n in range(1, 9)]

        def matrix(self, benchmark, *, metric, label):
            refs = tuple(f"products/{n}" for n in range(1, 9))
            return Matrix(
                benchmark, "class", metric, refs, tuple(evaluation(q, g) for q in refs for g in refs if q != g)
            )

    page = create_app(Many(registry)).test_client().get(f"/?benchmark={BENCHMARK}").text
    assert len(asked) == PAIRS_SHOWN
    assert f"the {PAIRS_SHOWN} newest of 28 measured pairs" in page
    assert asked[0] == ("products/7", "products/8")


def facts(value):
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def test_written_numbers():
    assert [points(x) for x in (0.0213, -0.0213, 0.0001, -0.0001)] == ["+2.1", "−2.1", "0.0", "0.0"]
    assert details({"from": None, "to": 2, "label_columns": ["a", "b"]}) == "to 2 · label columns a, b"
