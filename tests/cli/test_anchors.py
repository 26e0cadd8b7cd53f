"""`samespace fit anchors`, `fit relative` and `train anchors`, from stored vectors alone."""

from __future__ import annotations

import json

import click
import numpy as np
import pytest

from align.anchors import STRATEGIES
from registry import connect
from registry.cli import relative, train_anchors
from registry.cli.context import Context
from registry.transforms.similarities import WIDTHS


@pytest.fixture
def items(home):
    """200 items embedded by an old and a new version, 100 more by the new one only, in random order of their ids."""
    rng = np.random.default_rng(0)
    label = np.arange(300) % 6
    new = rng.normal(size=(300, 12)) + 2 * np.eye(6, 12)[label]
    old = new[:, :8] + 0.5 * rng.normal(size=(300, 8))
    ids = [f"item {i}" for i in rng.permutation(300)]
    with connect(home) as reg:
        for dim in (8, 12):
            reg.register_version("m", dim=dim)
        reg.create_gallery("bench", labels=["class"])
        reg.append("bench", version="m/2", ids=ids, vectors=new, labels={"class": label.astype(str)})
        reg.append("bench", version="m/1", ids=ids[:200], vectors=old[:200])
    return ids, old, new


@pytest.fixture
def call(samespace, home, items):
    return lambda *arguments, code=0: samespace("--home", home, *arguments, code=code)


def test_choices_are_what_the_library_has():
    assert relative.STRATEGIES == STRATEGIES


@pytest.mark.parametrize("similarity", ["whitened", "product"])
def test_from_anchors_to_the_table(call, similarity):
    made = json.loads(
        call(
            "--json", "fit", "anchors", "w", "--gallery", "bench", "--version", "m/1", "-k", "20", "--similarity",
            similarity, "--quantum", "0.01",
        ).stdout
    )  # fmt: skip
    assert (made["similarity"], made["quantum"], made["dim"]) == (similarity, 0.01, 20 * WIDTHS[similarity])
    for version in ("m/1", "m/2"):
        info = json.loads(call("--json", "fit", "relative", "--source", version, "--anchors", "w").stdout)
        assert info["target_dim"] == made["dim"]
    assert "relative anchors" in call("evaluate", "bench").stdout


def test_anchors_are_items_of_the_version(call, items, home):
    ids, old, _ = items
    call("fit", "anchors", "w", "--gallery", "bench", "--version", "m/1", "-k", "9", "--strategy", "fps")
    with connect(home) as reg:
        (found,) = reg.anchor_sets()
    assert set(found.ids) <= set(ids[:200])
    # The farthest point after the first is the one that the vectors, by id, say.
    units = old[:200] / np.linalg.norm(old[:200], axis=1, keepdims=True)
    rows = [ids.index(i) for i in found.ids]
    assert rows[1] == np.argmin(units @ units[rows[0]])


def test_learned_anchors(home, items, call, learn_command):
    made = json.loads(
        learn_command(
            "new", "--gallery", "bench", "--version", "m/1", "--version", "m/2", "-k", "12", "--items", "6",
            "--epochs", "3", "--similarity", "whitened", as_json=True,
        )
    )  # fmt: skip
    ids = items[0]
    assert (made["similarity"], made["dim"], len(made["ids"])) == ("whitened", 12, 72)
    assert set(made["ids"]) <= set(ids[:200]), "of the items that both embedded"
    np.testing.assert_allclose(np.bincount(made["anchor"], made["weights"]), 1, atol=1e-5)
    for version in ("m/1", "m/2"):
        call("fit", "relative", "--source", version, "--anchors", "new")
    assert "relative anchors" in call("evaluate", "bench").stdout
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=Context(str(home), None, False).tracking_uri)
    run = client.get_run(made["run_id"])
    assert run.data.params["versions"] == "m/1, m/2"
    assert run.data.params["rows"] == "200"
    assert {"loss", "heldout"} <= set(run.data.metrics)
    assert [a.path for a in client.list_artifacts(made["run_id"])] == ["anchors.json"]


@pytest.fixture
def learn_command(home):
    """Call `samespace train anchors`; its command object stands alone until `samespace train` has it."""
    from click.testing import CliRunner

    def run(*arguments, as_json=False):
        done = CliRunner().invoke(
            train_anchors.command, arguments, obj=Context(str(home), None, as_json), catch_exceptions=True
        )
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    return run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("x", "--gallery", "bench", "--version", "m/1"), "two versions or more, each once, got m/1"),
        (("x", "--gallery", "bench", "--version", "m/1", "--version", "m/1"), "each once, got m/1, m/1"),
        (("x", "--gallery", "none", "--version", "m/1", "--version", "m/2"), "none"),
        (("X Y", "--gallery", "bench", "--version", "m/1", "--version", "m/2"), "anchor set"),
        (("x", "--gallery", "bench", "--version", "m/1", "--version", "m/2", "-k", "500"), "k must be a whole number"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(learn_command, items, home, arguments, says):
    with pytest.raises(Exception, match=says) as caught:
        learn_command(*arguments)
    assert "\n" not in str(caught.value)
    with connect(home) as reg:
        assert reg.anchor_sets() == []


def test_a_taken_name_is_refused_before_the_work(learn_command, items, home, call):
    call("fit", "anchors", "w", "--gallery", "bench", "--version", "m/1", "-k", "5")
    with pytest.raises(Exception, match="anchor set w exists and is frozen"):
        learn_command("w", "--gallery", "bench", "--version", "m/1", "--version", "m/2")


def test_the_command_is_a_click_command():
    assert isinstance(train_anchors.command, click.Command)
    assert train_anchors.command.name == "anchors"
