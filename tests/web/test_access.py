"""Who may do what: without tokens this machine's user alone, with them whoever has one, and what that one covers."""

from __future__ import annotations

import re
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask, Response, stream_with_context
from sqlalchemy import event

from registry import connect
from registry.errors import CorruptFile, InvalidInput, NotAllowed, NotSignedIn, TooMany
from registry.services.audit import actor
from registry.settings import Settings
from registry.types import Token
from web import assets, create_app, sessions
from web.access import Caller, caller
from web.attempts import Attempts
from web.known_tokens import KEPT_S, KnownTokens
from web.login import local_path
from web.loopback import check_exposed
from web.secret import secret_key

MODELS = "/api/v1/models"


@pytest.fixture
def fresh(tmp_path, _empty_home):
    """An empty registry of this test alone; `registry` is the filled one, which all tests share."""
    with connect(shutil.copytree(_empty_home, tmp_path / "home")) as registry:
        yield registry


@pytest.fixture
def guarded(fresh):
    """A registry with two models, two galleries and an admin's token: the registry, its application, the secret."""
    for name in ("products", "faces"):
        fresh.register_version(name, dim=4)
        fresh.create_gallery(f"{name}-bench", labels=["class"])
    secret = fresh.create_token("boss", role="admin")[1]
    return fresh, create_app(fresh, settings=Settings(hosts="samespace.example", secret_key="k" * 43)), secret


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def csrf_of(page):
    return re.search(r'name="csrf_token" value="([^"]+)"', page.text)[1]


def sign_in(client, secret, **given):
    form = client.get("/login", **given)
    return client.post("/login", data={"token": secret, "csrf_token": csrf_of(form)}, **given)


def signed_in(app, secret):
    client = app.test_client()
    assert sign_in(client, secret).status_code == 303
    return client


# Without tokens


def test_without_tokens_the_user_of_this_machine_is_admin(fresh):
    app = create_app(fresh)
    with app.test_client() as client:
        assert client.get(MODELS).status_code == 200
        assert (caller().name, caller().role, caller().unlimited) == (actor(), "admin", True)
        page = client.get("/")
    assert actor() in page.text
    assert "Sign out" not in page.text
    assert "Set-Cookie" not in page.headers
    assert client.get("/login").headers["Location"] == "/"


@pytest.mark.parametrize("address", ["10.0.0.9", "::ffff:10.0.0.9", ""])
def test_without_tokens_other_machines_are_refused(fresh, address):
    client = create_app(fresh).test_client()
    for path in ("/", MODELS, "/login"):
        assert client.get(path, environ_base={"REMOTE_ADDR": address}).status_code == 403


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host"])
def test_without_tokens_a_proxy_is_refused(fresh, name):
    """Whoever it passes on comes from this machine, by its address."""
    client = create_app(fresh).test_client()
    assert client.get(MODELS, headers={name: "127.0.0.1"}).status_code == 403
    secret = fresh.create_token("ci")[1]
    assert client.get(MODELS, headers={name: "10.0.0.9", **bearer(secret)}).status_code == 200


def test_without_tokens_allowed_names_do_not_count(fresh):
    client = create_app(fresh, settings=Settings(hosts="*")).test_client()
    answer = client.get(MODELS, headers={"Host": "samespace.example"})
    assert answer.status_code == 400
    assert "no tokens" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 200),  # as our Referrer-Policy makes browsers say
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://localhost:8080"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_without_tokens_a_page_from_elsewhere_changes_nothing(fresh, headers, status):
    """The browser of an admin shows pages of others, and these may send simple requests to every address."""
    app = create_app(fresh)
    app.add_url_rule("/api/change", view_func=lambda: "changed", methods=["POST"], endpoint="change")
    assert app.test_client().post("/api/change", headers=headers).status_code == status


def test_the_first_token_closes_the_server_at_once_and_for_good(fresh):
    client = create_app(fresh).test_client()
    assert client.get(MODELS).status_code == 200
    fresh.create_token("ci")
    assert client.get(MODELS).status_code == 401
    fresh.revoke_token("ci")
    assert client.get(MODELS).status_code == 401
    assert create_app(fresh).test_client().get(MODELS).status_code == 401


# Programs


