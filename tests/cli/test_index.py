"""`samespace gallery index`, and `gallery search --where`: what they say and do."""

from __future__ import annotations

import json

import numpy as np
import pytest

from registry import connect


@pytest.fixture
def shelf(home, rows, tmp_path):
    """A home with a gallery, and files of queries."""
    x = rows(300, 8)
    with connect(home) as reg:
        reg.register_version("m", dim=8)
        reg.create_gallery("shelf", labels=["class"])
        labels = {"class": [f"[red]{j % 3}" for j in range(300)]}
        reg.append("shelf", version="m/1", ids=[f"i{j}" for j in range(300)], vectors=x, labels=labels)
    np.save(tmp_path / "q.npy", x[:2])
    return home


def test_build_list_search_and_drop(shelf, samespace, tmp_path):
    run = ["--home", shelf, "gallery"]
    assert "no indexes: 'samespace gallery index build NAME' makes one" in samespace(*run, "index", "list").stdout
    built = samespace(*run, "index", "build", "shelf", "--kind", "hnsw", "--set", "m=8").stdout
    assert "indexed 300 vectors of m/1 in shelf by hnsw" in built and "recall@10" in built
    found = json.loads(samespace("--home", shelf, "--json", "gallery", "index", "list", "shelf").stdout)
    assert [(i["version"], i["kind"], i["settings"]["m"], i["rows"]) for i in found] == [("m/1", "hnsw", 8, 300)]
    listed = samespace(*run, "index", "list").stdout
    assert "all 300" in listed and f"{found[0]['recall']:.3f} @10" in listed
    ask = [*run, "search", "shelf", "--version", "m/1", "--queries", tmp_path / "q.npy", "-k", "1"]
    assert "i0 1.000" in samespace(*ask).stdout
    assert "i0 1.000" not in samespace(*ask, "--where", "class=[red]1", "--where", "class=[red]2").stdout
    short = samespace(*run, "index", "build", "shelf", "--kind", "ivfpq").stdout
    assert "below the 0.95 that was asked for" in short and "below" not in built
    assert "dropped the index of m/1" in samespace(*run, "index", "drop", "shelf", "--version", "m/1", "--yes").stdout
    assert json.loads(samespace("--home", shelf, "--json", "gallery", "index", "list").stdout) == []


def test_what_cannot_be_is_told_in_a_line(shelf, samespace, tmp_path):
    run = ["--home", shelf, "gallery"]
    assert "--set is NAME=NUMBER" in samespace(*run, "index", "build", "shelf", "--set", "m", code=2).output
    said = samespace(*run, "index", "build", "shelf", "--kind", "ivf", "--set", "m=8", code=1).output
    assert "ivf with compression none has no setting 'm': it has nlist, nprobe" in said
    ask = [*run, "search", "shelf", "--version", "m/1", "--queries", tmp_path / "q.npy"]
    assert "--where is COLUMN=VALUE" in samespace(*ask, "--where", "class", code=2).output
    assert "has no label column 'color'" in samespace(*ask, "--where", "color=red", code=1).output
