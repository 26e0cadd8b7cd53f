"""`bench.faults.verify`, which finds nothing wrong after a kill, finds each thing that is wrong."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from bench.faults import BATCH, Operation, Place, ids_of, in_process, prepare, vector, verify


def _other_vectors(reg):
    reg.delete("g", ids_of("lost"))
    x = np.stack([vector(id, "m/2") for id in ids_of("lost")])
    reg.append("g", version="m/1", ids=ids_of("lost"), vectors=x, labels={"batch": ["lost"] * BATCH})


def _sql(statement):
    def run(reg):
        with reg._home.database.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    return run


SPOILED = {
    "a lost item": (lambda reg: reg.delete("g", ids_of("lost")[:1]), "4 rows of lost"),
    "another vector": (_other_vectors, "shows another vector"),
    "a wrong count": (_sql("UPDATE galleries SET items = items + 1 WHERE name = 'g'"), "the facts say 11"),
    "a version of nobody": (lambda reg: reg.register_version("line", dim=4, tags={"by": "x"}), "is nobody's"),
    "a lost move": (_sql("UPDATE aliases SET version_id = version_id + 1"), "an alias is not where"),
    "half a measurement": (
        _sql("DELETE FROM evaluations WHERE id = (SELECT max(id) FROM evaluations)"),
        "measurements of",
    ),
}


def _noticed(place):
    """What `verify` says of each spoiled copy of a place; all in one process, whose start takes longest."""
    prepare(place)
    journal = place.journal("mine")
    with place.embedded() as reg:
        for operation in (
            Operation("append", "lost", "m/1"),
            Operation("alias", "by-me", 1),
            Operation("evaluate", "again"),
        ):
            journal.perform(reg, operation)
    verify(place)
    said = {}
    for how, (spoil, _) in SPOILED.items():
        copy = Place(place.root.with_name(how))
        shutil.copytree(place.root, copy.root)
        with copy.embedded() as reg:
            spoil(reg)
        with pytest.raises(AssertionError) as error:
            verify(copy)
        said[how] = str(error.value)
    return said


def test_each_fault_is_noticed(tmp_path):
    (tmp_path / "whole").mkdir()
    said = in_process(_noticed, Place(tmp_path / "whole"))
    assert {how for how, (_, text) in SPOILED.items() if text not in said[how]} == set(), said
