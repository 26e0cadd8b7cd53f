"""The description of the API is true: every route is in it, and what schemathesis makes of it is answered as it says."""

from __future__ import annotations

import re

import pytest

from bench.described import described, explore
from bench.hostility import fill
from registry import connect
from web import create_app


@pytest.fixture
def app(tmp_path):
    """The application over a small registry that a test may change."""
    with connect(tmp_path / "home") as registry:
        fill(registry)
        yield create_app(registry)


def operations(document):
    return [(method, path, operation) for path, item in document["paths"].items() for method, operation in item.items()]


def test_it_is_valid_openapi(app):
    found = described(app)
    found.validate()
    assert found.raw_schema["openapi"].startswith("3.1")


def test_every_route_is_in_it_but_its_own(app):
    routes = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    document = app.test_client().get("/api/v1/openapi.json").json
    listed = {(method, path) for method, path, _ in operations(document)}
    assert routes - listed == {("get", "/api/v1/"), ("get", "/api/v1/openapi.json")}
    assert listed <= routes


def test_every_operation_says_what_it_does_and_how_it_fails(app):
    document = app.test_client().get("/api/v1/openapi.json").json
    for method, path, operation in operations(document):
        at = f"{method} {path}"
        assert operation["summary"].endswith("."), at
        assert operation["tags"], at
        failures = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"400", "401", "403", "404", "413", "429", "500", "503"} <= set(failures), at
        for answer in failures.values():
            assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/Problem"), at
        assert any(status < "300" for status in operation["responses"]), at


def test_answers_are_as_it_says(app):
    statuses = explore(app, 4)
    assert sum(statuses.values()) > 200
    assert {200, 400, 404} <= set(statuses)
    assert max(statuses) < 500


def test_the_page_shows_every_operation(app):
    client = app.test_client()
    page = client.get("/api/v1/")
    assert page.status_code == 200 and page.mimetype == "text/html"
    found = operations(client.get("/api/v1/openapi.json").json)
    assert page.text.count('<details class="operation"') == len(found)
    said = re.sub(r"<wbr>", "", page.text)
    for method, path, _ in found:
        assert f">{method.upper()}</span> <code>{path}</code>" in said
