"""What a token covers, at every address there is: a registry of two sides, and tokens that cover the one alone.

Everything of the other side has `covert` in its name, so that no answer can tell of it unnoticed. An address that is new
fails here until `CALLS` says how it is called.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from contextlib import suppress
from urllib.parse import unquote, urlencode

import pytest

from registry import connect
from tests.web.conftest import csrf_of, sign_in
from tests.web.sides import filled
from web import create_app

OPEN = {"static", "health.healthz", "health.readyz", "health.metrics", "login.page", "api.openapi", "api.browse"}
"""Addresses that say nothing of what is stored."""

ADMIN = {
    "pages.settings", "pages.tokens", "pages.ask_to_revoke", "pages.webhooks", "pages.ask_to_remove", "api.tokens",
    "api.webhooks", "api.deliveries",
}  # fmt: skip

SEARCHES = {"pages.changes", "pages.models", "pages.galleries", "pages.compare"}
"""Addresses that look for what is asked, or only fill it into a form, and find nothing of another side."""

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
    "pages.backfills": [lambda s: "/backfills", lambda s: at("/backfills", gallery=s.shelf)],
    "pages.backfill": [lambda s: f"/backfills/{s.ids['backfill']}"],
    "pages.ask_to_roll_back": [lambda s: f"/backfills/{s.ids['backfill']}/rollback"],
    "api.backfills": [lambda s: "/api/v1/backfills", lambda s: "/api/v1/backfills?limit=1", lambda s: at("/api/v1/backfills", gallery=s.shelf)],
    "api.backfill": [lambda s: f"/api/v1/backfills/{s.ids['backfill']}"],
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
    "api.anchor_sets": [lambda s: "/api/v1/anchor-sets", lambda s: "/api/v1/anchor-sets?limit=1"],
    "api.evaluations": [lambda s: "/api/v1/evaluations", lambda s: "/api/v1/evaluations?limit=1", lambda s: at("/api/v1/evaluations", benchmark=s.bench)],
    "api.matrix": [lambda s: at("/api/v1/matrix", benchmark=s.bench)],
    "api.compare": [
        lambda s: at("/api/v1/compare", old=f"{s.model}/1", new=f"{s.model}/2", benchmark=s.bench),
    ],
    "api.changes": [lambda s: "/api/v1/changes"],
    "api.galleries": [lambda s: "/api/v1/galleries", lambda s: "/api/v1/galleries?limit=1"],
    "api.gallery": [lambda s: f"/api/v1/galleries/{s.bench}"],
    "api.indexes": [lambda s: "/api/v1/indexes"],
    "api.gallery_indexes": [lambda s: f"/api/v1/galleries/{s.shelf}/indexes"],
    "api.items": [lambda s: at(f"/api/v1/galleries/{s.shelf}/items", previews="true")],
    "api.item": [lambda s: at(f"/api/v1/galleries/{s.bench}/item", id=s.items(s.bench)[0])],
    "api.models": [lambda s: "/api/v1/models", lambda s: "/api/v1/models?limit=1"],
    "api.versions": [lambda s: "/api/v1/versions", lambda s: "/api/v1/versions?limit=1"],
    "api.versions_of": [lambda s: f"/api/v1/models/{s.model}/versions"],
    "api.numbered": [lambda s: f"/api/v1/versions/{s.model}/2"],
    "api.version": [lambda s: at("/api/v1/version", ref=f"{s.model}@{s.alias}")],
    "api.space": [
        lambda s: at("/api/v1/space", name=f"{s.model}/2[:4]"),
        lambda s: at("/api/v1/space", name=f"relative/{s.anchors}"),
    ],
    "api.encoder_checks": [lambda s: "/api/v1/encoder-checks", lambda s: "/api/v1/encoder-checks?limit=1", lambda s: at("/api/v1/encoder-checks", ref=f"{s.model}/1")],
    "api.get_canaries": [lambda s: at("/api/v1/version/canaries", ref=f"{s.model}/1")],
    "api.counts": [lambda s: "/api/v1/counts"],
    "api.decisions": [lambda s: "/api/v1/decisions"],
    "api.upgrades": [lambda s: "/api/v1/upgrades"],
    "api.about": [lambda s: "/api/v1/about"],
    "api.studies": [lambda s: "/api/v1/studies", lambda s: at("/api/v1/studies", benchmark=s.bench)],
    "api.stored_study": [lambda s: f"/api/v1/studies/{s.ids['study']}"],
    "api.study_items": [lambda s: f"/api/v1/studies/{s.ids['study']}/items"],
    "api.transforms": [lambda s: "/api/v1/transforms", lambda s: "/api/v1/transforms?limit=1", lambda s: at("/api/v1/transforms", model=s.model)],
    "api.transform_file": [lambda s: f"/api/v1/transforms/{s.ids['transform']}/file"],
    "api.scan": [lambda s: at(f"/api/v1/galleries/{s.shelf}/scan", into=f"{s.model}/1", allow_unmeasured="true")],
    "api.shared": [lambda s: at(f"/api/v1/galleries/{s.bench}/shared", versions=f"{s.model}/1")],
    "api.shared_items": [lambda s: at(f"/api/v1/galleries/{s.bench}/shared/items", versions=f"{s.model}/1", label=s.label)],
}  # fmt: skip


def at(path, **parameters):
    return f"{path}?{urlencode(parameters)}"


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """The app over both sides, the sides, and clients: with a token of the open model and galleries, or of one of the two."""
    with connect(tmp_path_factory.mktemp("scopes") / "home") as registry:
        opened, covert = filled(registry)
        models, galleries = {"models": [opened.model]}, {"galleries": [opened.bench, opened.shelf]}
        app, clients = create_app(registry), {}
        for name, scopes in {"both": models | galleries, "models": models, "galleries": galleries}.items():
            text = registry.create_token(f"of-{name}", **scopes)[1]
            clients[name] = sign_in(app.test_client(), text)
            clients[name].environ_base["HTTP_AUTHORIZATION"] = f"Bearer {text}"
        text = registry.create_token("writer", role="writer", **models, **galleries)[1]
        clients["writer"] = sign_in(app.test_client(), text)
        yield app, opened, covert, clients


def test_every_address_is_tried(sides):
    """One that fails here is new: say above how it is called, and for whom."""
    rules = sides[0].url_map.iter_rules()
    assert {rule.endpoint for rule in rules if "GET" in rule.methods} == {*CALLS, *OPEN, *ADMIN}


def hidden(covert, scope):
    """What no answer to a token of this scope may hold."""
    ids = covert.ids
    of_models = [covert.model, covert.alias, *ids.values()]  # but no ids in cursors of studies, which say nothing
    of_galleries = [covert.bench, covert.shelf, covert.anchors, ids["study"]]
    return {"both": ["covert", *of_models], "models": of_models, "galleries": of_galleries}[scope]


def told(answer):
    """All that an answer holds, cursors read: they are JSON in base64."""
    said = answer.get_data()
    for cursor in re.findall(rb'(?:after=|"next":")([\w-]+)', said):
        with suppress(ValueError):
            said += urlsafe_b64decode(cursor + b"=" * (-len(cursor) % 4))
    return said + str(answer.headers).encode()


def asked(covert, path):
    """What of the hidden an address names itself, which a refusal may repeat."""
    words = {*re.findall(r"[\w-]+", unquote(path)), *covert.ids.values()}
    return sorted((word.encode() for word in words if "covert" in word or word in path), key=len, reverse=True)


@pytest.mark.parametrize("scope", ["both", "models", "galleries"])
def test_what_is_covered_is_shown_and_nothing_else(sides, scope):
    _, opened, covert, clients = sides
    wrong = []
    for endpoint, path in ((name, call(opened)) for name, calls in CALLS.items() for call in calls):
        answer = clients[scope].get(path)
        refused = endpoint == "api.counts"
        if answer.status_code != (403 if refused else 200):
            wrong.append((path, answer.status_code, answer.text[-300:]))
        said = told(answer)
        wrong += [(path, word) for word in hidden(covert, scope) if word.encode() in said]
        if not answer.headers["Cache-Control"].startswith("private") or "public" in answer.headers["Cache-Control"]:
            wrong.append((path, "may be kept for others"))
    assert wrong == []


def test_what_is_not_covered_is_refused_and_nothing_is_told(sides):
    """Not by the refusal either: of the other side it holds what was asked for, and no other name."""
    _, opened, covert, clients = sides
    wrong = []
    for endpoint, calls in CALLS.items():
        for path in (call(covert) for call in calls if call(covert) != call(opened)):
            answer = clients["both"].get(path)
            if answer.status_code not in (
                (200,) if endpoint in SEARCHES and "new=" not in path and "/models/" not in path else (403, 404)
            ):
                wrong.append((path, answer.status_code, answer.text[-300:]))
            said = told(answer)
            for word in asked(covert, path):
                said = said.replace(word, b"")
            wrong += [(path, word) for word in hidden(covert, "both") if word.encode() in said]
    assert wrong == []


@pytest.mark.parametrize("endpoint", sorted(ADMIN))
def test_what_is_for_admins_is_refused(sides, endpoint):
    app, _, covert, clients = sides
    (rule,) = [rule for rule in app.url_map.iter_rules(endpoint) if "GET" in rule.methods]
    for name in ("of-both", covert.token):
        answer = clients["both"].get(rule.rule.replace("<name>", name))
        assert answer.status_code == 403
        assert "covert" not in answer.text


def test_a_benchmark_that_nobody_named_is_one_that_is_covered(sides):
    """The open pair was measured last on the covert benchmark."""
    _, opened, covert, clients = sides
    pair = {"old": f"{opened.model}/1", "new": f"{opened.model}/2"}
    answer = clients["both"].get(at("/api/v1/compare", **pair))
    assert (answer.status_code, answer.json["benchmark"]) == (200, opened.bench)
    refused = clients["both"].get(at("/api/v1/compare", old=pair["new"], new=f"{opened.model}/3"))
    assert refused.status_code == 404
    assert covert.bench not in refused.text


FORMS = {  # endpoint -> who may, by role, and the address and fields of a form about one side
    "pages.search_with": ("reader", lambda s: (f"/galleries/{s.shelf}/search", {})),
    "pages.compare_evaluate": ("writer", lambda s: ("/compare/evaluate", of_pair(s))),
    "pages.compare_study": ("writer", lambda s: ("/compare/study", of_pair(s))),
    "pages.pause_backfill": ("writer", lambda s: (f"/backfills/{s.ids['backfill']}/pause", {})),
    "pages.resume_backfill": ("writer", lambda s: (f"/backfills/{s.ids['backfill']}/resume", {})),
    "pages.roll_back_backfill": ("writer", lambda s: (f"/backfills/{s.ids['backfill']}/rollback", {})),
    "pages.matrix_evaluate": (
        "writer",
        lambda s: ("/matrix/evaluate", {"benchmark": s.bench, "versions": f"{s.model}/1,{s.model}/2"}),
    ),
    "pages.gallery_index": ("writer", lambda s: (f"/galleries/{s.shelf}/index", {"version": f"{s.model}/1"})),
    "pages.create_token": ("admin", lambda s: ("/tokens", {"name": "more", "role": "admin"})),
    "pages.revoke_token": ("admin", lambda s: (f"/tokens/{s.token}/revoke", {})),
    "pages.add_webhook": ("admin", lambda s: ("/webhooks", {"name": "more", "url": "https://93.184.215.14/"})),
    "pages.remove_webhook": ("admin", lambda s: (f"/webhooks/{s.hook}/remove", {})),
}


def of_pair(side):
    return {"old": f"{side.model}/1", "new": f"{side.model}/2", "benchmark": side.bench}


def test_every_form_is_tried(sides):
    rules = sides[0].url_map.iter_rules()
    sent = {rule.endpoint for rule in rules if "POST" in rule.methods and not rule.rule.startswith("/api/")}
    assert sent == {*FORMS, "login.page", "login.logout"}


@pytest.mark.parametrize("endpoint", FORMS)
def test_a_form_is_of_our_pages_and_of_whoever_may(sides, endpoint):
    """It lacks its token, or the role, or it is about the other side: nothing comes of it, and nothing is told."""
    _, opened, covert, clients = sides
    role, form = FORMS[endpoint]
    tokens = {who: csrf_of(clients[who].get("/")) for who in ("both", "writer")}
    for who in ("both", "writer"):
        for side in (opened, covert):
            path, fields = form(side)
            assert clients[who].post(path, data=fields).status_code == 403, (who, path)
            may = role == "reader" or (role == "writer" and who == "writer")
            if may and side is opened:
                continue
            answer = clients[who].post(path, data={**fields, "csrf_token": tokens[who]})
            assert answer.status_code == 403, (who, path)
            assert side.ids["study"] not in answer.text
