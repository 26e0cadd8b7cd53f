"""Files of a backup: copied with their checksums, for their owner's eyes alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BufferedWriter
from pathlib import Path
from typing import BinaryIO

from registry.places import Place

__all__ = ["copied", "digest_of_file", "is_free", "make_folder", "write_durably"]

_PIECE = 4 << 20


def copied(source: Place, target: Place, told: Callable[[int], None]) -> str:
    """Copy a file, to disk or into a store, saying how many bytes went; return the sha-256, hex, of what was copied."""
    sha = hashlib.sha256()
    with source.reader() as file, _new(target) as copy:
        while piece := file.read(_PIECE):
            sha.update(piece)
            copy.write(piece)
            told(len(piece))
        if target.is_local:
            copy.flush()
            os.fsync(copy.fileno())
    return sha.hexdigest()


def digest_of_file(file: Path | Place, told: Callable[[int], None]) -> str:
    """The sha-256, hex, of a file."""
    sha = hashlib.sha256()
    with Place(file).reader() as opened:
        while piece := opened.read(_PIECE):
            sha.update(piece)
            told(len(piece))
    return sha.hexdigest()


def write_durably(target: Path, data: bytes) -> None:
    """Write a small file so that it is there whole, and stays, or is not there at all."""
    part = target.with_name(f"{target.name}.part")
    with _private(part) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, which nobody else may enter."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def is_free(folder: Path) -> bool:
    """Whether a folder can be filled: it is not there, or has nothing in it."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _new(target: Place) -> AbstractContextManager[BinaryIO]:
    """A new file at a place, which nobody else may read, or whom the store says."""
    if not target.is_local:
        return target.writer()
    make_folder(Path(target).parent)
    return _private(Path(target))


def _private(target: Path) -> BufferedWriter:
    """A new file that nobody else may read, not even for a moment."""
    return os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
