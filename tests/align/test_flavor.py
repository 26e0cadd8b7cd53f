"""`align.flavor`: model folders that MLflow loads, and nothing else than what was saved."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from align import backbones, flavor
from align.encoders import Encoder
from registry.errors import CorruptFile, InvalidInput, NotFound
from registry.tracking import load_function
from registry.transforms import Affine, Orthogonal, Prefix, Slerp, SpaceTag

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 17, (5, 1, 8, 8)).astype(np.uint8)
VECTORS = RNG.standard_normal((5, 6)).astype(np.float32)
OLD = RNG.standard_normal((5, 4)).astype(np.float32)


def encoder(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(backbones.build("smallconv", (1, 8, 8), 4), "smallconv", 4, (1, 8, 8), (5.0,), (6.0,))


def affine(seed=0):
    rng = np.random.default_rng(seed)
    return Affine(weight=rng.standard_normal((6, 4)), bias=rng.standard_normal(4), report={"pairs": 9})


def slerp():
    return Slerp(weight=np.eye(6, 4), bias=np.zeros(4), alpha=0.4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One saved model of each sort."""
    home = tmp_path_factory.mktemp("models")
    for name, thing in {"encoder": encoder(), "affine": affine(), "slerp": slerp()}.items():
        flavor.save_model(thing, home / name)
    return home


def pyfunc(folder, **config):
    import mlflow

    return mlflow.pyfunc.load_model(str(folder), model_config=config or None)


@pytest.mark.parametrize("pixels", ["uint8", "float32"])
def test_an_encoder_embeds_through_pyfunc_as_by_itself(tmp_path, pixels):
    flavor.save_model(encoder(), tmp_path / "m", pixels=pixels)
    model = pyfunc(tmp_path / "m")
    images = IMAGES.astype(pixels)
    embedded = model.predict(images)
    assert embedded.dtype == np.float32 and np.array_equal(embedded, encoder().encode(images))
    inputs = model.metadata.signature.inputs.inputs[0]
    assert (inputs.type, inputs.shape) == (np.dtype(pixels), (-1, 1, 8, 8))
    for wrong in (IMAGES.astype(np.float64), IMAGES[:, :, :4], IMAGES.reshape(5, 64)):
        with pytest.raises(Exception, match="schema"):
            model.predict(wrong)


def test_a_transform_maps_through_pyfunc_as_by_itself(folders):
    model = pyfunc(folders / "affine")
    assert np.array_equal(model.predict(VECTORS), affine().apply(VECTORS))
    with pytest.raises(Exception, match="schema"):
        model.predict(OLD)


def test_a_transform_with_a_side_input_takes_two_arrays(folders):
    model = pyfunc(folders / "slerp")
    given = {"vectors": VECTORS, "side": OLD}
    assert np.array_equal(model.predict(given), slerp().apply(VECTORS, side=OLD))
    assert {spec.name: spec.shape for spec in model.metadata.signature.inputs.inputs} == {
        "vectors": (-1, 6), "side": (-1, 4)
    }  # fmt: skip
    with pytest.raises(Exception, match="schema"):
        model.predict({"vectors": VECTORS})


@pytest.mark.parametrize(
    "thing",
    [
        affine(),
        slerp(),
        Prefix(from_dim=6, to_dim=4),
        Orthogonal(weight=np.eye(6, 4), bias=np.zeros(4)).between(SpaceTag("a/2", "f2"), SpaceTag("a/1", "f1")),
    ],
    ids=lambda thing: thing.kind,
)
def test_a_transform_comes_back_whole(tmp_path, thing):
    flavor.save_model(thing, tmp_path / "m")
    again = flavor.load_model(str(tmp_path / "m"))
    assert type(again) is type(thing) and again.digest() == thing.digest() and again.source == thing.source


def test_an_encoder_comes_back_whole(folders):
    again = flavor.load_model(str(folders / "encoder"))
    assert again.fingerprint() == encoder().fingerprint()
    assert np.array_equal(again.encode(IMAGES), encoder().encode(IMAGES))
    assert pyfunc(folders / "encoder").get_raw_model().fingerprint() == again.fingerprint()


def test_a_folder_says_what_it_is_and_needs_and_holds_no_pickle(folders):
    about = json.loads((folders / "encoder" / "samespace.json").read_text())
    assert about["kind"] == "encoder" and about["fingerprint"] == encoder().fingerprint()
    about = json.loads((folders / "slerp" / "samespace.json").read_text())["transform"]
    assert (about["kind"], about["source_dim"], about["target_dim"], about["side_dim"]) == ("slerp", 6, 4, 4)
    needs = {name: (folders / name / "requirements.txt").read_text() for name in ("encoder", "affine")}
    assert "torch==2" in needs["encoder"] and "torch" not in needs["affine"] and "mlflow==" in needs["affine"]
    assert not any(file.suffix in (".pkl", ".pickle", ".pt", ".pth") for file in folders.rglob("*"))


