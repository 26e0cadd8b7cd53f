"""Who may do what over the API: each route's role, tokens for some models and galleries only, and who the audit log names."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from registry import connect, wire
from registry.transforms import Prefix
from web import create_app

READS = {  # what a reader may send a body to
    "/api/v1/galleries/{name}/fetch",
    "/api/v1/galleries/{name}/search",
    "/api/v1/galleries/{name}/previews/fetch",
    "/api/v1/convert",
}
ADMIN = {
    "/api/v1/tokens",
    "/api/v1/tokens/{name}",
    "/api/v1/webhooks",
    "/api/v1/webhooks/{name}",
    "/api/v1/deliveries",
    "/api/v1/galleries/{name}/attach",
    "/api/v1/galleries/{name}/detach",
}
PATHS = {"model": "shoes", "number": "1", "alias": "live", "name": "open", "id": "prefix-0"}
REF = {
    "ref": "shoes/1",
    "version": "shoes/1",
    "source": "shoes/2",
    "target": "shoes/1",
    "into": "shoes/1",
    "start": 0,
    "stop": 1,
}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    home = tmp_path_factory.mktemp("roles") / "home"
    with connect(home) as reg:
        rng = np.random.default_rng(0)
        for model in ("shoes", "hats"):
            reg.register_version(model, dim=4)
            reg.register_version(model, dim=8, parent=f"{model}/1")
            reg.add_transform(Prefix(from_dim=8, to_dim=4), source=f"{model}/2", target=f"{model}/1")
        label = np.arange(12) % 2
        for gallery, model in (("open", "shoes"), ("closed", "hats")):
            reg.create_gallery(gallery, id_type="int", labels=["class"])
            for number, dim in ((1, 4), (2, 8)):
                x = rng.standard_normal((12, dim)).astype("f4")
                reg.append(gallery, version=f"{model}/{number}", ids=np.arange(12), vectors=x, labels={"class": label})
            reg.evaluate(gallery)
        tokens = {role: reg.create_token(role, role=role)[1] for role in ("reader", "writer", "admin")}
        for role in ("reader", "writer"):
            tokens[f"shoes {role}"] = reg.create_token(
                f"shoes-{role}", role=role, models=["shoes"], galleries=["open"]
            )[1]
        made = create_app(reg)
        made.tokens = tokens
        yield made


@pytest.fixture
def ask(app):
    """`ask(who, method, path, …)`: the answer to somebody's request."""
    client = app.test_client()

    def send(who, method, path, **more):
        headers = {"Authorization": f"Bearer {app.tokens[who]}"} if who else {}
        return client.open(f"/api/v1{path}", method=method, headers=headers, **more)

    return send


def arrow(**columns):
    batch = pa.record_batch(columns)
    return {"data": b"".join(wire.write(batch.schema, [(batch, {})])), "content_type": wire.ARROW}


def operations(app):
    spec = (
        app.test_client().get("/api/v1/openapi.json", headers={"Authorization": f"Bearer {app.tokens['admin']}"}).json
    )
    return [(path, method.upper(), found) for path, item in spec["paths"].items() for method, found in item.items()]


def sample(path, operation):
    """A request that passes the checks of its form, so that what refuses it is the role."""
    query = {
        p["name"]: REF.get(p["name"], "open")
        for p in operation.get("parameters", ())
        if p["in"] == "query" and p.get("required")
    }
    body = {}
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        name = content["schema"].get("$ref", "").rsplit("/", 1)[-1]
        body = {"json": JSON[name]} if kind == "application/json" else {"data": b"", "content_type": kind}
    return {"query_string": query, **body}


JSON = {
    "NewVersion": {"dim": 4}, "Alias": {"number": 1}, "NewTag": {"key": "a", "value": "b"}, "NewGallery": {"name": "new"},
    "NewAnchors": {"name": "new", "gallery": "open", "ids": [1, 2]}, "Measure": {"benchmark": "open"},
    "NewStudy": {"old": "shoes/1", "new": "shoes/2", "benchmark": "open"},
    "NewBackfill": {"gallery": "open", "into": "shoes/2"}, "Runner": {"runner": "me"}, "Next": {"runner": "me"},
    "Leaving": {"runner": "me"}, "Drop": {"version": "shoes/1"}, "NewIndex": {"kind": "exact"},
    "NewCheck": {"deviation": 0, "tolerance": 0.01, "worst": "a"}, "PreviewUrl": {"url": None}, "Attach": {"version": "shoes/1", "again": True}, "Detach": {"version": "shoes/1"}, "NewToken": {"name": "new"}, "NewWebhook": {"name": "new", "url": "https://example.org/"},
}  # fmt: skip


def test_every_route_refuses_who_may_not(app, ask):
    tried = 0
    for path, method, operation in operations(app):
        address = path.removeprefix("/api/v1").format(**PATHS)
        assert ask(None, method, address, **sample(path, operation)).status_code == 401, (method, path)
        writes = method != "GET" and path not in READS
        lesser = ("reader", "writer") if path in ADMIN else ("reader",) if writes else ()
        for who in lesser:
            answer = ask(who, method, address, **sample(path, operation))
            assert (answer.status_code, answer.json["error"]["code"]) == (403, "not_allowed"), (method, path, who)
            tried += 1
    assert tried > 20


