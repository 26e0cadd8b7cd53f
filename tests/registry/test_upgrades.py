"""The upgrades that were measured last: what `compare` says of each, in few statements, and in which order."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import event

from registry.errors import InvalidInput
from registry.transforms import Prefix

DIMS = {1: 4, 2: 6, 3: 8}


def fill(reg, *models, gallery="bench"):
    """Three versions of each model, each a longer prefix of the same vectors, stored in a benchmark."""
    x = np.random.default_rng(5).standard_normal((40, 8)).astype(np.float32)
    reg.create_gallery(gallery, id_type="int", labels=["class", "colour"])
    labels = {"class": [str(i % 3) for i in range(40)], "colour": [str(i % 2) for i in range(40)]}
    for model in models:
        for number, dim in DIMS.items():
            reg.register_version(model, dim=dim)
            reg.append(gallery, version=f"{model}/{number}", ids=np.arange(40), vectors=x[:, :dim], labels=labels)
        reg.add_transform(Prefix(from_dim=8, to_dim=4), source=f"{model}/3", target=f"{model}/1")


def pairs(found):
    return [(c.old, c.new) for c in found]


def test_each_is_what_compare_says(reg):
    fill(reg, "m")
    reg.evaluate("bench")
    found = reg.upgrades()
    assert pairs(found) == [("m/2", "m/3"), ("m/1", "m/3"), ("m/1", "m/2")]
    assert found == [reg.compare(c.old, c.new) for c in found]


def test_the_newest_measurement_comes_first_and_a_pair_once(reg):
    fill(reg, "m", "n")
    reg.evaluate("bench", versions=["m/1", "m/2"])
    reg.evaluate("bench", versions=["n/1", "n/3"])
    reg.evaluate("bench", versions=["m/1", "m/2"], label="colour")
    found = reg.upgrades()
    assert pairs(found) == [("m/1", "m/2"), ("n/1", "n/3")]
    assert {e.label for e in found[0].evaluations} == {"colour"}
    assert found[0] == reg.compare("m/1", "m/2", label="colour")
    assert reg.upgrades(limit=1) == found[:1]


def test_nothing_is_measured(reg):
    assert reg.upgrades() == []


def test_a_limit_that_is_none_is_refused(reg):
    with pytest.raises(InvalidInput, match="limit"):
        reg.upgrades(limit=0)


@pytest.mark.embedded
def test_only_what_is_named_is_shown(reg):
    fill(reg, "m", "n")
    reg.evaluate("bench", versions=["m/1", "n/1", "n/2"])
    assert pairs(reg.upgrades(models=["n"])) == [("n/1", "n/2")]
    assert pairs(reg.upgrades(models=["m"])) == []
    assert pairs(reg.upgrades(galleries=["other"])) == []
    assert len(reg.upgrades(galleries=["bench"])) == 3


@pytest.mark.embedded
def test_statements_do_not_grow_with_pairs(reg):
    statements = []
    event.listen(reg._home.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    fill(reg, "m", "n")
    counts = []
    for versions in (["m/1", "m/2"], ["m/1", "m/2", "m/3", "n/1", "n/2"]):
        reg.evaluate("bench", versions=versions)
        statements.clear()
        reg.upgrades()
        counts.append(len(statements))
    assert counts[0] == counts[1]