@pytest.mark.parametrize(
    "sent",
    [
        {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"Authorization": "Bearer sst_x"},
        {"Authorization": "Basic c3N0"}, {"Authorization": "Bearer a b c"}, {"Authorization": "Bearer \xff"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [MODELS, "/api/v1/nothing", "/api", "/metrics"])
def test_programs_need_a_token(guarded, path, sent):
    answer = guarded[1].test_client().get(path, headers=sent)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json["error"]["code"] == "not_signed_in"


def test_programs_are_answered_with_one(guarded):
    _, app, secret = guarded
    client = app.test_client()
    assert client.get(MODELS, headers=bearer(secret)).status_code == 200
    assert client.get(MODELS, headers={"Authorization": f"bearer   {secret} "}).status_code == 200


def test_a_session_is_not_for_programs_and_a_token_not_for_pages(guarded):
    """What a browser sends by itself must not reach the API, which asks for no form's token."""
    _, app, secret = guarded
    assert signed_in(app, secret).get(MODELS).status_code == 401
    assert app.test_client().get("/", headers=bearer(secret)).status_code == 303


def test_what_is_open_to_all(guarded):
    client = guarded[1].test_client()
    for path in ("/healthz", f"{assets.prefix()}/css/base.css"):
        assert client.get(path, headers={"Host": "10.1.2.3:8321"}).status_code == 200  # probes ask by address
    assert client.get("/login").status_code == 200


@pytest.mark.parametrize(
    ("hosts", "host", "status"),
    [
        ("samespace.example", "samespace.example", 200),
        ("samespace.example", "SAMESPACE.example:8443", 200),
        ("samespace.example", "localhost:8321", 200),
        ("samespace.example", "evil.example", 400),
        ("samespace.example", "samespace.example.evil.example", 400),
        ("", "samespace.example", 400),
        ("*", "whatever.example", 200),
    ],
)
def test_names_that_a_server_with_tokens_answers_to(guarded, hosts, host, status):
    reg, _, secret = guarded
    client = create_app(reg, settings=Settings(hosts=hosts)).test_client()
    answer = client.get(MODELS, headers={**bearer(secret), "Host": host}, environ_base={"REMOTE_ADDR": "10.0.0.9"})
    assert answer.status_code == status
    if status == 400:
        assert "SAMESPACE_HOSTS" in answer.json["error"]["message"]


def test_the_audit_log_names_the_caller_even_while_an_answer_is_streamed(guarded):
    reg, app, secret = guarded
    outside, seen = actor(), []

    def stream():
        for i in range(2):
            seen.append(actor())
            reg.set_tag("products/1", f"k{i}", "v")
            yield b"part"

    app.add_url_rule("/api/plain", view_func=lambda: Response(stream()), endpoint="plain")
    app.add_url_rule("/api/kept", view_func=lambda: Response(stream_with_context(stream())), endpoint="kept")
    client = app.test_client()
    for path in ("/api/plain", "/api/kept"):
        answer = client.get(path, headers=bearer(secret), buffered=False)
        parts = iter(answer.response)
        next(parts)
        assert actor() == outside  # between two parts the thread serves others
        assert client.get(MODELS, headers=bearer(secret)).status_code == 200
        assert list(parts) == [b"part"]
        answer.close()
    assert seen == ["boss"] * 4
    assert {c.who for c in reg.changes(limit=4)} == {"boss"}
    assert actor() == outside


def test_at_most_one_lookup_a_request(guarded):
    reg, app, secret = guarded
    asked = []
    event.listen(reg._home.database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    app.add_url_rule("/api/nothing", view_func=lambda: "", endpoint="nothing")
    client = app.test_client()
    counts = []
    for _ in range(3):
        asked.clear()
        assert client.get("/api/nothing", headers=bearer(secret)).status_code == 200
        counts.append(sum("tokens" in statement for statement in asked))
    assert counts == [2, 0, 0]  # once whether there are tokens, then each token every 5 seconds


def test_lookups_use_indexes(guarded):
    with guarded[0]._home.database.engine.connect() as connection:
        plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN SELECT * FROM tokens WHERE digest = 'x'").fetchall()
    assert "USING INDEX" in str(plan)


# What a token covers


@pytest.mark.parametrize(
    ("role", "wanted", "may"),
    [
        ("reader", "reader", True), ("reader", "writer", False), ("reader", "admin", False),
        ("writer", "reader", True), ("writer", "writer", True), ("writer", "admin", False),
        ("admin", "reader", True), ("admin", "writer", True), ("admin", "admin", True),
    ],
)  # fmt: skip
def test_roles(role, wanted, may):
    who = Caller("ci", role)
    if may:
        who.require(wanted)
    else:
        with pytest.raises(NotAllowed, match=f"needs the role {wanted}, ci is a {role}"):
            who.require(wanted)


def test_scopes():
    who = Caller("ci", "writer", frozenset({"products"}), None)
    who.require("writer", models=["products"], galleries=["anything"])
    with pytest.raises(NotAllowed, match="ci does not cover the model 'faces'"):
        who.require("reader", models=["products", "faces"])
    with pytest.raises(NotAllowed, match="the gallery 'a'"):
        Caller("ci", "admin", None, frozenset()).require("reader", galleries=["a"])
    assert who.sees_model("products") and not who.sees_model("faces")
    assert who.sees_gallery("anything")
    assert not who.unlimited
    assert Caller("ci", "reader").unlimited


def test_nobody_is_no_caller():
    with Flask(__name__).app_context(), pytest.raises(NotSignedIn):
        caller()


def test_a_page_shows_what_the_token_covers(client_of):
    """On the filled registry: model products, galleries digits-bench and catalog. Each page's own tests say more."""
    page = client_of(galleries=["catalog"]).get("/").text
    assert "digits-bench" not in page

    page = client_of(galleries=["digits-bench"]).get("/").text
    assert "catalog" not in page
    assert "products/2" in page

    page = client_of(models=["faces"]).get("/").text
    assert "products/" not in page


@pytest.fixture
def client_of(registry):
    """`client_of(models=…, galleries=…)`: a client of the filled registry, signed in with such a token.

    The token is given to the application and not to the registry, which all tests share.
    """

    def make(**scopes):
        app = create_app(registry, settings=Settings(secret_key="k" * 43))
        covered = {name: tuple(scopes[name]) if name in scopes else None for name in ("models", "galleries")}
        app.extensions["samespace.tokens"] = Known(name="ci", role="reader", **covered)
        return signed_in(app, "whatever")

    return make


class Known:
    """The tokens of a registry that has one, whatever its text."""

    def __init__(self, **facts):
        self.token = Token(**facts, created_at=None, expires_at=None, revoked_at=None)

    def any(self):
        return True

    def of_digest(self, digest):
        return self.token


# How long a token is good for


class Clock:
    def __init__(self):
        self.at = 1000.0

    def __call__(self):
        return self.at


def test_a_revoked_token_stops_working_in_time(guarded):
    reg, app, secret = guarded
    clock = Clock()
    app.extensions["samespace.tokens"] = KnownTokens(reg, clock=clock)
    client, page = app.test_client(), signed_in(app, secret)
    assert client.get(MODELS, headers=bearer(secret)).status_code == 200
    reg.revoke_token("boss")
    clock.at += KEPT_S
    answer = client.get(MODELS, headers=bearer(secret))
    assert answer.status_code == 401
    assert answer.json["error"]["message"] == "the token boss is revoked: ask for a new one"
    assert secret not in answer.text
    ended = page.get("/")
    assert ended.headers["Location"] == "/login"
    assert "samespace=;" in ended.headers["Set-Cookie"]  # the session is over, not only refused
    assert KEPT_S <= 5


def test_an_expired_token_stops_working_at_once(fresh):
    secret = fresh.create_token("ci", expires_in=timedelta(seconds=3))[1]
    client = create_app(fresh).test_client()
    assert client.get(MODELS, headers=bearer(secret)).status_code == 200
    time.sleep(3.1)
    answer = client.get(MODELS, headers=bearer(secret))
    assert answer.status_code == 401
    assert "expired" in answer.json["error"]["message"]


# Signing in


def test_signing_in_and_out(guarded):
    _, app, secret = guarded
    client = app.test_client()
    wanted = client.get("/changes?action=alias.moved")
    assert wanted.status_code == 303
    assert wanted.headers["Location"] == "/login?next=/changes?action%3Dalias.moved"
    form = client.get(wanted.headers["Location"])
    assert 'value="/changes?action=alias.moved"' in form.text
    assert "writer" in form.text
    answer = client.post(
        "/login", data={"token": f" {secret}\n", "csrf_token": csrf_of(form), "next": "/changes?action=alias.moved"}
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, "/changes?action=alias.moved")
    page = client.get("/changes?action=alias.moved")
    assert page.status_code == 200
    assert "boss" in page.text and "Sign out" in page.text
    assert client.post("/logout", data={"csrf_token": csrf_of(page)}).headers["Location"] == "/login"
    assert client.get("/").status_code == 303


def test_the_cookie(guarded):
    _, app, secret = guarded
    cookie = sign_in(app.test_client(), secret).headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie
    assert "Secure" not in cookie
    assert "Domain" not in cookie
    assert secret not in cookie
    for https in ({"base_url": "https://localhost"}, {"headers": {"X-Forwarded-Proto": "https"}}):
        assert "Secure" in sign_in(app.test_client(), secret, **https).headers["Set-Cookie"]


def test_a_session_lasts_twelve_hours(guarded, monkeypatch):
    _, app, secret = guarded
    client, real = signed_in(app, secret), time.time
    monkeypatch.setattr(sessions.time, "time", lambda: real() + sessions.LONGEST_S - 60)
    assert client.get("/").status_code == 200
    monkeypatch.setattr(sessions.time, "time", lambda: real() + sessions.LONGEST_S)
    assert client.get("/").status_code == 303
    assert sessions.LONGEST_S == 12 * 3600


@pytest.mark.parametrize(
    "change", [lambda s: s.pop("since"), lambda s: s.update(since="x"), lambda s: s.update(token=1)]
)
def test_a_strange_session_is_none(guarded, change):
    _, app, secret = guarded
    client = signed_in(app, secret)
    with client.session_transaction() as session:
        change(session)
    assert client.get("/").status_code == 303


def test_a_cookie_of_another_key_is_none(guarded):
    reg, app, secret = guarded
    client = signed_in(app, secret)
    cookie = client.get_cookie("samespace").value
    other = create_app(reg, settings=Settings(secret_key="o" * 43)).test_client()
    other.set_cookie("samespace", cookie)
    assert other.get("/").status_code == 303


def test_a_wrong_token_is_told_and_not_echoed(guarded, caplog):
    _, app, _ = guarded
    client = app.test_client()
    caplog.set_level(0)
    answer = sign_in(client, "sst_wrong<script>")
    assert answer.status_code == 401
    assert "the token is unknown here" in answer.text
    assert 'role="alert"' in answer.text
    assert "sst_wrong" not in answer.text + caplog.text
    assert client.get("/").status_code == 303


def test_the_log_names_the_token_and_never_holds_it(guarded, caplog):
    _, app, secret = guarded
    caplog.set_level(0)
    client = signed_in(app, secret)
    client.get("/")
    app.test_client().get(MODELS, headers=bearer(secret))
    assert "boss signed in from 127.0.0.1" in caplog.text
    assert secret not in caplog.text


def test_failures_are_limited(guarded):
    _, app, secret = guarded
    client = app.test_client()
    data = {"token": "wrong", "csrf_token": csrf_of(client.get("/login"))}
    assert [client.post("/login", data=data).status_code for _ in range(12)] == [401] * 10 + [429] * 2
    elsewhere = {"environ_base": {"REMOTE_ADDR": "10.0.0.9"}}
    assert client.post("/login", data={**data, "token": secret}, **elsewhere).status_code == 303


def test_attempts_come_back():
    clock = Clock()
    attempts = Attempts(2, within_s=60, clock=clock)
    for _ in range(2):
        attempts.check("a")
        attempts.failed("a")
        clock.at += 20
    with pytest.raises(TooMany) as caught:
        attempts.check("a")
    assert caught.value.retry_after == 20
    attempts.check("b")
    clock.at += 20  # the first is a minute ago
    attempts.check("a")


@pytest.mark.parametrize("wanted", ["/", "/changes?action=alias.moved&label=a%20b", "/versions/é"])
def test_after_signing_in_one_is_where_one_wanted(guarded, wanted):
    with guarded[1].test_request_context():
        assert local_path(wanted) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        None, "", "x", "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "/\t/evil.example",
        "/\n/evil.example", " //evil.example", "/a\\b", "javascript:alert(1)", "/a\r\nSet-Cookie: x=y", "/\x00/evil.example",
    ],
)  # fmt: skip
def test_nobody_is_sent_elsewhere(guarded, wanted):
    _, app, secret = guarded
    with app.test_request_context():
        assert local_path(wanted) == "/"
    client = app.test_client()
    data = {"token": secret, "csrf_token": csrf_of(client.get("/login"))}
    answer = client.post("/login", data=data | ({} if wanted is None else {"next": wanted}))
    assert answer.headers["Location"] == "/"


def test_an_address_that_looks_like_another_host_stays_on_this_one(guarded):
    _, app, secret = guarded
    client = app.test_client()
    sent = client.get("/", environ_overrides={"PATH_INFO": "//evil.example/x"}).headers["Location"]
    form = client.get(sent)
    wanted = re.search(r'name="next" value="([^"]*)"', form.text)[1]
    answer = client.post("/login", data={"token": secret, "csrf_token": csrf_of(form), "next": wanted})
    assert answer.headers["Location"] == "/evil.example/x"  # a path of this server, with one slash


# Forms


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize("sent", [{}, {"csrf_token": ""}, {"csrf_token": "forged"}])
def test_a_form_from_elsewhere_is_refused(guarded, path, sent):
    _, app, secret = guarded
    client = signed_in(app, secret)
    answer = client.post(path, data={"token": secret, **sent}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert answer.mimetype == "text/html"
    assert "came from another site" in answer.text
    assert client.get("/").status_code == 200  # still signed in


def test_a_form_of_another_session_is_refused(guarded):
    _, app, secret = guarded
    theirs = csrf_of(app.test_client().get("/login"))
    client = app.test_client()
    client.get("/login")
    assert client.post("/login", data={"token": secret, "csrf_token": theirs}).status_code == 403


def test_over_https_a_form_needs_no_referrer(guarded):
    _, app, secret = guarded
    assert sign_in(app.test_client(), secret, base_url="https://localhost").status_code == 303


def test_a_form_is_small(guarded):
    assert guarded[1].test_client().post("/login", data={"token": "x" * 100_000}).status_code == 413


def test_signed_out_a_form_leads_to_signing_in(guarded):
    assert guarded[1].test_client().post("/logout").headers["Location"] == "/login"


# The key


def test_the_key_is_made_once_and_is_its_users_alone(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(secret_key, [tmp_path] * 16))
    (key,) = keys
    assert len(key) == 43
    (file,) = tmp_path.iterdir()  # nothing half made is left
    assert file.name == "secret.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == key


def test_a_given_key_is_taken(guarded):
    reg, app, secret = guarded
    signed_in(app, secret)
    assert app.secret_key == "k" * 43
    assert "k" * 43 not in repr(Settings(secret_key="k" * 43))
    assert not Path(reg.home, "secret.key").exists()


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40])
def test_a_spoilt_key_is_told(tmp_path, content):
    (tmp_path / "secret.key").write_bytes(content)
    with pytest.raises(CorruptFile, match="delete it"):
        secret_key(tmp_path)


# Opening to the network


def test_a_server_opens_to_the_network_only_with_tokens(tmp_path):
    home = tmp_path / "home"

    @contextmanager
    def refused():
        with pytest.raises(InvalidInput, match="samespace token create NAME --role admin"):
            yield

    with refused():
        check_exposed("0.0.0.0", home)  # noqa: S104
    assert not home.exists()
    with connect(home) as registry:
        with refused():
            check_exposed("::", home)
        registry.create_token("ci")
        check_exposed("0.0.0.0", home)  # noqa: S104
        registry.revoke_token("ci")
        with refused():
            check_exposed("192.168.1.4", home)
        check_exposed("127.0.0.1", home)


@pytest.mark.postgres
def test_tokens_of_another_database_count(tmp_path, postgres_url):
    home = tmp_path / "home"
    with connect(home, database=postgres_url) as registry:
        registry.create_token("ci")
    check_exposed("0.0.0.0", home, postgres_url)  # noqa: S104
