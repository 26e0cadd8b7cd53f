"""`samespace model`: versions, aliases, and the transforms between their spaces."""

from __future__ import annotations

import click

from registry.cli.context import Context, pass_context
from registry.cli.files import pairs
from registry.cli.functions import imported
from registry.cli.model_import import command as import_


@click.group("model")
def command() -> None:
    """Register, import, list and alias model versions."""


command.add_command(import_)


@command.command("register")
@click.argument("model")
@click.option("--dim", type=int, required=True, help="Width of its vectors.")
@click.option("--metric", type=click.Choice(["cosine", "dot", "l2"]), default="cosine", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True)
@click.option("--source", help="Where the encoder is, such as models:/products/7; kept as a link.")
@click.option("--parent", help="The version that it replaces or stays compatible with, such as products/1.")
@click.option("--method", default="independent", show_default=True, help="How it was trained.")
@click.option("--run-id", help="Its MLflow run.")
@click.option(
    "--fingerprint", "-f", multiple=True, metavar="KEY=VALUE", help="What decides its space; may be repeated."
)
@click.option("--tag", "-t", multiple=True, metavar="KEY=VALUE", help="A free note; may be repeated.")
@pass_context
def register(
    context: Context, model: str, dim: int, metric: str, dtype: str, source: str | None, parent: str | None, method: str,
    run_id: str | None, fingerprint: tuple[str, ...], tag: tuple[str, ...],
) -> None:  # fmt: skip
    """Register the next version of MODEL."""
    with context.open(create=True) as reg:
        version = reg.register_version(
            model, dim=dim, metric=metric, dtype=dtype, source=source, parent=parent, method=method, run_id=run_id,
            fingerprint=pairs(fingerprint, "--fingerprint") or None, tags=pairs(tag, "--tag"),
        )  # fmt: skip
    if not context.report(version):
        click.echo(
            f"registered {version.ref} ({version.dim}-d, {version.metric}, fingerprint {version.fingerprint[:12]})"
        )


@command.command("list")
@click.argument("model", required=False)
@pass_context
def list_(context: Context, model: str | None) -> None:
    """List versions, of MODEL or of all models."""
    with context.open() as reg:
        versions = reg.versions(model)
    if context.report(versions):
        return
    rows = [
        (
            " ".join((v.ref, *(f"@{alias}" for alias in v.aliases))),
            str(v.dim),
            v.metric,
            v.method,
            v.parent or "",
            v.fingerprint[:8],
            (v.run_id or "")[:8],
        )
        for v in versions
    ]
    columns = ("version", "dim", "metric", "method", "parent", "fingerprint", "run")
    context.table(
        "Versions",
        columns,
        rows,
        empty="no versions yet: 'samespace model register' adds one, 'samespace demo' shows how",
    )


@command.command("alias")
@click.argument("model")
@click.argument("alias")
@click.argument("number", type=int)
@pass_context
def alias(context: Context, model: str, alias: str, number: int) -> None:
    """Let MODEL@ALIAS mean version NUMBER from now on."""
    with context.open() as reg:
        reg.set_alias(model, alias, number)
    if not context.report({"alias": f"{model}@{alias}", "version": f"{model}/{number}"}):
        click.echo(f"{model}@{alias} is {model}/{number}")


@command.command("check")
@click.argument("ref")
@click.option(
    "--encoder", required=True, metavar="MODULE:FUNCTION", help="Gets all canaries at once, gives vectors (n, d)."
)
@click.option("--tolerance", type=float, default=0.01, show_default=True, help="As a share of a vector's length.")
@click.option("--record", is_flag=True, help="Keep what was found, for 'samespace status'.")
@pass_context
def check(context: Context, ref: str, encoder: str, tolerance: float, record: bool) -> None:
    """Does an encoder still give what was registered of version REF? Exit 1 if it drifted.

    FUNCTION is imported and called with the canaries: to name it is to trust its code.
    """
    from registry.canaries import FARTHEST

    with context.open() as reg:
        found = reg.verify_encoder(ref, imported(encoder), tolerance=tolerance, record=record)
    deviation = min(max(found.deviations), FARTHEST)
    said = {"version": found.version, "ok": found.ok, "deviation": deviation, "worst": found.worst}
    if not context.report({**said, "tolerance": found.tolerance, "recorded": record}):
        click.echo(str(found))
    if not found.ok:
        raise SystemExit(1)


@command.command("graph")
@click.argument("model", required=False)
@pass_context
def graph(context: Context, model: str | None) -> None:
    """List the transforms between spaces: all, or those that begin or end at a version of MODEL."""
    with context.open() as reg:
        transforms = reg.transforms(model=model)
    if context.report(transforms):
        return
    rows = [
        (t.id, t.kind, t.source, t.target, f"{t.source_dim} -> {t.target_dim}", (t.run_id or "")[:8])
        for t in transforms
    ]
    context.table(
        "Transforms",
        ("id", "kind", "source", "target", "dims", "run"),
        rows,
        empty="no transforms yet: 'samespace fit' makes one",
    )
