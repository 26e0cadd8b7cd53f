"""Processes that are killed while they write, and servers under their clients; `bench.kill` does it for longer."""

from __future__ import annotations

from itertools import islice

import pytest

from bench.faults import chance
from bench.kill import Templates, embedded_round, served_rounds


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory):
    return Templates.make(tmp_path_factory.mktemp("sqlite") / "templates", None)


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory, postgres_server):
    return Templates.make(tmp_path_factory.mktemp("postgres") / "templates", postgres_server, batches=1)


@pytest.mark.parametrize("seed", [1, 2])
def test_processes_killed_in_one_home(on_sqlite, seed):
    assert embedded_round(on_sqlite, chance(seed), "r")["acknowledged"]


@pytest.mark.postgres
def test_processes_killed_with_postgres(on_postgres):
    assert embedded_round(on_postgres, chance(3), "r")["acknowledged"]


def test_a_server_killed_under_its_clients(on_sqlite):
    for found in islice(served_rounds(on_sqlite, chance(4), "r"), 2):
        assert found["acknowledged"]


@pytest.mark.postgres
def test_a_server_killed_with_postgres(on_postgres):
    for found in islice(served_rounds(on_postgres, chance(5), "r"), 1):
        assert found["acknowledged"]
