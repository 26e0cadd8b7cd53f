"""The root command: its options, and its subcommands, each imported when it is called."""

from __future__ import annotations

import warnings
from importlib import import_module

import click
from click.exceptions import NoArgsIsHelpError

from registry import __version__
from registry.cli.context import Context
from registry.errors import SamespaceError

_COMMANDS = {
    "demo": ("registry.cli.demo", "Upgrade a model on real data, without backfilling, and see whether it works."),
    "serve": ("registry.cli.serve", "Open the page with models, galleries and the compatibility matrix."),
    "db": ("registry.cli.db", "Look after the database, and take and restore backups."),
    "doctor": ("registry.cli.doctor", "List the settings, and say what is in order and what is not."),
    "model": ("registry.cli.model", "Register, import, list and alias model versions."),
    "gallery": ("registry.cli.gallery", "Create galleries, append vectors, search."),
    "benchmark": ("registry.cli.benchmark", "Create labelled galleries, on which verdicts are measured."),
    "train": ("registry.cli.train", "Train an encoder, independent of older ones or compatible with one."),
    "fit": ("registry.cli.fit", "Fit a bridge between two spaces, or a way into a relative one."),
    "evaluate": ("registry.cli.evaluate", "Measure the compatibility matrix of a benchmark."),
    "compare": ("registry.cli.compare", "May a new version replace an old one without backfilling?"),
    "study": ("registry.cli.study", "Look closer at one upgrade: classes, scores, neighbours, a backfill."),
    "backfill": ("registry.cli.backfill", "Re-embed a gallery by a newer version, where that is worth it."),
    "status": ("registry.cli.status", "How much there is, and what needs a decision."),
    "log": ("registry.cli.log", "Who changed what."),
    "token": ("registry.cli.token", "Make, list and revoke the tokens that a server answers to."),
    "webhook": ("registry.cli.webhook", "Tell other services of new versions, aliases and verdicts."),
}


class _Lazy(click.Group):
    """Knows its commands by name; `--help` shows them without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(_COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                return super().invoke(ctx)
        except SamespaceError as error:
            raise click.ClickException(str(error)) from error
        except click.UsageError as error:
            raise _one_line(error) from error


class _Misuse(click.ClickException):
    """A usage error in one line: click prints three lines of usage before it, and the help that is named says more."""

    exit_code = click.UsageError.exit_code


def _one_line(error: click.UsageError) -> click.ClickException:
    if isinstance(error, NoArgsIsHelpError):
        return error
    path = error.ctx.command_path if error.ctx else "samespace"
    said = " ".join(error.format_message().split())  # a list of choices comes on lines of its own
    return _Misuse(f"{said.rstrip('.')}; see '{path} --help'")


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line, without the place in the code that gave it."""
    click.echo(f"Warning: {message}", err=True)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="samespace")
@click.option(
    "--home",
    envvar="SAMESPACE_HOME",
    default="./samespace-home",
    show_default=True,
    help="The registry's folder [$SAMESPACE_HOME].",
)
@click.option(
    "--database",
    envvar="SAMESPACE_DATABASE",
    help="PostgreSQL address for the facts; SQLite in the home by default [$SAMESPACE_DATABASE].",
)
@click.option(
    "--galleries",
    envvar="SAMESPACE_GALLERIES",
    help="Where a new registry keeps vectors: s3://bucket/prefix; in the home by default [$SAMESPACE_GALLERIES].",
)
@click.option(
    "--ray",
    envvar="SAMESPACE_RAY",
    help="Address of a Ray cluster that is to compute, such as host:6379; this process by default [$SAMESPACE_RAY].",
)
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on standard output.")
@click.pass_context
def app(
    ctx: click.Context, home: str, database: str | None, galleries: str | None, ray: str | None, as_json: bool
) -> None:
    """Keep stored embeddings usable by every later version of their model."""
    ctx.obj = Context(home=home, database=database, as_json=as_json, galleries=galleries, ray=ray)
