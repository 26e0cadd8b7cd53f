"""Tokens and webhooks: made, shown once, revoked after a question; for admins, and with what the first token changes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from registry import connect
from registry.errors import NotSignedIn
from registry.services.tokens import digest
from registry.settings import Settings
from tests.web.conftest import HOSTILE, csrf_of, sign_in
from web import create_app

OPEN_HOSTS = Settings(webhook_allow="127.0.0.1")


@pytest.fixture
def fresh(tmp_path):
    """An empty registry of this test alone."""
    with connect(tmp_path / "home") as registry:
        yield registry


@pytest.fixture
def admin(fresh):
    """A registry and a client that an admin's token is signed in with."""
    secret = fresh.create_token("boss", role="admin")[1]
    return fresh, sign_in(create_app(fresh, settings=OPEN_HOSTS).test_client(), secret)


def send(client, form_at, to=None, **fields):
    """Send a form as its page does."""
    return client.post(to or form_at, data={"csrf_token": csrf_of(client.get(form_at)), **fields})


def text_of(page):
    return re.search(r"sst_[A-Za-z0-9_-]+", page.text)[0]


def test_the_first_token_is_explained_and_asks_for_a_tick(fresh):
    client = create_app(fresh).test_client()
    page = client.get("/tokens").text
    assert "From the first token on, everybody must sign in" in page
    assert '<option value="admin" selected>' in page
    refused = send(client, "/tokens", name="boss", role="admin")
    assert refused.status_code == 400
    assert "closes this server to all who have none" in refused.text
    assert 'value="boss"' in refused.text
    assert not fresh.has_tokens()
    made = send(client, "/tokens", name="boss", role="admin", first="yes")
    assert made.status_code == 201
    assert "Sign in with it" in made.text
    assert client.get("/tokens").status_code == 303
    other = sign_in(create_app(fresh).test_client(), text_of(made))
    assert "From the first token on" not in other.get("/tokens").text


def test_a_token_is_shown_once_and_kept_nowhere(admin):
    registry, client = admin
    made = send(client, "/tokens", name="ci", role="writer", models="hats, shoes", galleries=" ", days="30")
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    assert "Location" not in made.headers
    text = text_of(made)
    token = registry.token_of(digest(text))
    assert (token.name, token.role, token.models, token.galleries) == ("ci", "writer", ("hats", "shoes"), None)
    assert abs(token.expires_at - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    page = client.get("/tokens")
    assert text not in page.text and digest(text) not in page.text
    assert "hats, shoes" in page.text and "writer" in page.text
    again = send(client, "/tokens", name="ci", role="writer")
    assert (again.status_code, "sst_" in again.text) == (409, False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "Big Boss"}, "is not allowed"),
        ({"name": "x", "role": "king"}, "role must be one of"),
        ({"name": "x", "role": "admin", "models": "hats"}, "an admin covers everything"),
        ({"name": "x", "days": "soon"}, "whole number of days"),
        ({"name": "x", "days": "99999"}, "at most 3650 days"),
        ({"name": "x", "models": HOSTILE}, "model name"),
        ({"name": HOSTILE}, "token name"),
        ({}, "token name"),
    ],
)
def test_what_no_token_can_be_is_told_and_kept_in_the_form(admin, given, said):
    registry, client = admin
    answer = send(client, "/tokens", **given)
    assert answer.status_code == 400
    assert said in answer.text
    assert 'role="alert"' in answer.text
    assert "<script>" not in answer.text
    assert [t.name for t in registry.tokens()] == ["boss"]


