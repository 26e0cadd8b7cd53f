"""What a token covers, at every address there is: a registry of two sides, and tokens that cover the one alone.

Everything of the other side has `covert` in its name, so that no answer can tell of it unnoticed. An address that is new
fails here until `CALLS` says how it is called.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlencode

import pytest

from registry import connect
from tests.web.conftest import sign_in
from tests.web.sides import filled
from web import create_app

OPEN = {"static", "health.healthz", "health.readyz", "health.metrics", "login.page", "api.openapi", "api.browse"}
"""Addresses that say nothing of what is stored."""

ADMIN = {
    "pages.settings", "pages.tokens", "pages.ask_to_revoke", "pages.webhooks", "pages.ask_to_remove", "api.tokens",
    "api.webhooks", "api.deliveries",
}  # fmt: skip

CALLS = {
    "pages.index": [lambda s: "/"],
    "pages.changes": [lambda s: "/changes", lambda s: at("/changes", subject=f"{s.model}*")],
    "pages.models": [lambda s: "/models", lambda s: at("/models", q=s.name)],
    "pages.model": [
        lambda s: f"/models/{s.model}",
        lambda s: at(f"/models/{s.model}", benchmark=s.bench, label=s.label),
    ],
    "pages.galleries": [lambda s: "/galleries", lambda s: at("/galleries", q=s.name, benchmarks=1)],
    "pages.gallery": [
        lambda s: f"/galleries/{s.bench}",
        lambda s: f"/galleries/{s.shelf}",
        lambda s: at(f"/galleries/{s.bench}", label=s.label, value=f"{s.name}value-1"),
    ],
    "pages.preview": [lambda s: at(f"/galleries/{s.shelf}/items/preview", id=s.items(s.shelf)[0])],
    "pages.search": [
        lambda s: f"/galleries/{s.bench}/search",
        lambda s: f"/galleries/{s.shelf}/search",
        lambda s: at(f"/galleries/{s.shelf}/search", old=f"{s.model}/1", new=f"{s.model}/2", k=30),
        lambda s: at(
            f"/galleries/{s.shelf}/search",
            old=f"{s.model}/1",
            new=f"{s.model}@{s.alias}",
            id=s.items(s.bench)[0],
            **{"from": s.bench},
        ),
    ],
    "pages.compare": [
        lambda s: "/compare",
        lambda s: at("/compare", old=f"{s.model}/1"),
        lambda s: at("/compare", old=f"{s.model}/1", new=f"{s.model}/2"),
        lambda s: at("/compare", old=f"{s.model}/1", new=f"{s.model}/2", benchmark=s.bench, label=s.label),
        lambda s: at("/compare", old=f"{s.model}/2", new=f"{s.model}/1"),
    ],
    "pages.compare_groups": [lambda s: at("/compare/groups.csv", old=f"{s.model}/1", new=f"{s.model}/2", benchmark=s.bench)],
    "pages.compare_items": [lambda s: at("/compare/items.csv", old=f"{s.model}/1", new=f"{s.model}/2", benchmark=s.bench)],
    "pages.points": [lambda s: f"/studies/{s.ids['study']}/points"],
    "pages.matrix": [lambda s: "/matrix", lambda s: at("/matrix", benchmark=s.bench), lambda s: at("/matrix", model=s.model)],
    "pages.matrix_file": [lambda s: "/matrix.csv", lambda s: at("/matrix.csv", benchmark=s.bench, versions=f"{s.model}/1,{s.model}/2")],
    "pages.runs": [lambda s: "/runs", lambda s: at("/runs", status="FINISHED")],
    "pages.run": [lambda s: f"/runs/{s.ids['run']}"],
    "pages.transform": [lambda s: f"/transforms/{s.ids['transform']}"],
    "pages.anchors": [lambda s: f"/anchors/{s.anchors}"],
    "api.anchor_sets": [lambda s: "/api/v1/anchor-sets"],
    "api.evaluations": [lambda s: "/api/v1/evaluations", lambda s: at("/api/v1/evaluations", benchmark=s.bench)],
    "api.matrix": [lambda s: at("/api/v1/matrix", benchmark=s.bench)],
    "api.compare": [
        lambda s: at("/api/v1/compare", old=f"{s.model}/1", new=f"{s.model}/2"),
        lambda s: at("/api/v1/compare", old=f"{s.model}/1", new=f"{s.model}/2", benchmark=s.bench),
    ],
    "api.changes": [lambda s: "/api/v1/changes"],
    "api.galleries": [lambda s: "/api/v1/galleries"],
    "api.gallery": [lambda s: f"/api/v1/galleries/{s.bench}"],
    "api.items": [lambda s: at(f"/api/v1/galleries/{s.shelf}/items", previews="true")],
    "api.item": [lambda s: at(f"/api/v1/galleries/{s.bench}/item", id=s.items(s.bench)[0])],
    "api.models": [lambda s: "/api/v1/models", lambda s: "/api/v1/models?limit=1"],
    "api.versions": [lambda s: "/api/v1/versions"],
    "api.versions_of": [lambda s: f"/api/v1/models/{s.model}/versions"],
    "api.numbered": [lambda s: f"/api/v1/versions/{s.model}/2"],
    "api.version": [lambda s: at("/api/v1/version", ref=f"{s.model}@{s.alias}")],
    "api.space": [
        lambda s: at("/api/v1/space", name=f"{s.model}/2[:4]"),
        lambda s: at("/api/v1/space", name=f"relative/{s.anchors}"),
    ],
    "api.encoder_checks": [lambda s: "/api/v1/encoder-checks", lambda s: at("/api/v1/encoder-checks", ref=f"{s.model}/1")],
    "api.get_canaries": [lambda s: at("/api/v1/version/canaries", ref=f"{s.model}/1")],
    "api.counts": [lambda s: "/api/v1/counts"],
    "api.decisions": [lambda s: "/api/v1/decisions"],
    "api.upgrades": [lambda s: "/api/v1/upgrades"],
    "api.about": [lambda s: "/api/v1/about"],
    "api.studies": [lambda s: "/api/v1/studies", lambda s: at("/api/v1/studies", benchmark=s.bench)],
    "api.stored_study": [lambda s: f"/api/v1/studies/{s.ids['study']}"],
    "api.study_items": [lambda s: f"/api/v1/studies/{s.ids['study']}/items"],
    "api.transforms": [lambda s: "/api/v1/transforms", lambda s: at("/api/v1/transforms", model=s.model)],
    "api.transform_file": [lambda s: f"/api/v1/transforms/{s.ids['transform']}/file"],
    "api.scan": [lambda s: at(f"/api/v1/galleries/{s.shelf}/scan", into=f"{s.model}/1", allow_unmeasured="true")],
    "api.shared": [lambda s: at(f"/api/v1/galleries/{s.bench}/shared", versions=f"{s.model}/1")],
    "api.shared_items": [lambda s: at(f"/api/v1/galleries/{s.bench}/shared/items", versions=f"{s.model}/1", label=s.label)],
}  # fmt: skip


def at(path, **parameters):
    return f"{path}?{urlencode(parameters)}"


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """The app over both sides, the sides, and a client of a token of the open one: all of it, its model, its galleries."""
    with connect(tmp_path_factory.mktemp("scopes") / "home") as registry:
        opened, covert = filled(registry)
        app = create_app(registry)
        mine = {"models": [opened.model], "galleries": [opened.bench, opened.shelf]}
        kept = {"both": mine, "models": {"models": mine["models"]}, "galleries": {"galleries": mine["galleries"]}}
        clients = {}
        for name, scopes in kept.items():
            text = registry.create_token(f"of-{name}", **scopes)[1]
            clients[name] = sign_in(app.test_client(), text)
            clients[name].environ_base["HTTP_AUTHORIZATION"] = f"Bearer {text}"
        yield app, opened, covert, clients


def routes(app):
    return {rule.endpoint for rule in app.url_map.iter_rules() if "GET" in rule.methods}


def test_every_address_is_tried(sides):
    assert routes(sides[0]) == {*CALLS, *OPEN, *ADMIN}


def hidden(covert, scope):
    """What no answer to a token of this scope may hold."""
    of_models = [covert.model, covert.alias, covert.ids["run"], covert.ids["bridge"], covert.ids["across"], covert.ids["study"], covert.ids["transform"]]
    of_galleries = [covert.bench, covert.shelf, covert.anchors, covert.ids["study"]]
    return {"both": ["covert", *of_models], "models": of_models, "galleries": of_galleries}[scope]


@pytest.mark.parametrize("scope", ["both", "models", "galleries"])
def test_what_is_covered_is_shown_and_nothing_else(sides, scope):
    app, opened, covert, clients = sides
    found = []
    for endpoint, calls in CALLS.items():
        for call in calls:
            path = call(opened)
            answer = clients[scope].get(path)
            may = {200} | ({403} if endpoint == "api.counts" else set()) | (
                {403} if scope == "galleries" and endpoint == "pages.run" else set())
            if answer.status_code not in may:
                found.append((path, answer.status_code, re.sub(r"<[^>]+>|\s+", " ", answer.text)[-300:]))
            for word in hidden(covert, scope):
                i = answer.data.find(word.encode())
                if i >= 0:
                    found.append((path, word, answer.data[max(i - 200, 0) : i + 100]))
    for f in found: print(f)
    assert not found


def test_what_is_not_covered_is_refused_and_tells_nothing(sides):
    """Not even by its refusal: that holds what was asked for, and no other name."""
    app, opened, covert, clients = sides
    found = []
    for endpoint, calls in CALLS.items():
        for call in calls:
            path = call(covert)
            if path == call(opened):
                continue
            answer = clients["both"].get(path)
            said = answer.data
            for word in sorted(re.findall(r"[\w-]+", unquote(path)), key=len, reverse=True):
                if "covert" in word:
                    said = said.replace(word.encode(), b"")
            if answer.status_code not in (200, 403, 404) :
                found.append((path, answer.status_code, answer.text[-300:]))
            if answer.status_code == 200:
                print(path)
            for word in hidden(covert, "both"):
                i = said.find(word.encode())
                if i >= 0:
                    found.append((path, answer.status_code, word, said[max(i - 200, 0) : i + 100]))
    for f in found: print(f)
    assert not found


@pytest.mark.parametrize("endpoint", sorted(ADMIN))
def test_what_is_for_admins_is_refused(sides, endpoint):
    app, _, covert, clients = sides
    (rule,) = [r for r in app.url_map.iter_rules(endpoint) if "GET" in r.methods]
    answer = clients["both"].get(rule.rule.replace("<name>", "of-both"))
    assert answer.status_code == 403
    assert "covert" not in answer.text
