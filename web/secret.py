"""The key that signs sessions: made once for a home, the same in all its processes."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from registry.errors import CorruptFile, Unavailable
from registry.layout import Layout

__all__ = ["secret_key"]

_KEY_BYTES = 32


def secret_key(home: str | os.PathLike[str]) -> str:
    """The key kept in `home`, made if there is none; whichever process is first, all read the same.

    Raises:
        CorruptFile: what is kept is too short to be a key.
        Unavailable: the home takes no file.
    """
    file = Layout(Path(home)).session_key
    try:
        if not file.exists():
            _make(file)
        key = file.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        key = ""
    except OSError as error:
        raise Unavailable(
            f"cannot keep a key in {file}: {error.strerror}; make the home writable, or give SAMESPACE_SECRET_KEY"
        ) from error
    if len(key) < _KEY_BYTES:
        raise CorruptFile(f"{file} holds no key: delete it, and everybody signs in anew")
    return key


def _make(file: Path) -> None:
    """Write a whole key under another name, readable by this user alone, and give it its name if nobody was faster."""
    handle, made = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)  # with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(secrets.token_urlsafe(_KEY_BYTES))
            out.flush()
            os.fsync(out.fileno())
        os.link(made, file)
    except FileExistsError:
        pass
    finally:
        os.unlink(made)
