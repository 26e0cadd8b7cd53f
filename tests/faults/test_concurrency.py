"""Processes that write and search in one home at once; `bench.concurrency` does it for longer."""

from __future__ import annotations

import pytest

from bench.concurrency import crowd
from bench.faults import Place, Server, in_process, prepare

PROCESSES, SECONDS = 6, 2


@pytest.fixture
def place(tmp_path, database_url):
    made = Place(tmp_path, database_url)
    in_process(prepare, made)
    return made


def all_kinds(ledger):
    return {"append", "append in parts", "delete", "register", "alias", "search", "fetch"} <= set(ledger.seconds)


def test_many_share_a_home(place):
    assert all_kinds(crowd(place, processes=PROCESSES, seconds=SECONDS))


def test_many_share_a_server(place):
    with Server(place) as server:
        assert all_kinds(crowd(server.place, processes=PROCESSES, seconds=SECONDS))
