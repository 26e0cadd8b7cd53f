"""Pickled files, which are refused: unpickling runs whatever code its writer wished."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from registry.errors import CorruptFile

__all__ = ["refuse_pickle"]

_SUFFIXES = {".pkl", ".pickle", ".p", ".joblib", ".pt", ".pth"}
# Protocols 2 and up begin with their number; older ones here with a dictionary, a list, or the name of a function.
_BEGINNING = re.compile(rb"\x80[\x02-\x05]|\([dl]p\d+\n|c[\w.]+\n\w+\n")


def refuse_pickle(path: Path) -> None:
    """Raise CorruptFile for a file that is pickled, by its beginning, its name, or what its archive holds."""
    with path.open("rb") as file:
        start = file.read(80)
    if path.suffix.lower() in _SUFFIXES or _BEGINNING.match(start) or _holds_pickle(path):
        raise CorruptFile(
            f"{path} is pickled, and reading it can run any code: have its makers' own tool unpack it, and write the "
            "arrays with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"
        )


def _holds_pickle(path: Path) -> bool:
    """Whether it is a zip archive such as torch.save writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except Exception:  # whatever a damaged archive makes zipfile raise; what reads it next says so
        return False
