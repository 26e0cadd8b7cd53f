"""How what a check found is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry.cli.context import Context

if TYPE_CHECKING:
    from registry.findings import Finding

__all__ = ["show"]

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def show(context: Context, title: str, findings: Sequence[Finding]) -> None:
    """Print findings as a table."""
    from rich.text import Text

    rows = [(Text(f.level, style=_STYLES[f.level]), f.what, f.found, f.mend) for f in findings]
    context.table(title, ("", "what", "found", "how to mend it"), rows, empty="nothing to check")
