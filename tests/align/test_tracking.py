"""`align.tracking` on a real MLflow store in a fresh folder."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest

from align import data, flavor, reporting, tracking, train
from align.train import TrainConfig
from registry.errors import InvalidInput, NotFound, Unavailable
from registry.transforms import Prefix


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One home for the module: making a fresh store costs seconds."""
    return tmp_path_factory.mktemp("tracking") / "home"


@pytest.fixture(scope="module")
def client(store):
    from mlflow import MlflowClient

    with tracking.start(home=store, experiment="warm up"):
        pass
    return MlflowClient(tracking_uri=tracking.default_uri(store))


def test_a_training_run_is_kept_whole(store, client):
    digits = data.load("digits")
    config = TrainConfig(dim=4, epochs=3, warmup_epochs=1, device="cpu")
    with tracking.start(home=store, experiment="digits", run_name="first") as tracker:
        result = train.run(config, digits, tracker=tracker)
        address = tracker.log_model(result.encoder, name="encoder")
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert run.data.params["method"] == "independent"
    assert run.data.params["data_digest"] == digits.digest()
    assert run.data.tags["env.torch"] == result.encoder.libraries["torch"]
    losses = client.get_metric_history(tracker.run_id, "loss")
    assert [(m.step, m.value) for m in losses] == [(int(e["epoch"]), e["loss"]) for e in result.history]
    assert run.info.artifact_uri.startswith((store / "mlruns").as_uri())
    again = flavor.load_model(address, tracking_uri=tracking.default_uri(store))
    assert again.fingerprint() == result.encoder.fingerprint()
    assert np.array_equal(again.encode(digits.x_test[:5]), result.encoder.encode(digits.x_test[:5]))


@pytest.fixture(scope="module")
def encoder():
    return train.run(TrainConfig(dim=4, epochs=1, device="cpu"), data.load("digits")).encoder


def test_models_are_logged_registered_and_found_again(store, client, encoder):
    import mlflow

    uri, before = tracking.default_uri(store), mlflow.get_tracking_uri()
    with tracking.start(home=store, experiment="digits") as tracker:
        tracker.log_params({"dim": 4})
        alone = tracker.log_model(encoder, name="encoder")
        first = tracker.log_model(encoder, name="encoder", registered_model="digits", alias="champion")
        bridge = Prefix(from_dim=4, to_dim=2)
        second = tracker.log_model(bridge, name="bridge", registered_model="digits")
        assert mlflow.active_run() is None and mlflow.get_tracking_uri() == before
    assert (first, second) == ("models:/digits/1", "models:/digits/2")
    for address in (alone, first, "models:/digits@champion"):
        assert flavor.load_model(address, tracking_uri=uri).fingerprint() == encoder.fingerprint()
    assert flavor.load_model(second, tracking_uri=uri).digest() == bridge.digest()
    assert client.get_registered_model("digits").aliases == {"champion": 1}
    made = client.get_logged_model(alone.removeprefix("models:/"))
    assert (made.status, made.source_run_id, made.params) == ("READY", tracker.run_id, {"dim": "4"})
    run = client.get_run(tracker.run_id)
    assert len(run.outputs.model_outputs) == 3
    assert client.get_model_version("digits", "1").run_id == tracker.run_id


def test_two_stores_at_once_do_not_mix(store, client, encoder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(store / "mlflow.db", other)  # making a fresh one costs seconds
    with tracking.start(home=store) as a, tracking.start(home=other, experiment="another") as b:
        in_a = a.log_model(encoder, name="a", registered_model="mine")
        in_b = b.log_model(Prefix(from_dim=4, to_dim=2), name="b", registered_model="mine")
    assert in_a == in_b == "models:/mine/1"
    assert flavor.load_model(in_a, tracking_uri=tracking.default_uri(store)).dim == 4
    assert flavor.load_model(in_b, tracking_uri=tracking.default_uri(other)).target_dim == 2


def test_what_cannot_be_a_model_leaves_nothing_behind(store, client, encoder):
    with tracking.start(home=store) as tracker:
        for wrong in (
            {"name": "a/b"},
            {"name": ""},
            {"name": "e", "alias": "x"},
            {"name": "e", "registered_model": "a/b"},
            {"name": "e", "registered_model": ".."},
            {"name": "e", "registered_model": "refused", "alias": "latest"},
            {"name": "e", "registered_model": "refused", "alias": "V2"},
            {"name": "e", "registered_model": "refused", "pixels": "int8"},
        ):
            with pytest.raises(InvalidInput):
                tracker.log_model(encoder, **wrong)
        with pytest.raises(InvalidInput, match="got str"):
            tracker.log_model("encoder", name="e", registered_model="refused")
    run = client.get_run(tracker.run_id)
    assert not run.outputs.model_outputs
    assert not client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{tracker.run_id}'"
    )
    assert "refused" not in [model.name for model in client.search_registered_models()]


