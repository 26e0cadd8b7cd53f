"""Alive, and able to work."""

from __future__ import annotations

import shutil

import pytest

from registry import __version__, connect, errors
from registry.database import HEAD
from web import create_app


class Broken:
    """A registry whose every call fails."""

    def __init__(self, error):
        self.error = error

    def __getattr__(self, name):
        raise self.error


def test_alive_whatever_the_stores_do():
    answer = create_app(Broken(RuntimeError("secret"))).test_client().get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "version": __version__})


def test_ready(client):
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "checks": {"database": "ok", "home": "ok"}})


def test_a_database_that_does_not_answer(registry):
    class Down:
        home = registry.home

        def revision(self):
            raise errors.Unavailable("cannot open postgresql://user:secret@host/name")

        def has_tokens(self):
            raise errors.Unavailable("no answer")

    answer = create_app(Down()).test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json == {"status": "unavailable", "checks": {"database": "does not answer", "home": "ok"}}


def test_a_database_of_another_release(tmp_path):
    with connect(tmp_path / "home") as registry:
        client = create_app(registry).test_client()
        registry._home.database.downgrade("0002")
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["checks"]["database"] == f"is at revision 0002, this release wants {HEAD}"


def test_a_home_that_cannot_be_written(tmp_path):
    with connect(tmp_path / "home") as registry:
        client = create_app(registry).test_client()
        shutil.move(tmp_path / "home", tmp_path / "gone")
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["checks"]["home"] == "cannot be written"
    assert str(tmp_path) not in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_may_use_any_name(client, path):
    assert client.get(path, headers={"Host": "10.1.2.3:8321"}).status_code == 200
