"""The Python and the packages that are installed, against those that this release needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from registry.findings import Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["examine_installed", "releases"]

_MAIN = (
    "numpy", "pyarrow", "pylance", "faiss-cpu", "sqlalchemy", "alembic", "psycopg", "flask", "gunicorn", "safetensors",
    "torch", "mlflow", "ray",
)  # fmt: skip
_NEEDED, _OPTIONAL = ("", "server"), ("align", "tracking")


def examine_installed() -> Iterator[Finding]:
    """A line for Python, and one for each package that is missing or of a wrong version, or for all if none is."""
    try:
        from packaging.requirements import Requirement  # comes with gunicorn, of the extra that a registry needs
        from packaging.specifiers import SpecifierSet

        about = metadata.metadata("samespace")
    except ModuleNotFoundError:  # PackageNotFoundError is one too
        mend = "pip install 'samespace[server]'"
        yield Finding("warning", "packages", "samespace is not installed here, so nothing says what it needs", mend)
        return
    have, wanted = ".".join(map(str, sys.version_info[:3])), str(about["Requires-Python"])
    fits = SpecifierSet(wanted).contains(have)
    yield Finding("ok" if fits else "problem", "Python", have, "" if fits else f"use Python {wanted}")
    needed = [Requirement(line) for line in about.get_all("Requires-Dist") or ()]
    wrong = [finding for extra in (*_NEEDED, *_OPTIONAL) for finding in _of_extra(needed, extra)]
    yield from wrong or [Finding("ok", "packages", "all that are needed, each of a version that fits")]


def _of_extra(needed: list[Requirement], extra: str) -> Iterator[Finding]:
    mend = f"pip install 'samespace[{extra}]'" if extra else "pip install samespace"
    for requirement in needed:
        if f'extra == "{extra}"' not in str(requirement.marker) and (extra or requirement.marker):
            continue
        try:
            have = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            if extra not in _OPTIONAL:
                yield Finding("problem", f"package {requirement.name}", "is not installed", mend)
            continue
        if not requirement.specifier.contains(have, prereleases=True):
            found = f"is {have}, needed is {requirement.specifier}"
            yield Finding("problem", f"package {requirement.name}", found, mend)


def releases() -> dict[str, str | None]:
    """Python and the main packages, each with its release; None where it is not installed. None of them is imported."""
    return {"Python": ".".join(map(str, sys.version_info[:3])), **{name: _release(name) for name in _MAIN}}


def _release(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
