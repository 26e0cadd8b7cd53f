"""`align.evaluator` through `mlflow.models.evaluate`, on a real store, with encoders of the digits."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from align import data, reporting, tracking, train
from align.evaluator import CompatibilityEvaluator
from align.train import TrainConfig
from registry.errors import DimensionMismatch, InvalidInput
from registry.transforms import Affine, Slerp


def least_squares(x, y):
    return {"weight": np.linalg.lstsq(x, y, rcond=None)[0], "bias": np.zeros(y.shape[1])}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A store with an old, a compatible and an independent encoder and bridges, which MLflow points at for a while."""
    home = tmp_path_factory.mktemp("evaluator") / "home"
    whole = data.load("digits")
    few = np.random.default_rng(0).permutation(len(whole.x_test))[:300]
    digits = replace(whole, x_test=whole.x_test[few], y_test=whole.y_test[few], ids_test=whole.ids_test[few])
    short = {"epochs": 1, "device": "cpu"}
    old = train.run(TrainConfig(dim=6, **short), digits, classes="0-4").encoder
    compatible = train.run(TrainConfig(dim=9, method="oca", **short), digits, old=old).encoder
    independent = train.run(TrainConfig(dim=5, seed=1, **short), digits).encoder
    x, y = independent.encode(digits.x_train), old.encode(digits.x_train)
    with tracking.start(home=home) as tracker:
        models = {"old": old, "new": compatible, "independent": independent}
        models |= {"back": Affine(**least_squares(x, y)), "forth": Affine(**least_squares(y, x))}
        models["slerp"] = Slerp(**least_squares(x, y), alpha=0.5)
        addresses = {
            name: tracker.log_model(model, name=name, registered_model=name, alias="x")
            for name, model in models.items()
        }
        by_id = tracker.log_model(compatible, name="new")
    import mlflow
    from mlflow.models.evaluation.evaluator_registry import _model_evaluation_registry as evaluators

    evaluators.register("samespace", CompatibilityEvaluator)  # as its entry point does where samespace is installed
    mlflow.set_tracking_uri(tracking.default_uri(home))
    experiment_id = mlflow.get_experiment_by_name("samespace").experiment_id
    yield SimpleNamespace(digits=digits, models=models, addresses=addresses, by_id=by_id, experiment_id=experiment_id)
    mlflow.set_tracking_uri(None)


def evaluate(world, model, *, data=None, targets=None, **config):
    import mlflow

    images = world.digits.x_test if data is None else data
    with mlflow.start_run(experiment_id=world.experiment_id):  # whose artifacts are below the home
        return mlflow.models.evaluate(
            model=model,
            data=images.reshape(len(images), -1),
            targets=world.digits.y_test if targets is None else targets,
            model_type="embedder",
            evaluators="samespace",
            evaluator_config={"old_model": "models:/old@x", **config},
        )


def expected(world, new, **options):
    x, old = world.digits.x_test, world.models["old"]
    return reporting.compare(world.digits.y_test, new.encode(x), old=old.encode(x), **options).numbers()


@pytest.mark.parametrize("address", ["models:/new@x", "by id"])
def test_an_upgrade_is_measured_through_mlflow_and_kept_in_its_run(world, address):
    from mlflow import MlflowClient

    found = evaluate(world, world.by_id if address == "by id" else address)
    assert found.metrics == expected(world, world.models["new"])
    assert {"old_old/cmc_at_1", "new_old/cmc_at_5", "new_new/map_at_r", "gain_low/mrr", "verdict/map"} <= set(
        found.metrics
    )
    client = MlflowClient()
    run = client.get_run(found.run_id)
    assert run.data.metrics == found.metrics and run.info.status == "FINISHED"
    assert len(client.get_metric_history(found.run_id, "gain/map")) == 1, "logged once, by MLflow or by the evaluator"
    kept = {file.path for file in client.list_artifacts(found.run_id)}
    assert kept == set(found.artifacts) == {"cmc.png", "compatibility.json", "compatibility.md"}
    assert "their first 6 dimensions" in found.artifacts["compatibility.md"].content
    assert found.artifacts["compatibility.json"].content["queries"] == len(world.digits.x_test)
    assert found.artifacts["cmc.png"].content.size[0] > 500


@pytest.mark.parametrize("name", ["back", "slerp"])
def test_a_bridge_reads_the_old_gallery_on_the_query_side(world, name):
    new, old = world.models["independent"], world.models["old"]
    x = world.digits.x_test
    side = old.encode(x) if name == "slerp" else None
    crossed = (world.models[name].apply(new.encode(x), side=side), old.encode(x))
    found = evaluate(world, "models:/independent@x", transform=world.addresses[name])
    assert found.metrics == expected(world, new, crossed=crossed)


def test_a_bridge_reads_the_old_gallery_on_the_gallery_side(world):
    new, old = world.models["independent"], world.models["old"]
    x = world.digits.x_test
    crossed = (new.encode(x), world.models["forth"].apply(old.encode(x)))
    found = evaluate(world, "models:/independent@x", transform="models:/forth@x", transform_side="gallery")
    assert found.metrics == expected(world, new, crossed=crossed)
    with pytest.raises(DimensionMismatch, match="other way round"):
        evaluate(world, "models:/independent@x", transform="models:/forth@x")


def test_a_reference_and_a_sample(world):
    found = evaluate(world, "models:/new@x", reference_model="models:/independent@x", max_items=150, seed=5)
    assert "reference/map" in found.metrics
    table = found.artifacts["compatibility.md"].content
    assert table.splitlines()[2].startswith("150 items") and "(seed 5)" in table


def test_any_model_that_gives_vectors_can_be_measured(world):
    def pixels(features):
        return features.astype(np.float32)

    found = evaluate(world, pixels, transform=None)
    assert 0 < found.metrics["new_new/map"] < 1 and "new_old/map" in found.metrics


def test_refusals(world):
    images, labels = world.digits.x_test[:40], world.digits.y_test[:40]
    with pytest.raises(InvalidInput, match="knows no 'old'"):
        evaluate(world, "models:/new@x", old="models:/old/1")
    with pytest.raises(InvalidInput, match="lacks old_model"):
        evaluate(world, "models:/new@x", old_model=None)
    with pytest.raises(InvalidInput, match="'query' or 'gallery'"):
        evaluate(world, "models:/new@x", transform_side="both")
    with pytest.raises(InvalidInput, match="is an encoder"):
        evaluate(world, "models:/new@x", transform="models:/old@x")
    with pytest.raises(DimensionMismatch, match="give evaluator_config a transform"):
        evaluate(world, "models:/independent@x")
    with pytest.raises(InvalidInput, match="takes uint8 values"):
        evaluate(world, "models:/new@x", data=images.astype(np.float32), targets=labels)
    with pytest.raises(InvalidInput, match="rows hold 32 values"):
        evaluate(world, "models:/new@x", data=images[:, :, :4], targets=labels)
    with pytest.raises(InvalidInput, match="no query has a relevant item"):
        evaluate(world, "models:/new@x", data=images, targets=np.arange(40))


def test_the_declared_entry_point_is_this_evaluator():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    group = "mlflow.model_evaluator"
    point = EntryPoint("samespace", project["entry-points"][group]["samespace"], group)
    assert point.load() is CompatibilityEvaluator
    assert CompatibilityEvaluator.can_evaluate(model_type="embedder", evaluator_config={})
    assert not CompatibilityEvaluator.can_evaluate(model_type="classifier", evaluator_config={})
