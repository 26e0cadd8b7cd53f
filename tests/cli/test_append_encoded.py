"""`samespace gallery append --data`: images of a folder, encoded by the version's own encoder."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from registry import connect

MODULE = """
import torch
class flat(torch.nn.Module):
    def __init__(self, in_shape, dim):
        super().__init__()
        self.out = torch.nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], dim)
    def forward(self, x):
        return self.out(x.flatten(1))
"""


@pytest.fixture
def folder(tmp_path):
    """Ten grey images of two classes, five for each part."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for item in range(5):
                pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pets" / part / name / f"{item}.png")
    return tmp_path / "pets"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with `pets/1`, whose encoder has a backbone of the user's own."""
    from align import backbones, publish, tracking
    from align.encoders import Encoder

    sys.modules.pop("petsnet", None)
    (tmp_path / "petsnet.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    network = backbones.build("petsnet:flat", (1, 8, 8), 4)
    encoder = Encoder(network, "petsnet:flat", 4, (1, 8, 8), (100.0,), (50.0,))
    home = tmp_path / "home"
    with connect(home) as reg, tracking.start(home=home, experiment="pets") as tracker:
        publish.add_encoder(reg, encoder, model="pets", method="independent", tracker=tracker)
        reg.create_gallery("bench", id_type="int", labels=["class"])
    yield home, encoder
    sys.modules.pop("petsnet", None)


def test_a_folder_by_an_encoder_that_is_trusted(samespace, home, folder):
    from align.data import load

    path, encoder = home
    append = ("--home", path, "--json", "gallery", "append", "bench", "--version", "pets/1", "--data", f"{folder}:test")
    done = samespace(*append, code=1)
    assert "names the backbone 'petsnet:flat'" in done.stderr and len(done.stderr.splitlines()) == 1
    assert json.loads(samespace(*append, "--trust", "petsnet:flat").stdout)["rows"] == 10
    data = load(folder)
    with connect(path) as reg:
        stored = reg.fetch("bench", ids=data.ids_test.tolist(), into="pets/1").vectors
    assert stored == pytest.approx(encoder.encode(data.x_test), abs=1e-6)
