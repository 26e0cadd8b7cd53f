"""Tokens: roles, scopes, their end, and that nothing keeps or says the secret."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from registry import types
from registry.errors import AlreadyExists, BadName, InvalidInput, NotFound, NotSignedIn
from registry.services import tokens

pytestmark = pytest.mark.embedded  # over HTTP a first token would shut this very client out


def authenticate(reg, secret, **given):
    with reg._home.database.reading() as session:
        return tokens.authenticate(session, secret, **given)


def everything_stored(reg):
    """All rows of all tables, as text."""
    with reg._home.database.engine.connect() as connection:
        return "\n".join(
            repr(tuple(row))
            for table in ("tokens", "changes", "operations", "webhooks", "deliveries")
            for row in connection.execute(text(f"SELECT * FROM {table}"))  # noqa: S608
        )


def test_a_token_is_good_for_what_it_was_made_for(reg):
    assert not reg.has_tokens()
    made, secret = reg.create_token("ci", role="writer", models=["products", "faces", "faces"], galleries=["catalog"])
    assert re.fullmatch(r"sst_[A-Za-z0-9_-]{43}", secret)
    assert (made.name, made.role, made.state) == ("ci", "writer", "active")
    assert (made.models, made.galleries) == (("faces", "products"), ("catalog",))
    assert made.expires_at is made.revoked_at is None
    assert made.created_at.utcoffset() == timedelta(0)
    assert authenticate(reg, secret) == made
    assert reg.token_of(tokens.digest(secret)) == made
    assert reg.tokens() == [made]
    assert reg.has_tokens()


def test_a_token_covers_everything_unless_said_and_nothing_if_that_is_said(lite):
    everything, _ = lite.create_token("all")
    assert (everything.role, everything.models, everything.galleries) == ("reader", None, None)
    nothing, secret = lite.create_token("none", models=[], galleries=[])
    assert (nothing.models, nothing.galleries) == ((), ())
    assert authenticate(lite, secret) == nothing


def test_no_two_secrets_are_alike(lite):
    assert len({lite.create_token(f"t{i}")[1] for i in range(20)}) == 20


def test_a_token_expires_at_its_moment(reg):
    made, secret = reg.create_token("ci", expires_in=timedelta(days=90))
    end = made.expires_at
    assert end - made.created_at == timedelta(days=90)
    just = timedelta(microseconds=1)
    assert authenticate(reg, secret, at=end - just) == made
    assert made.state_at(end - just) == "active"
    assert made.state_at(end) == "expired"
    with pytest.raises(NotSignedIn, match="the token ci is expired: ask for a new one"):
        authenticate(reg, secret, at=end)


def test_a_revoked_token_is_good_for_nothing(reg):
    _, secret = reg.create_token("ci", expires_in=timedelta(days=1))
    revoked = reg.revoke_token("ci")
    assert revoked.state == "revoked"
    assert revoked.state_at(revoked.expires_at) == "revoked"  # whichever came first is not asked
    with pytest.raises(NotSignedIn, match="the token ci is revoked"):
        authenticate(reg, secret)
    assert reg.revoke_token("ci") == revoked  # again changes nothing
    assert [c.action for c in reg.changes()] == ["token.revoked", "token.created"]
    assert reg.has_tokens()  # or the end of the last one would open a server to everybody
    with pytest.raises(NotFound, match="'nobody'"):
        reg.revoke_token("nobody")


def test_a_name_is_used_once(reg):
    reg.create_token("ci")
    with pytest.raises(AlreadyExists, match="ci, now active: choose another"):
        reg.create_token("ci", role="admin")
    reg.revoke_token("ci")
    with pytest.raises(AlreadyExists, match="ci, now revoked"):
        reg.create_token("ci")
    assert [t.role for t in reg.tokens()] == ["reader"]


@pytest.mark.parametrize("secret", ["", "sst_", "sst_" + "A" * 43, "Ä\udc80", "x" * 100_000])
def test_an_unknown_token_is_not_echoed(lite, secret):
    lite.create_token("ci")
    with pytest.raises(NotSignedIn, match="unknown") as caught:
        authenticate(lite, secret)
    assert len(secret) < 5 or secret not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"name": "BAD NAME"}, BadName, "token name"),
        ({"name": "ann (local)"}, BadName, "token name"),  # which would pass for the user of this machine
        ({"role": "root"}, InvalidInput, "reader, writer, admin"),
        ({"role": "admin", "models": ["products"]}, InvalidInput, "covers everything"),
        ({"role": "admin", "galleries": []}, InvalidInput, "covers everything"),
        ({"models": "products"}, InvalidInput, "list"),
        ({"models": ["a/b"]}, BadName, "model name"),
        ({"galleries": ["*"]}, BadName, "gallery name"),
        ({"expires_in": timedelta()}, InvalidInput, "expires"),
        ({"expires_in": timedelta(days=-1)}, InvalidInput, "expires"),
        ({"expires_in": timedelta(days=4000)}, InvalidInput, "3650"),
    ],
)
def test_what_no_token_can_have(lite, given, error, says):
    with pytest.raises(error, match=says):
        lite.create_token(**{"name": "ci", **given})
    assert lite.tokens() == lite.changes() == []


def test_the_secret_is_in_nothing_that_is_kept_or_written(reg, caplog):
    caplog.set_level(0)
    made, secret = reg.create_token("ci", role="writer", models=["products"], expires_in=timedelta(days=1))
    authenticate(reg, secret)
    with pytest.raises(AlreadyExists) as caught:
        reg.create_token("ci")
    reg.revoke_token("ci")
    with pytest.raises(NotSignedIn) as refused:
        authenticate(reg, secret)
    stored = everything_stored(reg)
    for said in (stored, repr(made), str(made), str(caught.value), str(refused.value), repr(reg), caplog.text):
        assert secret not in said
        assert secret[4:] not in said
    assert stored.count(tokens.digest(secret)) == 1  # in its own row
    assert tokens.digest(secret) not in repr(made) + repr(reg.changes())


def test_the_audit_log_says_what_was_allowed(reg):
    made, _ = reg.create_token("ci", role="writer", galleries=["b", "a"], expires_in=timedelta(hours=1))
    (change,) = reg.changes()
    assert (change.action, change.subject) == ("token.created", "ci")
    assert change.details == {
        "role": "writer", "models": None, "galleries": ["a", "b"], "expires_at": made.expires_at.isoformat(),
    }  # fmt: skip


def test_roles_are_the_databases(reg):
    """The order is what `Caller.require` compares."""
    for role in types.TOKEN_ROLES:
        assert reg.create_token(role, role=role)[0].role == role
    assert types.TOKEN_ROLES == ("reader", "writer", "admin")


def test_the_present_state_is_of_now():
    past = datetime.now(UTC) - timedelta(seconds=1)
    facts = {"name": "t", "role": "reader", "models": None, "galleries": None, "created_at": past}
    assert types.Token(**facts, expires_at=past, revoked_at=None).state == "expired"
    assert types.Token(**facts, expires_at=past, revoked_at=past).state == "revoked"
    assert types.Token(**facts, expires_at=past + timedelta(hours=1), revoked_at=None).state == "active"


# The command line


def test_the_command_prints_the_secret_alone_and_once(samespace, home):
    made = samespace("--home", home, "token", "create", "ci", "--role", "writer", "--model", "a", "--expires", "90d")
    secret = made.stdout.strip()
    assert re.fullmatch(r"sst_[A-Za-z0-9_-]{43}", secret)
    assert "ci has the role writer until" in made.stderr
    assert "for the models a and all galleries; keep what is printed now" in made.stderr
    assert secret not in made.stderr
    listed = samespace("--home", home, "token", "list")
    assert "ci" in listed.stdout and "active" in listed.stdout
    assert secret not in listed.output


def test_the_command_as_json(samespace, home):
    made = json.loads(samespace("--home", home, "--json", "token", "create", "ci", "--role", "admin").stdout)
    assert made["secret"].startswith("sst_")
    assert (made["token"]["role"], made["token"]["state"], made["token"]["models"]) == ("admin", "active", None)
    (listed,) = json.loads(samespace("--home", home, "--json", "token", "list").stdout)
    assert listed == made["token"]
    revoked = json.loads(samespace("--home", home, "--json", "token", "revoke", "ci", "--yes").stdout)
    assert revoked["state"] == "revoked"


def test_revoking_asks(samespace, home):
    samespace("--home", home, "token", "create", "ci", "--role", "reader")
    samespace("--home", home, "token", "revoke", "ci", code=1)  # no answer is no
    assert "active" in samespace("--home", home, "token", "list").stdout
    assert "revoked ci" in samespace("--home", home, "token", "revoke", "ci", "--yes").stdout
    assert "revoked" in samespace("--home", home, "token", "list").stdout


@pytest.mark.parametrize("expires", ["90", "d", "-1d", "1y", "²d", "0d", "999999w"])
def test_a_bad_time_is_told(samespace, home, expires):
    done = samespace("--home", home, "token", "create", "ci", "--role", "reader", "--expires", expires, code=1)
    assert "expires" in done.stderr
    assert "Traceback" not in done.output
