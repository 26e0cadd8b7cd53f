"""`samespace backfill`: re-embed a gallery by a newer version, where that is worth it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli.backfills import duration, show_backfill, show_backfills
from registry.cli.context import Context, pass_context, plain
from registry.errors import InvalidInput, NotFound
from registry.types import BACKFILL_ORDERS

if TYPE_CHECKING:
    from registry.connecting import Connection
    from registry.types import Backfill

__all__ = ["command"]

_INTERRUPTED = 130


@click.group("backfill")
def command() -> None:
    """Re-embed a gallery by a newer version: planned, run in batches, paused, and taken back."""


@command.command("plan")
@click.argument("gallery")
@click.option("--into", required=True, help="The version that is to embed the items, such as products/2.")
@click.option("--encoder", help="models:/NAME/VERSION, package.module:function, or an http address.")
@click.option(
    "--inputs", default="ids", show_default=True, help="What it is given: ids, previews, or FILE.parquet:COLUMN."
)
@click.option("--order", type=click.Choice(BACKFILL_ORDERS), default="random", show_default=True)
@click.option(
    "--counts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="For most-searched: a Parquet file of id and count.",
)
@click.option("--batch", type=int, default=256, show_default=True, help="Items that are encoded and stored at a time.")
@click.option("--rate", type=float, help="The most items per second.")
@click.option("--stop-at", metavar="METRIC=SHARE", help="End at this quality, such as map=0.9, on --benchmark.")
@click.option("--benchmark", help="Where quality is measured: one that both versions embedded, or the gallery itself.")
@click.option("--label", help="Its label column; the first by default.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--time", "is_timed", is_flag=True, help="Encode a first batch, without storing it, to tell how long all takes."
)
@click.option("--dry-run", is_flag=True, help="Keep nothing.")
@pass_context
def plan(context: Context, /, gallery: str, counts: Path | None, is_timed: bool, **wish: Any) -> None:
    """Plan to re-embed what GALLERY holds and --into did not embed yet. Nothing is encoded but what --time asks for."""
    if is_timed and wish["dry_run"]:
        raise click.UsageError("--time encodes a batch of a plan that is kept: leave --dry-run out")
    with context.open() as reg:
        found = reg.plan_backfill(gallery, **wish, counts=_counts(counts) if counts else None)
        pace = _timed(context, reg, found.id, wish["encoder"]) if is_timed else None
        is_held = _has_canaries(reg, found.version)
    if context.report({**_plain(found), "timed": pace}):
        return
    show_backfill(context, found)
    if pace is not None:
        seconds = found.total / min(pace, found.rate or pace)
        click.echo(f"\nthe first batch went at {pace:,.1f} items/s: all takes {duration(seconds)}")
    if not wish["dry_run"]:
        click.echo(f"\nrun it with {_command(context, found)}")
    if not is_held:
        click.secho(
            f"{found.version} has no canaries, by which a run could tell its encoder from another: 'reg.add_canaries' adds some",
            fg="yellow",
        )


def _has_canaries(reg: Connection, version: str) -> bool:
    try:
        reg.canaries(version)
    except NotFound:
        return False
    return True


def _command(context: Context, found: Backfill) -> str:
    if found.encoder is None:
        return f"reg.run_backfill({found.id!r}, encode=function), as it was planned without an encoder"
    named = f" --trust {shlex.quote(found.encoder)}" if context.is_server else ""
    return f"'samespace backfill run {found.id}{named}'"


def _timed(context: Context, reg: Connection, id: str, named: str | None) -> float:
    """Items per second of the encoder that `--encoder` named: what a server says of its plan is held to that."""
    from registry.backfill.running import timed

    return timed(reg, id, trust=named, is_own=not context.is_server, tracking_uri=_tracking(context))


def _counts(file: Path) -> tuple[list[Any], list[float]]:
    """Ids and counts of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file, columns=["id", "count"])
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(f"{file} is no Parquet file with the columns id and count: write one") from error
    return table["id"].to_pylist(), table["count"].to_pylist()


