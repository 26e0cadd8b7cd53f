"""The command line. Nothing imports it; it imports each layer only in the command that needs it."""

from __future__ import annotations

import sys


def main() -> None:
    """The `samespace` command."""
    try:
        from registry.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(f"the command line needs {error.name}: pip install 'samespace[cli]'")
    app(prog_name="samespace")
