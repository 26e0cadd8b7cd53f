"""Processes that are killed while they write, and servers under their clients; `bench.kill` does it for longer."""

from __future__ import annotations

import re
from itertools import islice

import numpy as np
import pytest

from bench.faults import BATCH, Operation, Place, chance, ids_of, in_process, prepare, vector, verify
from bench.kill import Templates, embedded_round, served_rounds


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory):
    return Templates.make(tmp_path_factory.mktemp("sqlite") / "templates", None)


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory, postgres_server):
    return Templates.make(tmp_path_factory.mktemp("postgres") / "templates", postgres_server)


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


# What finds nothing wrong must be able to.


def _spoil(place, how):
    prepare(place)
    with place.embedded() as reg:
        journal = place.journal("mine")
        for operation in (Operation("append", "lost", "m/1"), Operation("alias", "by-me", 1)):
            journal.perform(reg, operation)
        verify(place)
        how(reg)
    verify(place)


def _lose_a_batch(reg):
    reg.delete("g", ids_of("lost"))


def _lose_an_item(reg):
    reg.delete("g", ids_of("lost")[:1])


def _store_another_vector(reg):
    reg.delete("g", ids_of("lost"))
    x = np.stack([vector(id, "m/2") for id in ids_of("lost")])
    reg.append("g", version="m/1", ids=ids_of("lost"), vectors=x, labels={"batch": ["lost"] * BATCH})


def _store_what_nobody_tried(reg):
    Operation("append", "unknown", "m/1").perform(reg)


def _run(reg, statement):
    with reg._home.database.engine.begin() as connection:
        connection.exec_driver_sql(statement)


SPOILED = {
    "a lost batch": (_lose_a_batch, "0 rows of lost"),
    "a lost item": (_lose_an_item, "4 rows of lost"),
    "another vector": (_store_another_vector, "shows another vector"),
    "a batch of nobody": (_store_what_nobody_tried, "5 rows of unknown"),
    "a wrong count": (lambda reg: _run(reg, "UPDATE galleries SET items = items + 1 WHERE name = 'g'"), "counted"),
    "a version of nobody": (lambda reg: reg.register_version("line", dim=4, tags={"by": "nobody"}), "by.keys()"),
    "a lost move": (lambda reg: _run(reg, "UPDATE aliases SET version_id = version_id + 1"), "an alias is not where"),
    "half a measurement": (
        lambda reg: _run(reg, "DELETE FROM evaluations WHERE id = (SELECT max(id) FROM evaluations)"),
        "measurements of",
    ),
    "a measurement of nobody": (lambda reg: reg.evaluate("measured"), "2 measurements, 1 known"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_faults_are_noticed(tmp_path, how):
    with pytest.raises(AssertionError, match=re.escape(SPOILED[how][1])):
        in_process(_spoiled, Place(tmp_path), how)


def _spoiled(place, how):
    _spoil(place, SPOILED[how][0])
