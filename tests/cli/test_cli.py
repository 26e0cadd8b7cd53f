"""The commands by hand, without training: vectors from files."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from registry.cli.app import _COMMANDS
from registry.database import HEAD


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
    assert "m/2 instead of m/1, on bench: " in call("compare", "m/1", "m/2").stdout
    call("gallery", "create", "catalog")
    call("gallery", "append", "catalog", "--version", "m/1", "--vectors", files / "old.npy", "--ids", files / "ids.txt")
    hits = json.loads(
        call(
            "--json", "gallery", "search", "catalog", "--version", "m/2", "--queries", files / "new.npy", "-k", "3"
        ).stdout
    )
    assert [len(found) for found in hits["hits"]] == [3] * 60
    assert hits["hits"][0][0].keys() == {"id", "score"}
    assert hits["path"]["m/1"]["kinds"] == ["affine"]


def test_relative_space_by_hand(call, files):
    fill(call, files)
    call("fit", "anchors", "shared", "--gallery", "bench", "--version", "m/1", "-k", "20", "--strategy", "kmeans")
    for version in ("m/1", "m/2"):
        call("fit", "relative", "--source", version, "--anchors", "shared")
    assert "relative anchors" in call("evaluate", "bench").stdout


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
    call("db", "upgrade")
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
    assert "make one with 'samespace db upgrade'" in call("db", "check", code=1).stderr
    assert "is at revision" in call("db", "upgrade").stdout
    assert json.loads(call("--json", "db", "check").stdout)["revision"] == HEAD


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
    assert len(done.stderr.splitlines()) == 1 and "there is no registry at" in done.stderr
    assert not (tmp_path / "home").exists(), "a mistyped home is not begun by looking at it"


APPEND = ("gallery", "append", "bench", "--version", "m/1", "--vectors", "old.npy", "--ids", "ids.txt")
MISTAKES = [
    ((*APPEND, "--vectors", "objects.npy"), 1, "objects.npy is not a .npy file with a matrix"),
    ((*APPEND, "--vectors", "ids.txt"), 1, "ids.txt is not a .npy file"),
    ((*APPEND, "--vectors", "short.npy"), 1, "short.npy is not a .npy file"),
    ((*APPEND, "--vectors", "empty.txt"), 1, "empty.txt is not a .npy file"),
    ((*APPEND, "--ids", "short.npy"), 1, "short.npy is not a .npy file"),
    ((*APPEND, "--ids", "binary.txt"), 1, "binary.txt is not a text file in UTF-8"),
    ((*APPEND, "-l", "class"), 1, "--labels takes KEY=VALUE, got 'class'"),
    ((*APPEND, "-l", "class=none.npy"), 1, "cannot read none.npy: No such file"),
    ((*APPEND, "-l", "class=."), 1, "cannot read .: Is a directory"),
    ((*APPEND, "-l", "class=label.npy", "-l", "class=label.npy"), 1, "gives 'class' twice"),
    ((*APPEND, "--data", "digits"), 2, "give one of the two; see 'samespace gallery append --help'"),
    (("gallery", "delete", "whole", "a", "--yes"), 1, "ids of this gallery are whole numbers, got 'a'"),
    (("gallery", "search", "bench", "--version", "m/1", "--queries", "objects.npy"), 1, "objects.npy is not"),
    (("gallery", "search", "bench", "--version", "m/1", "--queries", "old.npy", "-k", "0"), 2, "'-k'"),
    (("model", "register", "m", "--dim", "0"), 1, "dim must be a whole number from 1"),
    (("model", "register", "m", "--dim", "4", "-f", "=x"), 1, "--fingerprint takes KEY=VALUE"),
    (("model", "register", "m", "--dim", "4", "--method", ""), 1, "method must be a text of 1 to"),
    (("model", "alias", "m", "1", "1"), 1, "would be taken for version m/1: use a word"),
    (("train", "independent", "--model", "t", "--data", "digits", "-o", "seed=3"), 1, "use --seed"),
    (("train", "independent", "--model", "t", "--data", "digits", "-o", "flip=maybe"), 1, "takes true or false"),
    (("train", "independent", "--model", "t", "--data", "digits", "-o", "batch=many"), 1, "takes a whole number"),
    (("train", "independent", "--model", "t", "--data", "digits", "--dim", "0"), 2, "--dim"),
    (("train", "oca", "--model", "t", "--data", "digits"), 2, "oca needs --old, such as --old t/1"),
    (("train", "independent", "--model", "t", "--data", "nowhere.npz"), 1, "no data set 'nowhere.npz'"),
    (("fit", "affine", "--source", "m/1", "--target", "m/1", "--gallery", "bench"), 1, "got m/1 twice"),
    (("fit", "anchors", "a", "--gallery", "whole", "--version", "m/1"), 1, "gallery whole is empty"),
    (("frobnicate",), 2, "No such command 'frobnicate'; see 'samespace --help'"),
]


@pytest.fixture(scope="module")
def mistaken(samespace, tmp_path_factory):
    """A home with a version, a benchmark and a gallery, among files of every wrong kind."""
    folder = tmp_path_factory.mktemp("mistakes")
    home = folder / "home"
    samespace("--home", home, "model", "register", "m", "--dim", "8")
    samespace("--home", home, "benchmark", "create", "bench", "--label", "class")
    samespace("--home", home, "gallery", "create", "whole", "--id-type", "int")
    np.save(folder / "old.npy", np.ones((3, 8), np.float32))
    np.save(folder / "label.npy", np.arange(3))
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (folder / "short.npy").write_bytes((folder / "old.npy").read_bytes()[:90])
    (folder / "ids.txt").write_text("a\nb\nc\n")
    (folder / "empty.txt").write_text("")
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00")
    return folder


@pytest.mark.parametrize(("command", "code", "said"), MISTAKES)
def test_every_mistake_is_one_line_that_says_what_to_do(samespace, mistaken, monkeypatch, command, code, said):
    monkeypatch.chdir(mistaken)
    before = samespace("--home", "home", "--json", "gallery", "list").stdout
    done = samespace("--home", "home", *command, code=code)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr
    assert "pickle" not in done.stderr and not done.stdout
    assert samespace("--home", "home", "--json", "gallery", "list").stdout == before


def test_fewer_items_than_asked_for_are_no_padding(call, files):
    fill(call, files)
    search = ("gallery", "search", "bench", "--version", "m/1", "--queries", files / "old.npy", "-k", "100")
    report = json.loads(call("--json", *search).stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [len(found) for found in report["hits"]] == [60] * 60
    assert "inf" not in call(*search).stdout


def test_tables_fit_a_narrow_terminal(samespace, call, files):
    fill(call, files)
    call("fit", "affine", "--source", "m/2", "--target", "m/1", "--gallery", "bench")
    call("evaluate", "bench")
    shown = samespace("--home", files / "home", "compare", "m/1", "m/2", columns=80).stdout
    table = shown[: shown.index("m/2 instead of m/1")].splitlines()
    assert max(map(len, table)) <= 80
    assert "…" not in shown and "affine" in shown and "naive" in shown


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_has_help(samespace, command):
    assert "Usage: samespace" in samespace(command, "--help").stdout
