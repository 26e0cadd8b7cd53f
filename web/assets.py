"""Files that pages load: below an address that changes with what they hold, so that browsers keep them for good."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["FOLDER", "KEPT_S", "prefix"]

FOLDER = Path(__file__).parent / "static"
KEPT_S = 365 * 86_400


@cache
def prefix() -> str:
    """`/static/<digest of all files>`: modules name each other relatively, so one prefix stands for them all."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(FOLDER).as_posix().encode() + b"\0" + path.read_bytes())
    return f"/static/{digest.hexdigest()[:12]}"