def test_a_limited_token_sees_what_it_covers_alone(ask):
    def names(path, field, key):
        return {item[key] for item in ask("shoes reader", "GET", path).json[field]}

    assert names("/models", "models", "name") == {"shoes"}
    assert names("/versions", "versions", "model") == {"shoes"}
    assert names("/galleries", "galleries", "name") == {"open"}
    assert names("/transforms", "transforms", "source") == {"shoes/2"}
    assert names("/evaluations", "evaluations", "benchmark") == {"open"}
    assert ask("shoes reader", "GET", "/changes").json["changes"] == []
    assert ask("reader", "GET", "/changes").json["changes"]


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("GET", "/version?ref=hats/1", {}),
        ("GET", "/versions/hats/1", {}),
        ("GET", "/space?name=hats/1[:2]", {}),
        ("GET", "/galleries/closed", {}),
        ("GET", "/galleries/closed/items", {}),
        ("GET", "/galleries/closed/item?id=1", {}),
        ("GET", "/galleries/closed/scan?into=shoes/1", {}),
        ("GET", "/galleries/open/scan?into=hats/1", {}),
        ("GET", "/galleries/open/shared?versions=shoes/1&versions=hats/1", {}),
        ("POST", "/galleries/closed/search?version=shoes/1", arrow(query=wire.vectors(np.ones((1, 4), "f4")))),
        ("POST", "/galleries/open/search?version=hats/1", arrow(query=wire.vectors(np.ones((1, 4), "f4")))),
        ("POST", "/galleries/closed/fetch?into=shoes/1", arrow(id=pa.array([1]))),
        ("POST", "/galleries/closed/previews/fetch", arrow(id=pa.array([1]))),
        ("POST", "/convert?source=shoes/1&into=hats/1", arrow(vector=wire.vectors(np.ones((1, 4), "f4")))),
        ("GET", "/matrix?benchmark=closed", {}),
        ("GET", "/compare?old=hats/1&new=shoes/1&benchmark=open", {}),
        ("GET", "/compare?old=shoes/1&new=shoes/2&benchmark=closed", {}),
    ],
)
def test_a_limited_token_reaches_nothing_else(ask, method, path, more):
    answer = ask("shoes reader", method, path, **more)
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "not_allowed"), answer.text


def test_a_limited_writer_writes_where_it_may_and_is_named(ask):
    x = wire.vectors(np.ones((1, 4), "f4"))
    body = arrow(id=pa.array([100]), vector=x, **{"class": pa.array([1])})
    assert ask("shoes writer", "POST", "/galleries/open/append?version=shoes/1", **body).json == {"rows": 1}
    change = ask("admin", "GET", "/changes?limit=1").json["changes"][0]
    assert (change["action"], change["who"]) == ("gallery.appended", "shoes-writer")
    for path in ("/galleries/closed/append?version=shoes/1", "/galleries/open/append?version=hats/1"):
        assert ask("shoes writer", "POST", path, **body).status_code == 403
    assert ask("shoes writer", "POST", "/galleries/closed/delete", **arrow(id=pa.array([1]))).status_code == 403
    pictures = arrow(id=pa.array([1]), preview=pa.array([b"GIF89a"]))
    assert ask("shoes writer", "POST", "/galleries/closed/previews", **pictures).status_code == 403
    url = {"url": "https://images.example/{id}"}
    assert ask("shoes writer", "PUT", "/galleries/closed/preview-url", json=url).status_code == 403
    assert ask("shoes writer", "POST", "/models/hats/versions", json={"dim": 4}).status_code == 403
    assert ask("shoes writer", "POST", "/galleries", json={"name": "new"}).status_code == 403
    assert ask("shoes writer", "POST", "/evaluations", json={"benchmark": "open"}).status_code == 403  # of all versions
    measured = ask(
        "shoes writer", "POST", "/evaluations", json={"benchmark": "open", "versions": ["shoes/1", "shoes/2"]}
    )
    assert b'"matrix"' in measured.data.splitlines()[-1]


def test_a_parent_or_a_transform_of_another_model_is_no_way_around(ask):
    taken = ask("shoes writer", "POST", "/models/shoes/versions", json={"dim": 4, "parent": "hats/1"})
    assert taken.status_code == 403
    listed = ask("reader", "GET", "/transforms").json["transforms"]
    (other,) = [t["id"] for t in listed if t["source"] == "hats/2"]
    assert ask("shoes reader", "GET", f"/transforms/{other}/file").status_code == 403


def test_an_admin_manages_tokens_and_webhooks(ask):
    made = ask("admin", "POST", "/tokens", json={"name": "guest", "expires_in_s": 3600})
    assert made.status_code == 201
    assert made.json["token"]["role"] == "reader"
    text = made.json["text"]
    listed = ask("admin", "GET", "/tokens")
    assert text not in listed.text
    assert ask("admin", "DELETE", "/tokens/guest").json["state"] == "revoked"
    private = ask("admin", "POST", "/webhooks", json={"name": "hook", "url": "http://10.0.0.1/"})
    assert (private.status_code, private.json["error"]["code"]) == (400, "invalid_input")
    assert ask("admin", "GET", "/webhooks").json["webhooks"] == []