@command.command("run")
@click.argument("id")
@click.option(
    "--allow-drift", is_flag=True, help="Run even if the encoder is not the registered one, as canaries tell."
)
@click.option(
    "--trust", metavar="ENCODER", help="The planned encoder, which a server's plan may call here if it is named."
)
@pass_context
def run(context: Context, id: str, allow_drift: bool, trust: str | None) -> None:
    """Run backfill ID here, from where it is to its end. Ctrl-C pauses it. Exit 1 if it is not finished."""
    with context.open() as reg:
        _run(context, reg, id, allow_drift=allow_drift, trust=trust)


@command.command("resume")
@click.argument("id")
@click.option(
    "--allow-drift", is_flag=True, help="Run even if the encoder is not the registered one, as canaries tell."
)
@click.option(
    "--trust", metavar="ENCODER", help="The planned encoder, which a server's plan may call here if it is named."
)
@click.option("--only", is_flag=True, help="Only let it be run again, by whoever runs it.")
@pass_context
def resume(context: Context, id: str, allow_drift: bool, trust: str | None, only: bool) -> None:
    """Go on with the paused backfill ID, here."""
    with context.open() as reg:
        found = reg.resume_backfill(id)
        if not only:
            _run(context, reg, id, allow_drift=allow_drift, trust=trust)
        elif not context.report(_plain(found)):
            click.echo(f"{id} may be run again: 'samespace backfill run {id}'")


def _run(context: Context, reg: Connection, id: str, *, allow_drift: bool, trust: str | None) -> None:
    """Run it, with a bar; Ctrl-C is no error."""
    try:
        with context.progress() as bars:
            task = bars.add_task("re-embedding", total=None)
            found = reg.run_backfill(
                id,
                allow_drift=allow_drift,
                trust=trust,
                tracking_uri=_tracking(context),
                progress=lambda done, total: bars.update(task, completed=done, total=total),
            )
    except KeyboardInterrupt:
        found = reg.backfill(id)
        if not context.report(_plain(found)):
            click.echo(f"paused at {found.done:,} of {found.total:,}: 'samespace backfill resume {id}' goes on")
        raise SystemExit(_INTERRUPTED) from None
    if not context.report(_plain(found)):
        click.echo(f"{found.id} is {found.status}: {found.done:,} of {found.total:,}, {found.written:,} vectors stored")
        if found.status == "finished" and found.done < found.total:
            click.echo(f"it ended early, as {found.stop_at} is reached on {found.benchmark}")
    if found.status != "finished":
        raise SystemExit(1)


def _tracking(context: Context) -> str | None:
    """Where models:/ addresses are looked up: in the home, or where MLflow's own settings say."""
    return None if context.is_server else context.tracking_uri


@command.command("status")
@click.argument("id", required=False)
@click.option("--gallery", help="Of this gallery alone.")
@pass_context
def status(context: Context, id: str | None, gallery: str | None) -> None:
    """List backfills, newest first; or all of backfill ID, with what was predicted and measured."""
    with context.open() as reg:
        if id is None:
            listed = reg.backfills(gallery)
            if not context.report([_plain(b) for b in listed]):
                show_backfills(context, "Backfills", listed)
            return
        found = reg.backfill(id)
    if not context.report(_plain(found)):
        show_backfill(context, found)


@command.command("pause")
@click.argument("id")
@pass_context
def pause(context: Context, id: str) -> None:
    """Stop backfill ID after the batch at hand, wherever it runs."""
    with context.open() as reg:
        found = reg.pause_backfill(id)
    if not context.report(_plain(found)):
        click.echo(f"{id} is {found.state} at {found.done:,} of {found.total:,}")


@command.command("rollback")
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@pass_context
def rollback(context: Context, id: str, yes: bool, dry_run: bool) -> None:
    """Remove the vectors that backfill ID wrote, and no others; what older versions stored stays as it is."""
    with context.open() as reg:
        found = reg.backfill(id)
        what = f"{found.written:,} vectors of {found.version} from {found.gallery}"
        if dry_run:
            if not context.report(_plain(found)):
                click.echo(f"would remove {what}")
            return
        if not yes:
            click.confirm(f"remove {what}?", abort=True)
        after = reg.roll_back_backfill(id)
    if not context.report(_plain(after)):
        click.echo(f"removed {what}")


def _plain(found: Backfill) -> dict[str, Any]:
    """A backfill as JSON, with what follows from it."""
    more = {"share": found.share, "state": found.state, "seconds_left": found.seconds_left}
    return {**plain(found), **more}