def test_a_transform_is_served_without_torch(folders):
    code = (
        "import sys, numpy as np; from align import flavor\n"
        "model = flavor._load_pyfunc(sys.argv[1]); model.predict(np.ones((2, 6), np.float32))\n"
        "print('torch' in sys.modules, 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, folders / "affine"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_backbone_of_the_user_s_own_is_imported_only_on_demand(tmp_path, monkeypatch):
    (tmp_path / "mynets.py").write_text(
        "from torch import nn\ndef tiny(shape, dim):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, dim))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    name = "mynets:tiny"
    own = Encoder(backbones.build(name, (1, 8, 8), 4), name, 4, (1, 8, 8), (5.0,), (6.0,))
    flavor.save_model(own, tmp_path / "m")
    sys.modules.pop("mynets")
    for refused in (lambda: flavor.load_model(str(tmp_path / "m")), lambda: pyfunc(tmp_path / "m")):
        with pytest.raises(InvalidInput, match="mynets:tiny"):
            refused()
    assert "mynets" not in sys.modules
    assert np.array_equal(flavor.load_model(str(tmp_path / "m"), trust=name).encode(IMAGES), own.encode(IMAGES))
    assert np.array_equal(pyfunc(tmp_path / "m", trust=name).predict(IMAGES), own.encode(IMAGES))


def damaged(folder, how):
    weights = next(folder.glob("*.safetensors"))
    about = folder / "samespace.json"
    text = about.read_text()
    if how == "a flipped bit":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif how == "another model's weights":
        (encoder(1) if weights.name.startswith("encoder") else affine(1)).save(weights)
    elif how == "weights gone":
        weights.unlink()
    elif how == "no description":
        about.unlink()
    elif how == "a description that is no JSON":
        about.write_text(text[:-10])
    elif how == "a description of something else":
        about.write_text("[1, 2]")
    elif how == "a kind that leads elsewhere":
        about.write_text(
            text.replace('"kind": "encoder"', '"kind": "../x"').replace('"kind": "transform"', '"kind": 3')
        )
    elif how == "a later format":
        about.write_text(text.replace('"format": 1', '"format": 2'))
    else:  # a file that was made to pass the checksum
        weights.write_bytes(b"\x80\x04K\x01.")
        about.write_text(text.replace(json.loads(text)["sha256"], flavor._sha256(weights)))


@pytest.mark.parametrize("name", ["encoder", "affine"])
@pytest.mark.parametrize(
    "how",
    [
        "a flipped bit", "another model's weights", "weights gone", "no description", "a description that is no JSON",
        "a description of something else", "a kind that leads elsewhere", "a later format", "a forged file",
    ],
)  # fmt: skip
def test_tampered_and_foreign_files_are_refused(folders, tmp_path, name, how):
    folder = tmp_path / "m"
    shutil.copytree(folders / name, folder)
    damaged(folder, how)
    with pytest.raises(CorruptFile):
        flavor.load_model(str(folder))
    with pytest.raises(CorruptFile):
        pyfunc(folder)


def test_refusals(folders, tmp_path):
    with pytest.raises(InvalidInput, match="Encoder or a Transform, got dict"):
        flavor.save_model({}, tmp_path / "a")
    with pytest.raises(InvalidInput, match="pixels"):
        flavor.save_model(encoder(), tmp_path / "b", pixels="int8")
    assert not any(tmp_path.iterdir())
    with pytest.raises(InvalidInput, match="not empty"):
        flavor.save_model(affine(), folders / "encoder")
    with pytest.raises(NotFound, match="no model folder"):
        flavor.load_model(str(tmp_path / "none"))


def test_a_backfill_s_pictures_are_given_to_a_model_only_as_it_takes_them(folders):
    """Of another layout, size or scale they would give vectors that mean nothing."""
    encode = load_function(str(folders / "encoder"), None)
    np.testing.assert_array_equal(encode(IMAGES), encoder().encode(IMAGES))
    with pytest.raises(InvalidInput, match=r"takes \(n, 1, 8, 8\) uint8, got \(5, 8, 8\) uint8: name a package.module"):
        encode(IMAGES[:, 0])
