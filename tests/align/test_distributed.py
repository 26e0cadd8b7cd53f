"""`torchrun` with two processes has the loss curve of one process with the same batch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from align import data, train
from align.train import TrainConfig

OPTIONS = {"dim": 8, "epochs": 2, "warmup_epochs": 1, "seed": 3, "flip": True, "device": "cpu"}
CHILD = """
import json, os, sys
from align import data, train
from align.encoders import Encoder
from align.train import TrainConfig
options, method, out = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
digits = data.load("digits", seed=11)
old = train.run(TrainConfig(**options), digits, classes="0-4").encoder
more = {} if method == "independent" else {"old": old}
result = train.run(TrainConfig(**{**options, "method": method}), digits, **more)
with open(f"{out}.{os.environ['RANK']}", "w") as file:
    json.dump([list(result.history), result.encoder.fingerprint()["weights"]], file)
"""


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script]
    done = subprocess.run(
        [*launch, json.dumps(OPTIONS), "oca", tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (history, weights), (other, same) = (json.loads((tmp_path / f"out.{rank}").read_text()) for rank in (0, 1))
    assert weights == same, "both processes hold one model"
    assert [e["loss"] for e in history] == [e["loss"] for e in other]
    digits = data.load("digits", seed=11)
    old = train.run(TrainConfig(**OPTIONS), digits, classes="0-4").encoder
    alone = train.run(TrainConfig(**{**OPTIONS, "method": "oca"}), digits, old=old)
    for shared, single in zip(history, alone.history, strict=True):
        assert shared["class_loss"] == pytest.approx(single["class_loss"], rel=0.02)
        assert shared["align_loss"] == pytest.approx(single["align_loss"], rel=0.02)
    assert history[0]["loss"] == pytest.approx(alone.history[0]["loss"], rel=2e-3)
