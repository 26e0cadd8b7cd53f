"""`samespace study`: what it tells, and what it keeps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from registry import connect
from registry.transforms import Affine

CELLS = {"today": ("m/1", "m/1"), "upgraded": ("m/2", "m/1"), "backfilled": ("m/2", "m/2")}


@pytest.fixture
def measured(home, rows):
    """A home with a benchmark on which two versions are measured, with a map between them."""
    labels = np.arange(24) % 3
    x = (rows(3, 5)[labels] + 0.7 * rows(24, 5, 1)).astype(np.float32)
    with connect(home) as reg:
        for _ in range(2):
            reg.register_version("m", dim=5)
        reg.create_gallery("b", id_type="int", labels=["class", "size"])
        for ref, vectors in (("m/1", x), ("m/2", x + 0.1)):
            more = {"class": [f"[red]{c}" for c in labels], "size": labels % 2}
            reg.append("b", version=ref, ids=np.arange(24), vectors=vectors, labels=more)
        reg.add_transform(Affine(weight=np.eye(5), bias=np.zeros(5)), source="m/2", target="m/1")
        for label in ("class", "size"):
            reg.evaluate("b", label=label)
    return home


def test_it_shows_and_keeps_a_study(measured, samespace):
    shown = samespace("--home", measured, "study", "m/1", "m/2", "--label", "class").stdout
    with connect(measured) as reg:
        (found,) = reg.studies()
        best = {stage: reg.matrix("b").cell(*pair).value for stage, pair in CELLS.items()}
    assert f"24 queries; kept as {found.id}" in shown
    lines = [line.split() for line in shown.splitlines()]
    for stage, value in best.items():
        (line,) = (line for line in lines if line[:1] == [stage])
        assert line[-3:] == [f"{100 * v:.1f}" for v in (value, found.cmc[stage].values[0], found.cmc[stage].values[3])]
    assert "m/2 on m/1, by affine" in shown and "class [red]1" in shown and "size 0" in shown
    for title in (
        "Where upgraded is worst against today, 5 of 5 groups",
        "Thresholds on the score",
        "worst served first",
    ):
        assert title in shown
    assert f"both versions agree on {100 * found.overlap.mean:.1f} %" in shown


def test_as_json_it_is_the_whole_study(measured, samespace):
    told = json.loads(
        samespace("--home", measured, "--json", "study", "m/1", "m/2", "--label", "size", "--seed", 7).stdout
    )
    with connect(measured) as reg:
        found = reg.stored_study(told["id"])
        assert (told["label"], told["seed"], found.label, found.seed) == ("size", 7, "size", 7)
        assert told["groups"][0]["map"] == found.groups[0].map and len(told["filling"]) == 4
        precision = reg.study_items(found.id)["ap_today"].to_numpy()
    assert told["map"]["today"] == pytest.approx(float(np.nanmean(precision)))


def test_a_pair_that_is_not_measured_is_told_how(measured, samespace):
    with connect(measured) as reg:
        reg.register_version("m", dim=5)
    refused = samespace("--home", measured, "study", "m/1", "m/3", code=1)
    assert "samespace evaluate BENCHMARK --version m/1 --version m/3" in refused.stderr