def test_a_report_of_an_upgrade_is_kept_with_its_run(store, client, encoder, tmp_path):
    digits = data.load("digits")
    result = train.run(TrainConfig(method="oca", dim=6, epochs=2, device="cpu"), digits, old=encoder)
    with tracking.start(home=store) as tracker:
        report = reporting.log_report(tracker, result, digits, old=[encoder], most=200)
    run = client.get_run(tracker.run_id)
    assert {file.path for file in client.list_artifacts(tracker.run_id)} == {
        "cmc.png", "compatibility.json", "compatibility.md", "training.png"
    }  # fmt: skip
    rows = reporting.choose(len(digits.x_test), most=200)
    again = reporting.compare(
        digits.y_test[rows],
        result.encoder.encode(digits.x_test[rows]),
        old=encoder.encode(digits.x_test[rows]),
    )
    assert run.data.metrics == report.numbers() == again.numbers()
    assert report.items == 200 and set(report.cells) == {"old/old", "new/old", "new/new"}
    table = tracking.fetch(
        f"runs:/{tracker.run_id}/compatibility.md", tmp_path, tracking_uri=tracking.default_uri(store)
    )
    assert "| verdict |" in table.read_text()


def test_a_test_part_that_cannot_be_ranked_leaves_the_training_curve(store, client):
    digits = data.load("digits")
    first = [int(np.flatnonzero(digits.y_test == c)[0]) for c in range(10)]
    one_each = data.Dataset(
        "one each", digits.x_train, digits.y_train, digits.x_test[first], digits.y_test[first], digits.class_names
    )
    result = train.run(TrainConfig(dim=4, epochs=1, device="cpu"), one_each)
    with tracking.start(home=store) as tracker:
        assert reporting.log_report(tracker, result, one_each) is None
    assert [file.path for file in client.list_artifacts(tracker.run_id)] == ["training.png"]


def test_artifacts_text_and_tags(store, client, tmp_path):
    (tmp_path / "t.bin").write_bytes(b"abc")
    with tracking.start(home=store, experiment="digits") as tracker:
        address = tracker.log_artifact(tmp_path / "t.bin", folder="maps")
        tracker.log_text("| a |", "table.md")
        tracker.log_tags({"kind": "orthogonal"})
        with pytest.raises(NotFound, match="no file"):
            tracker.log_artifact(tmp_path / "none.bin")
    uri = tracking.default_uri(store)
    assert address == f"runs:/{tracker.run_id}/maps/t.bin"
    assert tracking.fetch(address, tmp_path / "down", tracking_uri=uri).read_bytes() == b"abc"
    assert tracking.fetch(f"runs:/{tracker.run_id}/table.md", tmp_path, tracking_uri=uri).read_text() == "| a |"
    assert client.get_run(tracker.run_id).data.tags["kind"] == "orthogonal"


def test_a_run_that_raises_is_marked_failed(store, client):
    with pytest.raises(KeyError), tracking.start(home=store) as tracker:
        raise KeyError("x")
    assert client.get_run(tracker.run_id).info.status == "FAILED"


def test_two_runs_at_once_do_not_mix(store, client):
    with tracking.start(home=store) as a, tracking.start(home=store) as b:
        a.log_metrics({"m": 1.0})
        b.log_metrics({"m": 2.0}, step=7)
    assert [client.get_run(t.run_id).data.metrics["m"] for t in (a, b)] == [1.0, 2.0]


def test_quiet_and_no_telemetry(client):
    assert logging.getLogger("mlflow").level >= logging.WARNING
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()


def test_mlflow_is_imported_only_when_used():
    code = (
        "import sys, align.tracking, align.flavor, align.evaluator, align.reporting; print('torch' in sys.modules)\n"
        "import align.train; print(*(m in sys.modules for m in ('mlflow', 'sqlalchemy', 'matplotlib')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 4


def test_refusals(store, client, tmp_path):
    uri = tracking.default_uri(store)
    with pytest.raises(InvalidInput, match="address or a home"), tracking.start():
        pass
    for bad in ("models:/x/latest", "models:/", "models:/x@", "runs:/", "runs:/abc", "x"):
        with pytest.raises(InvalidInput, match="does not parse"):
            tracking.fetch(bad, tmp_path, tracking_uri=uri)
    with pytest.raises(NotFound, match="is not in"):
        tracking.fetch("runs:/0123/encoder.safetensors", tmp_path, tracking_uri=uri)
    for missing in ("models:/x/1", "models:/x@champion", "models:/m-0123"):
        with pytest.raises(NotFound, match="is not in"):
            tracking.fetch(missing, tmp_path, tracking_uri=uri)
    with pytest.raises(Unavailable, match="cannot be opened"), tracking.start("no-such-scheme://x"):
        pass
