"""The JSON reads: what they hold, and what they refuse."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from registry.wire import to_json as encode

BENCHMARK = "digits-bench"


def get(client, path, **query):
    answer = client.get(f"/api/v1{path}", query_string=query)
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "application/json"
    return answer.json


def test_models_and_versions(client, registry):
    (model,) = get(client, "/models")["models"]
    assert (model["name"], model["versions"], model["aliases"]) == ("products", 4, {"champion": 2})
    versions = get(client, "/models/products/versions")["versions"]
    assert [v["ref"] for v in versions] == [f"products/{n}" for n in range(1, 5)]
    one = get(client, "/versions/products/2")
    assert one == versions[1]
    assert one["parent"] == "products/1"
    assert one["aliases"] == ["champion"]
    assert one["tags"]["note"].startswith("<script>")
    assert datetime.fromisoformat(one["created_at"]) == registry.version("products/2").created_at


def test_galleries(client):
    bench, catalog = sorted(get(client, "/galleries")["galleries"], key=lambda g: g["name"] != BENCHMARK)
    assert bench["is_benchmark"]
    assert not catalog["is_benchmark"]
    assert get(client, f"/galleries/{BENCHMARK}") == bench
    assert [s["version"] for s in bench["segments"]] == [f"products/{n}" for n in range(1, 5)]


def test_transforms_and_anchor_sets(client, registry):
    assert [t["id"] for t in get(client, "/transforms")["transforms"]] == [t.id for t in registry.transforms()]
    (anchors,) = get(client, "/anchor-sets")["anchor_sets"]
    assert (anchors["space"], anchors["size"]) == ("relative/landmarks", 10)


def test_evidence(client, registry):
    assert len(get(client, "/evaluations")["evaluations"]) == len(registry.evaluations())
    found = get(client, "/evaluations", benchmark=BENCHMARK, metric="mrr", label="class")["evaluations"]
    assert {e["metric"] for e in found} == {"mrr"}
    matrix = get(client, "/matrix", benchmark=BENCHMARK)
    assert matrix["metric"] == "map"
    assert matrix == encode(registry.matrix(BENCHMARK))
    compared = get(client, "/compare", old="products/1", new="products@champion", benchmark=BENCHMARK)
    assert compared["new"] == "products/2"
    assert compared["advice"] == registry.compare("products/1", "products/2").advice


def test_changes(client):
    assert len(get(client, "/changes", limit=3)["changes"]) == 3
    assert get(client, "/changes")["changes"][0]["action"] == "benchmark.evaluated"


@pytest.mark.parametrize(
    ("path", "status", "code", "says"),
    [
        ("/changes?limit=0", 400, "invalid_input", "1 to 1000"),
        ("/changes?limit=1001", 400, "invalid_input", "1 to 1000"),
        ("/changes?limit=²", 400, "invalid_input", "limit"),
        ("/changes?limit=1&limit=2", 400, "invalid_input", "2 times"),
        ("/models?page=2", 400, "invalid_input", "'page'"),
        ("/matrix", 400, "invalid_input", "'benchmark' is missing"),
        ("/matrix?benchmark=digits-bench&metric=nope", 400, "invalid_input", "cmc@1"),
        ("/matrix?benchmark=digits-bench&label=nope", 404, "not_found", "label column"),
        ("/matrix?benchmark=catalog", 400, "invalid_input", "no labels"),
        ("/matrix?benchmark=nope", 404, "not_found", "nope"),
        ("/evaluations?benchmrak=x", 400, "invalid_input", "benchmark, metric, label"),
        ("/compare?old=products/1", 400, "invalid_input", "'new' is missing"),
        ("/compare?old=products/1&new=products/1", 400, "invalid_input", "two versions"),
        ("/compare?old=products&new=products/1", 400, "bad_name", "products"),
        ("/compare?old=products/9&new=products/1", 404, "not_found", "products/9"),
        ("/models/nope/versions", 404, "not_found", "nope"),
        ("/models/NOPE/versions", 400, "bad_name", "NOPE"),
        ("/versions/products/9", 404, "not_found", "products/9"),
        ("/versions/products/0", 400, "bad_name", "products/0"),
        ("/versions/products/two", 404, "not_found", ""),
        ("/galleries/nope", 404, "not_found", "nope"),
        ("/nothing", 404, "not_found", ""),
    ],
)
def test_refusals(client, path, status, code, says):
    answer = client.get(f"/api/v1{path}")
    assert answer.status_code == status
    assert answer.json["error"]["code"] == code
    assert says in answer.json["error"]["message"]


def test_only_reads(client):
    answer = client.post("/api/v1/models")
    assert answer.status_code == 405
    assert answer.json["error"]["code"] == "method_not_allowed"
    assert "GET" in answer.headers["Allow"]


def test_encoding():
    at = datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert encode(at) == "2025-01-02T01:04:05Z"
    assert datetime.fromisoformat(encode(at)) == at.astimezone(UTC)
    assert encode({"a": (1, math.nan, math.inf)}) == {"a": [1, None, None]}
