"""Settings: how the server runs, read-only, and never a secret."""

from __future__ import annotations

from dataclasses import fields

import numpy
import pytest

from registry import __version__, connect
from registry.database import HEAD
from registry.settings import Settings, variable
from web import create_app

SECRETS = {"secret_key": "k" * 43, "tracking_uri": "postgresql://ann:hunter2@db/mlflow"}


def test_each_setting_is_shown_with_its_value_variable_and_help(registry):
    page = (
        create_app(registry, settings=Settings(port=9999, rate_limit="7 per minute"))
        .test_client()
        .get("/settings")
        .text
    )
    for setting in fields(Settings):
        assert variable(setting.name) in page
    assert '<code>9999</code> <span class="alias">changed</span>' in page
    assert "7 per minute" in page and "requests of one token or address" in page
    for said in (__version__, registry.home, f"SQLite, in the home, at revision {HEAD}", numpy.__version__, "admin"):
        assert said in page


def test_secrets_are_never_shown(registry):
    page = create_app(registry, settings=Settings(**SECRETS)).test_client().get("/settings").text
    assert "hunter2" not in page and "k" * 43 not in page
    assert page.count("given, not shown") == 2


@pytest.mark.postgres
def test_a_database_s_address_is_never_shown(tmp_path, postgres_url):
    with connect(tmp_path / "home", database=postgres_url) as registry:
        page = create_app(registry).test_client().get("/settings").text
    assert "PostgreSQL, at revision" in page
    assert "postgresql" not in page
    assert postgres_url.rpartition("/")[2] not in page


def test_it_takes_no_parameters(client):
    assert client.get("/settings?port=1").status_code == 400
