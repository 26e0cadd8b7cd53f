"""`align.metrics` as a whole: its names, its examples, and that importing it is cheap."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import align
import registry
from align import metrics

MODULES = sorted(
    path.stem for path in Path(metrics.__file__).parent.glob("*.py") if path.stem not in ("__init__", "checks")
)
PACKAGES = [Path(package.__file__).parent for package in (align, registry)]
WITH_EXAMPLES = sorted(
    path.relative_to(package.parent)
    for package in PACKAGES
    for path in package.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_in_docstrings(path):
    name = ".".join(part for part in path.with_suffix("").parts if part != "__init__")
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_metrics_show_an_example_of_each_module():
    assert {Path("align/metrics") / f"{name}.py" for name in MODULES} <= set(WITH_EXAMPLES)


def test_every_name_is_there_and_every_module_is_reexported():
    assert metrics.__all__ == sorted(metrics.__all__)
    named = [n for name in MODULES for n in importlib.import_module(f"align.metrics.{name}").__all__]
    assert sorted(named) == sorted(metrics.__all__)
    assert all(callable(getattr(metrics, name)) for name in metrics.__all__)


def test_importing_align_brings_no_torch():
    code = "import align, sys; dir(align); print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]


def test_importing_metrics_brings_neither_torch_nor_a_database():
    code = (
        "import align.metrics, sys; print([m for m in ('torch', 'mlflow', 'sqlalchemy', 'scipy') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_align_offers_fit_and_its_modules():
    from align.bridges import fit

    assert align.fit is fit
    assert align.metrics is metrics
    assert align.anchors.select
    assert align.relative.project
    assert align.moments.accumulate
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        align.fitt  # noqa: B018
