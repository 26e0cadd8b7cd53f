"""`samespace status`, `log` and `model check`, as they are typed."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from registry import connect
from tests.conftest import serving

MODULE = """
import numpy as np
def right(texts):
    return np.eye(len(texts), 4)
def wrong(texts):
    return -np.eye(len(texts), 4)
def broken(texts):
    raise RuntimeError("no GPU\\nnor anything else")
shape = 3
"""


@pytest.fixture
def held(lite, home, rows):
    for _ in range(2):
        lite.register_version("shoes", dim=4)
    lite.create_gallery("catalog")
    lite.append("catalog", version="shoes/1", ids=["a", "b"], vectors=rows(2, 4))
    lite.add_canaries("shoes/1", ["red", "blue"], np.eye(2, 4))
    return home


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that holds encoders."""
    (tmp_path / "shoencoders.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "shoencoders"
    sys.modules.pop("shoencoders", None)


def test_status_counts_and_tells_what_to_run(samespace, held):
    shown = samespace("--home", held, "status", columns=200).stdout
    assert "models" in shown and "vectors" in shown
    assert "unreadable" in shown and "shoes/2 cannot read the 2 vectors that shoes/1 stored in catalog" in shown
    assert "samespace fit orthogonal --source shoes/2 --target shoes/1 --gallery GALLERY" in shown
    report = json.loads(samespace("--home", held, "--json", "status").stdout)
    assert report["counts"]["vectors"] == 2 and report["counts"]["versions"] == 2
    assert [(d["kind"], d["version"], d["against"]) for d in report["decisions"]] == [
        ("unreadable", "shoes/2", "shoes/1")
    ]


def test_status_of_what_needs_nothing(samespace, home, lite):
    assert "nothing needs a decision" in samespace("--home", home, "status").stdout
    lite.register_version("a", dim=4)
    lite.register_version("b", dim=4)
    shown = samespace("--home", home, "status", "--limit", 1, columns=200).stdout
    assert "a/1 is the newest version" in shown and "b/1" not in shown
    assert "these are the most urgent: --limit shows others" in shown


def test_status_for_a_token_that_covers_some(samespace, held, lite, monkeypatch):
    _, text = lite.create_token("ann", models=["shoes"])
    monkeypatch.setenv("SAMESPACE_TOKEN", text)
    with serving(lite) as url:
        report = json.loads(samespace("--home", url, "--json", "status").stdout)
        shown = samespace("--home", url, "status").stdout
    assert report["counts"] is None and len(report["decisions"]) == 1
    assert "What there is" not in shown and "unreadable" in shown


def test_a_check_of_an_encoder_sets_the_exit_code(samespace, held, module, lite):
    check = ("--home", held, "model", "check", "shoes/1", "--encoder")
    assert "the encoder is the registered one: 2 canaries" in samespace(*check, f"{module}:right").stdout
    assert lite.encoder_checks() == []
    said = samespace(*check, f"{module}:wrong", "--record", code=1).stdout
    assert "the encoder is not the registered one" in said and "by 2;" in said
    assert [c.ok for c in lite.encoder_checks()] == [False]
    assert "drifting" in samespace("--home", held, "status").stdout
    report = json.loads(samespace("--json", *check, f"{module}:wrong", "--tolerance", 0.5, code=1).stdout)
    assert (report["version"], report["ok"], report["deviation"], report["recorded"]) == ("shoes/1", False, 2.0, False)


def test_an_encoder_that_cannot_be_called_is_told_in_a_line(samespace, held, module):
    for encoder, says in (
        (module, "a function is named MODULE:FUNCTION"),
        ("nosuchmodule:encode", "put its folder on PYTHONPATH"),
        (f"{module}:nothing", "has no function 'nothing'"),
        (f"{module}:shape", "has no function 'shape'"),
        (f"{module}:broken", f"{module}:broken fails with RuntimeError: no GPU"),
    ):
        done = samespace("--home", held, "model", "check", "shoes/1", "--encoder", encoder, code=1)
        assert says in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_log_is_filtered(samespace, held):
    shown = samespace("--home", held, "log", columns=200).stdout
    assert "gallery.appended" in shown and "version shoes/1, rows 2" in shown and "(local)" in shown
    found = json.loads(samespace("--home", held, "--json", "log", "--subject", "shoes/*", "--limit", 2).stdout)
    assert [(c["action"], c["subject"]) for c in found] == [
        ("canaries.added", "shoes/1"), ("version.registered", "shoes/2"),
    ]  # fmt: skip
    log = ("--home", held, "--json", "log")
    assert {c["action"] for c in json.loads(samespace(*log, "--action", "gallery.created").stdout)} == {
        "gallery.created"
    }
    assert json.loads(samespace(*log, "--until", "2020-01-01").stdout) == []
    assert "no such changes" in samespace("--home", held, "log", "--who", "nobody").stdout
    said = samespace("--home", held, "log", "--since", "yesterday", code=1).stderr
    assert "since must be a moment such as" in said and len(said.splitlines()) == 1


def test_the_transforms_of_a_model(samespace, held, rows):
    from registry.transforms import Affine

    with connect(held) as reg:
        reg.register_version("hats", dim=4)
        for target in ("shoes/2", "hats/1"):
            made = Affine(weight=np.eye(4), bias=np.full(4, len(target)))
            reg.add_transform(made, source="shoes/1", target=target)
    graph = ("--home", held, "--json", "model", "graph")
    assert [t["target"] for t in json.loads(samespace(*graph, "hats").stdout)] == ["hats/1"]
    assert len(json.loads(samespace(*graph).stdout)) == 2
    assert "model coats is not registered" in samespace(*graph, "coats", code=1).stderr
