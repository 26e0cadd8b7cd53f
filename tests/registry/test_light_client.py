"""The client is light: importing it loads nothing heavy, and what it misses is named with its remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "flask",
    "sqlalchemy",
    "lance",
    "faiss",
    "mlflow",
    "sklearn",
    "click",
    "alembic",
    "rich",
    "psycopg",
    "safetensors",
}


def python(code, *args):
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "statement",
    [
        "from registry import connect",
        "import registry.errors, registry.types, registry.refs, registry.paths",
        "import registry.retrieval",
    ],
)
def test_importing_loads_nothing_heavy(statement):
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    assert HEAVY & set(python(code)) == set()


BLOCK = """
import json, sys
from importlib.abc import MetaPathFinder
class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
"""


@pytest.mark.parametrize("missing", ["sqlalchemy", "lance", "faiss"])
def test_a_missing_extra_is_named_with_its_remedy(tmp_path, missing):
    code = (
        BLOCK
        + """
from registry import connect
from registry.errors import MissingExtra
try:
    connect(sys.argv[2])
except MissingExtra as error:
    print(json.dumps([str(error), isinstance(error, ImportError), type(error.__cause__).__name__]))
"""
    )
    message, is_import_error, cause = python(code, missing, str(tmp_path / "home"))
    assert f"needs {missing}" in message
    assert "pip install 'samespace[server]'" in message
    assert is_import_error
    assert cause == "ModuleNotFoundError"
    assert not (tmp_path / "home").exists()


def test_transforms_apply_without_any_extra_and_name_it_for_files(tmp_path):
    code = (
        BLOCK
        + """
import numpy as np
from registry import transforms
from registry.errors import MissingExtra
t = transforms.Prefix(from_dim=3, to_dim=2)
shape = t.apply(np.ones((4, 3))).shape
try:
    t.dumps()
except MissingExtra as error:
    print(json.dumps([list(shape), str(error)]))
"""
    )
    shape, message = python(code, "safetensors")
    assert shape == [4, 2]
    assert "samespace[" in message


def test_a_broken_installation_is_not_taken_for_a_missing_extra(tmp_path):
    code = (
        BLOCK
        + """
sys.argv[1] = "none"
class Broken(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "registry.embedded":
            raise ModuleNotFoundError("No module named 'registry.embedded'", name="registry.embedded")
sys.meta_path.insert(0, Broken())
from registry import connect
try:
    connect(sys.argv[2])
except Exception as error:
    print(json.dumps(type(error).__name__))
"""
    )
    assert python(code, "none", str(tmp_path / "home")) == "ModuleNotFoundError"
