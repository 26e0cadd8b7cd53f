"""The commands by hand, without training: vectors from files."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from registry.cli.app import _COMMANDS


@pytest.fixture
def files(tmp_path):
    """Vectors of an old and a new model of the same 60 items, their ids and labels."""
    rng = np.random.default_rng(0)
    label = np.arange(60) % 6
    new = rng.normal(size=(60, 12)) + 3 * np.eye(6, 12)[label]
    np.save(tmp_path / "new.npy", new.astype("float32"))
    np.save(tmp_path / "old.npy", (new[:, :8] + rng.normal(size=(60, 8))).astype("float32"))
    np.save(tmp_path / "label.npy", label)
    (tmp_path / "ids.txt").write_text("\n".join(f"item {i}" for i in range(60)) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def call(samespace, files):
    return lambda *arguments, code=0: samespace("--home", files / "home", *arguments, code=code)


def fill(call, files):
    call("model", "register", "m", "--dim", "8", "-f", "weights=abc", "-t", "team=search")
    call("model", "register", "m", "--dim", "12", "--parent", "m/1")
    call("benchmark", "create", "bench", "--label", "class")
    for version, vectors in (("m/1", "old.npy"), ("m/2", "new.npy")):
        call(
            "gallery", "append", "bench", "--version", version, "--vectors", files / vectors,
            "--ids", files / "ids.txt", "-l", f"class={files / 'label.npy'}",
        )  # fmt: skip


def test_register_fit_evaluate_compare_search(call, files):
    fill(call, files)
    fitted = json.loads(
        call("--json", "fit", "affine", "--source", "m/2", "--target", "m/1", "--gallery", "bench").stdout
    )
    assert (fitted["kind"], fitted["source"], fitted["target"]) == ("affine", "m/2", "m/1")
    assert fitted["run_id"], "a fit is an MLflow run"
    table = call("evaluate", "bench").stdout
    assert "affine" in table and "naive" in table and "m/2 on m/1" in table
    verdict = json.loads(call("--json", "compare", "m/1", "m/2").stdout)
    assert set(verdict["verdicts"]) >= {"cmc@1", "map"}
    assert "advice:" in call("compare", "m/1", "m/2").stdout
    call("gallery", "create", "catalog")
    call("gallery", "append", "catalog", "--version", "m/1", "--vectors", files / "old.npy", "--ids", files / "ids.txt")
    hits = json.loads(
        call(
            "--json", "gallery", "search", "catalog", "--version", "m/2", "--queries", files / "new.npy", "-k", "3"
        ).stdout
    )
    assert np.shape(hits["ids"]) == (60, 3)
    assert hits["path"]["m/1"]["kinds"] == ["affine"]


def test_relative_space_by_hand(call, files):
    fill(call, files)
    call("fit", "anchors", "shared", "--gallery", "bench", "--version", "m/1", "-k", "20", "--strategy", "kmeans")
    for version in ("m/1", "m/2"):
        call("fit", "relative", "--source", version, "--anchors", "shared")
    assert "relative + relative" in call("evaluate", "bench").stdout


def test_gate_sets_the_exit_code(call, files):
    fill(call, files)
    call("evaluate", "bench")
    call("compare", "m/1", "m/2")
    assert "no path leads to m/1's vectors" in call("compare", "m/1", "m/2", "--gate", code=1).stdout


def test_no_path_no_search(call, files):
    fill(call, files)
    call("gallery", "create", "catalog")
    call("gallery", "append", "catalog", "--version", "m/1", "--vectors", files / "old.npy", "--ids", files / "ids.txt")
    done = call("gallery", "search", "catalog", "--version", "m/2", "--queries", files / "new.npy", code=1)
    assert "m/2 and m/1 cannot be compared" in done.stderr
    assert "samespace fit orthogonal --source m/2 --target m/1" in done.stderr


def test_listing_and_aliases(call, files):
    assert "samespace model register" in call("model", "list").stdout, "an empty state says what fills it"
    fill(call, files)
    call("model", "alias", "m", "champion", "2")
    versions = json.loads(call("--json", "model", "list", "m").stdout)
    assert [(v["ref"], v["aliases"]) for v in versions] == [("m/1", []), ("m/2", ["champion"])]
    assert versions[0]["tags"] == {"team": "search"} and versions[1]["parent"] == "m/1"
    galleries = json.loads(call("--json", "gallery", "list").stdout)
    assert galleries[0]["items"] == 60
    assert "bench" in call("benchmark", "list").stdout


def test_delete_asks_first(call, files):
    fill(call, files)
    assert "would delete" in call("gallery", "delete", "bench", "item 3", "--dry-run").stdout
    call("gallery", "delete", "bench", "item 3", code=1)  # no terminal, no yes
    assert json.loads(call("--json", "gallery", "list").stdout)[0]["items"] == 60
    assert "deleted 1 items" in call("gallery", "delete", "bench", "item 3", "--yes").stdout


def test_bad_batch_is_one_line(call, files):
    fill(call, files)
    done = call(
        "gallery",
        "append",
        "bench",
        "--version",
        "m/1",
        "--vectors",
        files / "new.npy",
        "--ids",
        files / "ids.txt",
        code=1,
    )
    assert "vectors have 12 dimensions, the space has 8" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_database_commands(call):
    assert call("db", "check", code=1).stdout.startswith("revision none")
    assert "is at revision" in call("db", "upgrade").stdout
    assert json.loads(call("--json", "db", "check").stdout)["revision"] == "0001"


PROCESS = [sys.executable, "-c", "from registry.cli import main; main()"]


def test_help_is_quick_and_light():
    started = time.perf_counter()
    done = subprocess.run([*PROCESS, "--help"], capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 2.0, "0.15 s on an idle machine; a heavy import costs seconds"
    assert all(name in done.stdout for name in _COMMANDS)
    heavy = "torch flask sqlalchemy lance faiss mlflow pyarrow httpx rich sklearn"
    code = f"import sys, registry.cli.app; print([m for m in {heavy.split()!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_mistake_is_one_line_and_an_exit_code(tmp_path):
    done = subprocess.run(
        [*PROCESS, "--home", tmp_path / "home", "compare", "m/1", "m/2"], capture_output=True, text=True
    )
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.splitlines() == ["Error: there is no version m/1: model m is not registered"]


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_has_help(samespace, command):
    assert "Usage: samespace" in samespace(command, "--help").stdout
