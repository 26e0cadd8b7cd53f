"""A killed training goes on from its last checkpoint, with the result of one that was never stopped."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time

import pytest

from align import data, train
from align.data import Dataset
from align.train import TrainConfig
from registry.errors import CorruptFile, InvalidInput

CONFIG = TrainConfig(dim=8, epochs=6, warmup_epochs=1, seed=3, flip=True, device="cpu")
CHILD = """
import sys
from align import data, train
from align.train import TrainConfig
config = TrainConfig(dim=8, epochs=6, warmup_epochs=1, seed=3, flip=True, device="cpu")
train.run(config, data.load("digits", seed=11), checkpoint=sys.argv[1], progress=lambda e: print(e["epoch"], flush=True))
"""


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits", seed=11)


@pytest.fixture(scope="module")
def whole(digits):
    return train.run(CONFIG, digits)


def weights(result) -> str:
    return result.encoder.fingerprint()["weights"]


def losses(history) -> list[float]:
    return [e["loss"] for e in history]


def test_a_killed_process_is_continued(digits, whole, tmp_path):
    kept = tmp_path / "digits.checkpoint"
    child = subprocess.Popen([sys.executable, "-c", CHILD, kept], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while child.stdout.readline().strip() != "3.0":
        assert child.poll() is None
    time.sleep(0.05)  # somewhere inside the fourth epoch
    child.send_signal(signal.SIGKILL)
    child.wait()
    seen = []
    result = train.run(CONFIG, digits, checkpoint=kept, progress=seen.append)
    assert weights(result) == weights(whole)
    assert losses(result.history) == losses(whole.history) == losses(seen)


def test_a_finished_training_is_not_done_again(digits, whole, tmp_path):
    kept = tmp_path / "c"
    first = train.run(CONFIG, digits, checkpoint=kept)
    started = time.perf_counter()
    again = train.run(CONFIG, digits, checkpoint=kept)
    assert time.perf_counter() - started < sum(e["seconds"] for e in first.history) / 2
    assert weights(again) == weights(first) == weights(whole)


def test_oca_goes_on_too(digits, whole, tmp_path):
    config = TrainConfig(method="oca", dim=12, epochs=4, warmup_epochs=1, gallery_weight=1.0, device="cpu")
    full = train.run(config, digits, old=whole.encoder)

    def stop(entry):
        if entry["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.run(config, digits, old=whole.encoder, checkpoint=tmp_path / "c", progress=stop)
    assert weights(train.run(config, digits, old=whole.encoder, checkpoint=tmp_path / "c")) == weights(full)


def test_a_checkpoint_of_another_training_is_refused(digits, tmp_path):
    short = dataclasses.replace(CONFIG, epochs=1)
    train.run(short, digits, checkpoint=tmp_path / "c")
    with pytest.raises(InvalidInput, match="differs in epochs, seed"):
        train.run(dataclasses.replace(short, epochs=2, seed=4), digits, checkpoint=tmp_path / "c")
    with pytest.raises(InvalidInput, match="differs in data"):
        train.run(short, digits, classes="0-4", checkpoint=tmp_path / "c")


def test_a_damaged_checkpoint_is_refused(digits, tmp_path):
    (tmp_path / "c").write_bytes(b"not a checkpoint")
    with pytest.raises(CorruptFile, match="delete it to begin anew"):
        train.run(CONFIG, digits, checkpoint=tmp_path / "c")
