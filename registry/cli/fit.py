"""`samespace fit`: a bridge between two spaces from stored pairs, or a way into a relative space."""

from __future__ import annotations

import click

from registry.cli.context import Context, pass_context
from registry.errors import InvalidInput


@click.group("fit")
def command() -> None:
    """Fit a bridge between two spaces, or a way into a relative one."""


def _bridge(method: str, summary: str) -> None:
    @command.command(method, help=summary)
    @click.option("--source", required=True, help="The version whose vectors are to be mapped, usually the new one.")
    @click.option("--target", required=True, help="The version whose space they are to reach, usually the old one.")
    @click.option("--gallery", required=True, help="A gallery that holds vectors of the same items by both.")
    @pass_context
    def run(context: Context, source: str, target: str, gallery: str) -> None:
        from align import publish, tracking
        from align.bridges import fit

        with context.open() as reg:
            old, new = reg.version(target), reg.version(source)
            if old == new:
                raise InvalidInput(f"a bridge leads from one version to another, got {new.ref} twice")
            with tracking.start(
                home=context.home, experiment="bridges", run_name=f"{method} {new.ref} to {old.ref}"
            ) as tracker:
                tracker.log_params({"method": method, "source": new.ref, "target": old.ref, "gallery": gallery})
                fitted = fit(
                    reg.pairs(gallery, source=new.ref, target=old.ref), method=method,  # type: ignore[arg-type]
                    normalize=new.metric == old.metric == "cosine",
                )  # fmt: skip
                info = publish.add_fit(reg, fitted, source=new.ref, target=old.ref, tracker=tracker)
        if not context.report(info):
            click.echo(f"registered {info.id}: {info.source} -> {info.target}, {_numbers(info.report)}")
            click.echo("nobody measured it yet: run 'samespace evaluate BENCHMARK'")


def _numbers(report: object) -> str:
    pairs = report.items() if isinstance(report, dict) else []
    return ", ".join(f"{name} {value:.4g}" for name, value in pairs if isinstance(value, int | float))


_bridge("orthogonal", "Rotate, scale and shift (Procrustes): keeps angles, safe with few pairs.")
_bridge("affine", "Any linear map and a shift (ridge): better with many pairs.")


@command.command("anchors")
@click.argument("name")
@click.option("--gallery", required=True, help="The gallery whose items become anchors.")
@click.option("--version", required=True, help="The version in whose space they are chosen.")
@click.option("-k", type=click.IntRange(min=1), default=300, show_default=True, help="How many anchors.")
@click.option(
    "--strategy", type=click.Choice(["uniform", "fps", "kmeans", "prototype"]), default="prototype", show_default=True
)
@click.option("--similarity", type=click.Choice(["cosine", "whitened"]), default="cosine", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@pass_context
def anchors(
    context: Context, name: str, gallery: str, version: str, k: int, strategy: str, similarity: str, seed: int
) -> None:
    """Choose and freeze the anchor set NAME, which spans the relative space relative/NAME."""
    import numpy as np

    from align import publish
    from align.anchors import select

    with context.open() as reg:
        blocks = list(reg.scan(gallery, into=version))
        if not blocks:
            raise InvalidInput(f"gallery {gallery} is empty: append vectors of {version} to choose anchors from")
        ids = np.concatenate([block.ids for block in blocks])
        chosen = select(np.concatenate([block.vectors for block in blocks]), k, strategy=strategy, seed=seed)  # type: ignore[arg-type]
        found = publish.freeze_anchors(reg, name, chosen, gallery=gallery, ids=ids, similarity=similarity)
    if not context.report(found):
        click.echo(
            f"froze {found.size} anchors as {found.space}: lead versions into it with 'samespace fit relative --anchors {name}'"
        )


@command.command("relative")
@click.option("--source", required=True, help="The version to lead into the relative space.")
@click.option("--anchors", required=True, help="The anchor set.")
@pass_context
def relative(context: Context, source: str, anchors: str) -> None:
    """Lead a version into the relative space of an anchor set, whose items it has embedded."""
    from align import publish, tracking

    with context.open() as reg:
        version = reg.version(source)
        with tracking.start(home=context.home, experiment="bridges", run_name=f"relative {version.ref}") as tracker:
            tracker.log_params({"method": "relative", "source": version.ref, "anchors": anchors})
            info = publish.add_relative(reg, anchors, version=version.ref, tracker=tracker)
    if not context.report(info):
        click.echo(f"registered {info.id}: {info.source} -> {info.target}")
