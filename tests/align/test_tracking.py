"""`align.tracking` on a real MLflow store in a fresh folder."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import pytest

from align import data, tracking, train
from align.encoders import Encoder
from align.train import TrainConfig
from registry.errors import InvalidInput, NotFound, Unavailable


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


def test_a_training_run_is_kept_whole(store, client, tmp_path):
    digits = data.load("digits")
    config = TrainConfig(dim=4, epochs=3, warmup_epochs=1, device="cpu")
    with tracking.start(home=store, experiment="digits", run_name="first") as tracker:
        result = train.run(config, digits, tracker=tracker)
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert run.data.params["method"] == "independent"
    assert run.data.params["data_digest"] == digits.digest()
    assert run.data.tags["env.torch"] == result.encoder.libraries["torch"]
    losses = client.get_metric_history(tracker.run_id, "loss")
    assert [(m.step, m.value) for m in losses] == [(int(e["epoch"]), e["loss"]) for e in result.history]
    assert run.info.artifact_uri.startswith((store / "mlruns").as_uri())
    address = f"runs:/{tracker.run_id}/encoder.safetensors"
    path = tracking.fetch(address, tmp_path / "down", tracking_uri=tracking.default_uri(store))
    again = Encoder.load(path)
    assert again.fingerprint() == result.encoder.fingerprint()
    assert np.array_equal(again.encode(digits.x_test[:5]), result.encoder.encode(digits.x_test[:5]))


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
    code = "import sys, align.train, align.tracking; print('mlflow' in sys.modules, 'sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_refusals(store, client, tmp_path):
    uri = tracking.default_uri(store)
    with pytest.raises(InvalidInput, match="address or a home"), tracking.start():
        pass
    for bad in ("models:/x/1", "runs:/", "runs:/abc"):
        with pytest.raises(InvalidInput, match="does not parse"):
            tracking.fetch(bad, tmp_path, tracking_uri=uri)
    with pytest.raises(NotFound, match="is not in"):
        tracking.fetch("runs:/0123/encoder.safetensors", tmp_path, tracking_uri=uri)
    with pytest.raises(Unavailable, match="cannot be opened"), tracking.start("no-such-scheme://x"):
        pass