def test_a_token_is_revoked_after_a_question(admin):
    registry, client = admin
    secret = registry.create_token("ci")[1]
    assert 'href="/tokens/ci/revoke"' in client.get("/tokens").text
    asked = client.get("/tokens/ci/revoke")
    assert "Revoke the token of ci?" in asked.text
    assert registry.token_of(digest(secret)).state == "active"
    done = send(client, "/tokens/ci/revoke")
    assert (done.status_code, done.headers["Location"]) == (303, "/tokens")
    with pytest.raises(NotSignedIn):
        registry.token_of(digest(secret))
    page = client.get("/tokens").text
    assert "1 expired or revoked" in page and "/tokens/ci/revoke" not in page
    assert "good for nothing any more" in client.get("/tokens/ci/revoke").text
    assert client.get("/tokens/nobody/revoke").status_code == 404
    assert "you will be signed out" in client.get("/tokens/boss/revoke").text


PAGES = ("/tokens", "/tokens/boss/revoke", "/webhooks", "/webhooks/deploy/remove", "/settings")


@pytest.mark.parametrize("role", ["reader", "writer"])
def test_only_admins_may(fresh, role):
    fresh.create_token("boss", role="admin")
    client = sign_in(create_app(fresh).test_client(), fresh.create_token("ann", role=role)[1])
    home = client.get("/")
    assert "/tokens" not in home.text and "/settings" not in home.text
    for path in PAGES:
        assert client.get(path).status_code == 403
        if path != "/settings":
            assert client.post(path, data={"csrf_token": csrf_of(home), "name": "x"}).status_code == 403
    assert [t.name for t in fresh.tokens()] == ["ann", "boss"]


@pytest.mark.parametrize("path", ["/tokens", "/tokens/boss/revoke", "/webhooks", "/webhooks/deploy/remove"])
def test_forms_of_other_sites_are_refused(admin, path):
    registry, client = admin
    answer = client.post(path, data={"name": "x", "csrf_token": "forged"})
    assert answer.status_code == 403
    assert "another site" in answer.text
    assert [(t.name, t.state) for t in registry.tokens()] == [("boss", "active")]


def test_a_webhook_is_added_told_of_and_removed(admin):
    registry, client = admin
    assert "Nobody is told of anything" in client.get("/webhooks").text
    url = "http://127.0.0.1:9/very-secret-path"
    made = send(client, "/webhooks", name="deploy", url=url, events=["alias.moved"])
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    secret = re.search(r'data-says="the secret"><code class="command">([^<]+)', made.text)[1]
    registry.register_version("m", dim=4)
    registry.set_alias("m", "live", 1)
    page = client.get("/webhooks").text
    for said in ("deploy", "127.0.0.1", "alias.moved", "due"):
        assert said in page
    assert secret not in page and "very-secret-path" not in page
    assert "Remove the webhook deploy?" in client.get("/webhooks/deploy/remove").text
    assert send(client, "/webhooks/deploy/remove").headers["Location"] == "/webhooks"
    assert registry.webhooks() == []
    assert client.get("/webhooks/deploy/remove").status_code == 404


def test_what_a_webhook_failed_of_is_told(admin):
    registry, client = admin
    registry.add_webhook("deploy", "http://127.0.0.1:9/hook", events=["alias.moved"], allowed=["127.0.0.1"])
    registry.register_version("m", dim=4)
    registry.set_alias("m", "live", 1)
    registry.send_deliveries()  # which the environment's settings refuse
    page = client.get("/webhooks").text
    assert "not public" in page and re.search(r'<td class="num">1</td>', page)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "ftp://127.0.0.1/", "events": "alias.moved"}, "begins with http"),
        ({"url": "http://me:pass@127.0.0.1/", "events": "alias.moved"}, "holds a user or a password"),
        ({"url": "http://127.0.0.2/", "events": "alias.moved"}, "not on the list of allowed hosts"),
        ({"url": "http://127.0.0.1/"}, "events must be a list"),
        ({"url": "http://127.0.0.1/", "events": HOSTILE}, "events must be a list"),
    ],
)
def test_what_no_webhook_can_be_is_told(admin, given, said):
    registry, client = admin
    answer = send(client, "/webhooks", name="deploy", **given)
    assert answer.status_code == 400
    assert said in answer.text
    assert "<script>" not in answer.text
    assert registry.webhooks() == []
