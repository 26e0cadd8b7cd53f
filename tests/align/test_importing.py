"""`align.importing` and `samespace model import`, from a real MLflow store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from align import data, publish, registered, tracking
from align.importing import Imported, import_models
from registry import connect
from registry.errors import BadName, CorruptFile, InvalidInput, NotFound, Unavailable
from registry.transforms import Prefix

NUMBERS = count(1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, samespace):
    """The home of two trained versions, digits/1 and digits/2, the second one compatible with the first."""
    folder = tmp_path_factory.mktemp("importing") / "home"
    short = ("--model", "digits", "--data", "digits", "--epochs", "1", "--classes", "0-2")
    samespace("--home", folder, "train", "independent", *short, "--dim", "4")
    samespace("--home", folder, "train", "oca", *short, "--dim", "6", "--old", "digits/1")
    return folder


@pytest.fixture(scope="module")
def uri(trained):
    return tracking.default_uri(trained)


@pytest.fixture(scope="module")
def client(uri):
    return tracking.open_client(uri)


@pytest.fixture(scope="module")
def run(trained):
    with tracking.start(home=trained, experiment="foreign") as tracker:
        tracker.log_params({"dim": 5})
    return tracker.run_id


@pytest.fixture
def name(client):
    """A registered model of MLflow of its own for each test."""
    made = f"foreign-{next(NUMBERS)}"
    client.create_registered_model(made)
    return made


def signature(*shape, dtype=np.float32):
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs = Schema([TensorSpec(np.dtype(np.float32), (-1, 3))])
    return ModelSignature(inputs, Schema([TensorSpec(np.dtype(dtype), shape)]) if shape else None)


@pytest.fixture
def add(client, name, tmp_path):
    """Register the next version of `name`: a pyfunc with such an output, whose weights are `weights`."""

    def make(*shape, weights=b"w", **options):
        from mlflow import pyfunc

        folder = tmp_path / f"model-{next(NUMBERS)}"
        file = tmp_path / "weights.bin"
        file.write_bytes(weights)
        pyfunc.save_model(str(folder), loader_module="nowhere", data_path=str(file), pip_requirements=["numpy"],
                          signature=signature(*shape) if shape else None)  # fmt: skip
        client.create_model_version(name, source=folder.as_uri(), **options)
        return folder

    return make


def mlflow_tags(client, name, number):
    return client.get_model_version(name, str(number)).tags


def test_our_own_encoders_come_with_all_that_training_registered(lite, trained, uri, client):
    client.set_registered_model_alias("digits", "champion", 1)
    done = import_models(lite, "models:/digits", tracking_uri=uri, metric="dot", dim=9)  # which the models know better
    assert done == [
        Imported("models:/digits/1", "digits/1", "new", 4, ("champion",)),
        Imported("models:/digits/2", "digits/2", "new", 6),
    ]
    with connect(trained) as origin:
        for here, there in zip(lite.versions("digits"), origin.versions("digits"), strict=True):
            for field in (
                "fingerprint",
                "facts",
                "source",
                "run_id",
                "parent",
                "method",
                "dim",
                "metric",
                "normalized",
            ):
                assert getattr(here, field) == getattr(there, field), field
        (here,), (there,) = lite.transforms(), origin.transforms()
    assert (here.kind, here.source, here.target, here.run_id) == ("prefix", "digits/2", "digits/1", there.run_id)
    assert lite.version("digits@champion").number == 1
    assert mlflow_tags(client, "digits", 2) == {"samespace.version": "digits/2", "samespace.home": lite.home}
    encoder = publish.encoder_of(lite.version("digits/2"), tracking_uri=uri)
    assert encoder.encode(data.load("digits").x_test[:2]).shape == (2, 6)


def test_a_home_knows_what_it_trained_itself(trained, uri, client, name):
    with connect(trained) as origin:
        before = origin.versions("digits")
        done = import_models(origin, "models:/digits", tracking_uri=uri)
        assert [(d.version, d.state) for d in done] == [("digits/1", "known"), ("digits/2", "known")]
        assert [v.ref for v in origin.versions("digits")] == [v.ref for v in before]


def test_a_foreign_model_tells_its_width_by_its_signature(lite, uri, client, name, add, run):
    add(-1, 7, run_id=run, tags={"team": "search", "Team": "x", "mlflow.note": "x", "empty": ""}, description="seven")
    assert import_models(lite, f"models:/{name}", tracking_uri=uri, metric="dot")[0].dim == 7
    version = lite.version(f"{name}/1")
    assert (version.dim, version.metric, version.method) == (7, "dot", "independent")
    assert (version.source, version.run_id) == (f"models:/{name}/1", run)
    assert version.tags == {"team": "search", "description": "seven"}
    assert set(version.facts) == {"mlflow_model", "artifacts", "flavors", "signature"}
    assert (
        version.facts["flavors"] == ["python_function"] and '"shape": [-1, 7]' in version.facts["signature"]["outputs"]
    )
    assert mlflow_tags(client, name, 1)["samespace.version"] == version.ref


def test_a_model_of_the_fluent_api(lite, trained, uri, client, name):
    import mlflow

    try:
        mlflow.set_tracking_uri(uri)
        with mlflow.start_run(experiment_id=client.get_experiment_by_name("digits").experiment_id) as run:
            mlflow.pyfunc.log_model(
                name="m", loader_module="nowhere", pip_requirements=["numpy"], registered_model_name=name,
                signature=signature(-1, 9),
            )  # fmt: skip
    finally:
        mlflow.set_tracking_uri(None)
    assert import_models(lite, f"models:/{name}", tracking_uri=uri)[0].dim == 9
    version = lite.version(f"{name}/1")
    assert version.run_id == run.info.run_id and version.facts["mlflow_model"].startswith("m-")


@pytest.mark.parametrize("shape", [(), (-1,), (-1, -1), (-1, 2, 2), (-1, 65537)])
def test_the_width_that_a_signature_does_not_tell_is_asked_for(lite, uri, name, add, run, shape):
    add(*shape)
    with pytest.raises(InvalidInput, match=rf"^models:/{name}/1 is not imported: how wide its vectors are .* --dim$"):
        import_models(lite, f"models:/{name}", tracking_uri=uri)
    with pytest.raises(NotFound):
        lite.versions(name)
    add(*shape, run_id=run)  # whose parameter says it
    done = import_models(lite, f"models:/{name}", tracking_uri=uri, dim=8)
    assert [d.dim for d in done] == [8, 5]


def test_a_version_that_fails_leaves_those_before_it(samespace, tmp_path, uri, client, name, add):
    for shape in ((-1, 3), (), (-1, 4)):
        add(*shape)
    client.set_registered_model_alias(name, "champion", 1)
    there = ("--home", tmp_path / "there", "model", "import", f"models:/{name}", "--tracking-uri", uri)
    failed = samespace(*there, code=1)
    assert failed.stdout == f"imported models:/{name}/1 as {name}/1 (3-d) @champion\n"
    assert failed.stderr.startswith(f"Error: models:/{name}/2 is not imported (1 before it are done): how wide")
    done = json.loads(samespace("--home", tmp_path / "there", "--json", *there[2:], "--dim", "2").stdout)
    assert [(d["state"], d["version"], d["dim"]) for d in done] == [
        ("known", f"{name}/1", 3), ("new", f"{name}/2", 2), ("new", f"{name}/3", 4)
    ]  # fmt: skip


def test_aliases_are_translated_and_follow(lite, uri, client, name, add):
    for n in range(3):
        add(-1, 3 + n)
    client.delete_model_version(name, "1")
    for alias, number in {"champion": 2, "Champion": 2, "7": 2, "challenger": 3}.items():
        client.set_registered_model_alias(name, alias, number)
    first, second = import_models(lite, f"models:/{name}", tracking_uri=uri)
    assert (first.source, first.version, first.aliases) == (f"models:/{name}/2", f"{name}/1", ("champion",))
    assert "'7' is not allowed" in first.note and "'Champion' is not allowed" in first.note
    assert (second.version, second.aliases, second.note) == (f"{name}/2", ("challenger",), "")
    assert lite.version(f"{name}@champion").number == 1
    client.set_registered_model_alias(name, "champion", 3)
    changes = len(lite.changes())
    again = import_models(lite, f"models:/{name}", tracking_uri=uri)
    assert [(d.state, d.aliases) for d in again] == [("known", ()), ("known", ("challenger", "champion"))]
    assert lite.version(f"{name}@champion").number == 2
    import_models(lite, f"models:/{name}", tracking_uri=uri)
    assert len(lite.changes()) == changes + 1, "only what moved is written"


def test_one_version_by_number_and_by_alias(lite, uri, client, name, add):
    for n in range(3):
        add(-1, 3 + n)
    client.set_registered_model_alias(name, "champion", 2)
    assert [d.source for d in import_models(lite, f"models:/{name}@champion", tracking_uri=uri)] == [
        f"models:/{name}/2"
    ]
    assert lite.version(f"{name}@champion").dim == 4
    assert [d.version for d in import_models(lite, f"models:/{name}/3", tracking_uri=uri)] == [f"{name}/2"]
    client.delete_model_version(name, "1")
    for wrong, said in (
        ("/1", "has no version 1, it has 2, 3: was it deleted"),
        ("@x", "has no alias 'x', it has champ"),
    ):
        with pytest.raises(NotFound, match=said):
            import_models(lite, f"models:/{name}{wrong}", tracking_uri=uri)


def test_a_dry_run_changes_nothing(samespace, lite, uri, client, name, add):
    add(-1, 3)
    client.set_registered_model_alias(name, "champion", 1)
    there = ("--home", lite.home, "model", "import", f"models:/{name}", "--tracking-uri", uri)
    assert samespace(*there, "--dry-run").stdout == f"would import models:/{name}/1 (3-d) @champion\n"
    assert not lite.models() and not mlflow_tags(client, name, 1)
    samespace(*there)
    client.delete_registered_model_alias(name, "champion")
    client.set_registered_model_alias(name, "live", 1)
    assert samespace(*there, "--dry-run").stdout == f"models:/{name}/1 is {name}/1 (3-d) @live\n"
    assert lite.version(f"{name}/1").aliases == ("champion",)


def test_one_encoder_registered_twice_is_one_version(lite, uri, client, name, add):
    folder = add(-1, 3)
    client.create_model_version(name, source=folder.as_uri())
    add(-1, 3)  # the same files, but saved by another run: nothing says that it is the same model
    client.set_registered_model_alias(name, "champion", 2)
    for _ in range(2):
        done = import_models(lite, f"models:/{name}", tracking_uri=uri)
        assert [d.version for d in done] == [f"{name}/1", f"{name}/1", f"{name}/2"]
    assert done[1].note == f"the same encoder as models:/{name}/1"
    assert lite.version(f"{name}@champion").number == 1


def test_transforms_and_unfinished_versions_are_left_out(lite, trained, uri, client, name, add):
    with tracking.start(home=trained) as tracker:
        tracker.log_model(Prefix(from_dim=4, to_dim=2), name="t", registered_model=name)
    add(-1, 3)
    done = import_models(lite, f"models:/{name}", tracking_uri=uri)
    assert [(d.state, d.version) for d in done] == [("left out", None), ("new", f"{name}/1")]
    assert done[0].note == "it is a transform, not an encoder"
    _, whole = registered.versions(client, registered.parse(f"models:/{name}"))
    unfinished = registered.describe(client, replace(whole, status="PENDING_REGISTRATION"))
    assert unfinished.left_out == "MLflow has not registered it whole (status PENDING_REGISTRATION)"


def test_a_model_whose_files_are_gone_is_known_by_its_place(lite, uri, client, name, add, run):
    shutil.rmtree(add(-1, 3, run_id=run))
    shutil.rmtree(add(-1, 3))
    with pytest.raises(InvalidInput, match=r"parameter dim \(its files cannot be read.*\): say it with --dim"):
        import_models(lite, f"models:/{name}/2", tracking_uri=uri)
    (done,) = import_models(lite, f"models:/{name}/1", tracking_uri=uri)
    assert done.dim == 5 and done.note.startswith("its files cannot be read")
    assert set(lite.version(f"{name}/1").facts) == {"mlflow_model"}


def test_an_encoder_of_ours_that_was_changed_is_refused(lite, trained, uri, client, name):
    with tracking.start(home=trained) as tracker, connect(trained) as origin:
        encoder = publish.encoder_of(origin.version("digits/1"), tracking_uri=uri)
        address = tracker.log_model(encoder, name="e", registered_model=name)
    folder = client.get_model_version_download_uri(name, address.rpartition("/")[2]).removeprefix("file://")
    with open(f"{folder}/encoder.safetensors", "ab") as file:
        file.write(b"x")
    with pytest.raises(CorruptFile, match="fails its checksum"):
        import_models(lite, f"models:/{name}", tracking_uri=uri)


def test_another_model_under_the_same_address_is_noticed(lite, trained, uri, client, name, add, run):
    add(-1, 3, run_id=run)
    import_models(lite, f"models:/{name}", tracking_uri=uri)
    client.delete_registered_model(name)
    client.create_registered_model(name)
    with tracking.start(home=trained) as tracker:
        pass
    add(-1, 3, run_id=tracker.run_id)
    with pytest.raises(InvalidInput, match=f"{name}/1 came from that address too.*--as"):
        import_models(lite, f"models:/{name}", tracking_uri=uri)
    assert import_models(lite, f"models:/{name}", tracking_uri=uri, model="other")[0].version == "other/1"


def test_a_store_that_takes_no_links_is_read_all_the_same(lite, uri, name, add, monkeypatch):
    from mlflow import MlflowClient

    def refuse(*_):
        raise PermissionError("read only")

    add(-1, 3)
    monkeypatch.setattr(MlflowClient, "set_model_version_tag", refuse)
    (done,) = import_models(lite, f"models:/{name}", tracking_uri=uri)
    assert (done.version, done.note) == (f"{name}/1", "MLflow did not take the link back: read only")


def test_names_that_are_not_allowed_here(lite, uri, client):
    client.create_registered_model("My Model's")
    with pytest.raises(BadName, match=r"\"My Model's\" is not allowed.*--as"):
        import_models(lite, "models:/My Model's", tracking_uri=uri)
    with pytest.raises(BadName, match="'A B' is not allowed"):
        import_models(lite, "models:/digits", tracking_uri=uri, model="A B")
    assert import_models(lite, "models:/My Model's", tracking_uri=uri, model="mine") == []


def test_mistakes_are_one_line(samespace, lite, uri, client, name, tmp_path):
    command = ("--home", lite.home, "model", "import")
    for wrong in ("digits", "runs:/0123/x", "models:/", "models:/a/latest", "models:/a/b/c"):
        assert "write models:/NAME" in samespace(*command, wrong, "--tracking-uri", uri, code=1).stderr
    done = samespace(*command, "models:/nobody", "--tracking-uri", uri, code=1)
    assert "has no registered model 'nobody'" in done.stderr and len(done.stderr.splitlines()) == 1
    assert "say where it is with --tracking-uri" in samespace(*command, "models:/digits", code=1).stderr
    missing = tmp_path / "none.db"
    samespace(*command, "models:/digits", "--tracking-uri", f"sqlite:///{missing}", code=1)
    assert not missing.exists()
    assert samespace(*command, f"models:/{name}", "--tracking-uri", uri).stdout == f"models:/{name} has no versions\n"
    with pytest.raises(Unavailable, match="cannot be opened"):
        import_models(lite, "models:/digits", tracking_uri="no-such-scheme://x")


def test_mlflow_is_imported_only_when_used():
    code = "import sys, align.importing, registry.cli.model; print(*(m in sys.modules for m in ('mlflow', 'torch')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
