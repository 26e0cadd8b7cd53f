"""What every command needs: the registry, and how to report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from registry.connecting import Connection

__all__ = ["Context", "pass_context", "plain"]


@dataclass(frozen=True)
class Context:
    """The options of the root command."""

    home: str
    database: str | None
    as_json: bool
    galleries: str | None = None
    ray: str | None = None

    def open(self, *, create: bool = False) -> Connection:
        """The registry; NotFound where there is none and the command is not one that begins one."""
        from registry import connect

        if not create and not self.exists:
            raise NotFound(
                f"there is no registry at {self.home}: check --home, or begin one with 'samespace model register', "
                "'samespace train' or 'samespace demo'"
            )
        return connect(self.home, database=self.database, galleries=self.galleries, ray=self.ray)

    @property
    def exists(self) -> bool:
        """Whether somebody began a registry in the home; a server has one."""
        return self.is_server or Path(self.home, "galleries").is_dir()

    @property
    def is_server(self) -> bool:
        """Whether the home is a server's address."""
        return self.home.startswith(("http://", "https://"))

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps runs: in the home, or for a server's registry where MLFLOW_TRACKING_URI says."""
        from registry.tracking import default_uri

        if not self.is_server:
            return default_uri(self.home)
        named = os.environ.get("MLFLOW_TRACKING_URI")
        if not named:
            raise InvalidInput("a server's registry says nothing of MLflow: name its address in MLFLOW_TRACKING_URI")
        return named

    @property
    def out(self) -> Console:
        """Standard output, for results."""
        from rich.console import Console

        # Redirected to a file or a pipe, a table keeps its full width instead of being cut to 80 columns.
        console = Console(highlight=False)
        asked = os.environ.get("COLUMNS", "").isdecimal()
        return console if console.is_terminal or asked else Console(highlight=False, width=160)

    def report(self, value: Any) -> bool:
        """Print `value` as JSON if that was asked for; whether it was."""
        if self.as_json:
            click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))
        return self.as_json

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, empty: str) -> None:
        """Print a table, or the sentence `empty`. Cells are plain text: names are user input."""
        from rich.box import SIMPLE_HEAD
        from rich.markup import escape
        from rich.table import Table
        from rich.text import Text as Plain

        if not rows:
            click.echo(empty)
            return
        self.out.print(f"[bold]{escape(title)}[/bold]")  # a title of the table itself would wrap at the table's width
        table = Table(header_style="bold", box=SIMPLE_HEAD)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Plain) else Plain(cell) for cell in row))
        self.out.print(table)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Progress bars on standard error; silent where nobody looks."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
            yield bars


pass_context = click.make_pass_decorator(Context)


def plain(value: Any) -> Any:
    """JSON values of what the registry gives: dataclasses, times, paths, NumPy scalars."""
    if is_dataclass(value) and not isinstance(value, type):
        ref = {"ref": value.ref} if hasattr(value, "ref") else {}
        return {**ref, **plain(asdict(value))}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    return plain(value.tolist()) if hasattr(value, "tolist") else value
