"""Bring the front-end libraries of the pages up to date: `make vendor`. Its output is committed; running needs none of it.

Each package is fetched by npm at the version that is pinned here, held to its digest, and the files that the pages load
are copied out of it as they are, licence included.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "LIBRARIES", "Library"]

FOLDER = Path(__file__).parent / "static" / "vendor"


@dataclass(frozen=True, slots=True)
class Library:
    """A package of npm, its sha-512 (base64), and file in it -> name here."""

    name: str
    version: str
    sha512: str
    files: dict[str, str]


LIBRARIES = (
    Library(  # line charts on canvas, which a strict content security policy lets work
        "uplot",
        "1.6.32",
        "KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        {"dist/uPlot.esm.js": "uplot.js", "dist/uPlot.min.css": "uplot.css", "LICENSE": "uplot.LICENSE"},
    ),
    Library(  # which of many points lie near the pointer
        "kdbush",
        "4.1.0",
        "e9vurzrXJQrFX6ckpHP3bvj5l+9CnYzkxDNnNQ1h2QTqdWsUAJgXiKdGNcOa1EY85dU8KbQ+z/FdQdB7P+9yfQ==",
        {"index.js": "kdbush.js", "LICENSE": "kdbush.LICENSE"},
    ),
)


def fetch(library: Library, folder: Path) -> None:
    """Copy a library's files into `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        packed = [f"{library.name}@{library.version}", "--pack-destination", scratch, "--ignore-scripts", "--silent"]
        subprocess.run(["npm", "pack", *packed], check=True, stdout=subprocess.DEVNULL)  # noqa: S603, S607 - pinned above
        (archive,) = Path(scratch).glob("*.tgz")
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != library.sha512:
            raise SystemExit(
                f"{library.name} {library.version} has the digest {found}, not the pinned one: do not use it"
            )
        with tarfile.open(archive) as packed_files:
            for inside, name in library.files.items():
                member = packed_files.extractfile(f"package/{inside}")
                assert member is not None  # noqa: S101 - a regular file, or the line above raised
                (folder / name).write_bytes(member.read())


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for wanted in LIBRARIES:
        fetch(wanted, FOLDER)
        sys.stdout.write(f"{wanted.name} {wanted.version}\n")
