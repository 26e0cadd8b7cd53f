"""`samespace fit anchors` and `fit relative`: the items that span a relative space, and the ways into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from registry.cli.context import Context, pass_context
from registry.errors import InvalidInput
from registry.transforms.similarities import WIDTHS

if TYPE_CHECKING:
    from registry.connecting import Connection
    from registry.types import AnchorSet
    from registry.vectors import Array

__all__ = ["anchors", "frozen", "k_option", "quantum_option", "relative", "sampled", "similarity_option"]

STRATEGIES = ("uniform", "fps", "kmeans", "prototype")  # of `align.anchors`, which `--help` does not import

_MOST = 100_000  # items to choose among, so that memory stays bounded

k_option = click.option("-k", type=click.IntRange(min=1), default=300, show_default=True, help="How many anchors.")
similarity_option = click.option(
    "--similarity", type=click.Choice(list(WIDTHS)), default="cosine", show_default=True,
    help="What the space measures; whitened with prototypes finds the most as a rule, product has 4 dimensions an anchor.",
)  # fmt: skip
quantum_option = click.option(
    "--quantum", type=click.FloatRange(min=0), default=0, help="Round similarities to multiples of this; 0 is off."
)


@click.command("anchors")
@click.argument("name")
@click.option("--gallery", required=True, help="The gallery whose items become anchors.")
@click.option("--version", required=True, help="The version in whose space they are chosen.")
@k_option
@click.option("--strategy", type=click.Choice(STRATEGIES), default="prototype", show_default=True)
@similarity_option
@quantum_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@pass_context
def anchors(
    context: Context, name: str, gallery: str, version: str, k: int, strategy: Any, similarity: str, quantum: float,
    seed: int,
) -> None:  # fmt: skip
    """Choose and freeze the anchor set NAME, which spans the relative space relative/NAME.

    They are chosen among 100,000 items at most, picked by the seed. 'samespace train anchors' learns them instead.
    """
    from align import publish
    from align.anchors import select

    with context.open() as reg:
        ids, (vectors,) = sampled(reg, gallery, [version], most=_MOST, seed=seed)
        chosen = select(vectors, k, strategy=strategy, seed=seed)
        found = publish.freeze_anchors(
            reg, name, chosen, gallery=gallery, ids=ids, similarity=similarity, quantum=quantum
        )
    if not context.report(found):
        click.echo(frozen(found))


@click.command("relative")
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


def frozen(anchors: AnchorSet) -> str:
    """What to do with a new anchor set, in a line."""
    return (
        f"froze {anchors.size} anchors as {anchors.space}, {anchors.dim} dimensions: lead versions into it with "
        f"'samespace fit relative --anchors {anchors.name}'"
    )


def sampled(
    reg: Connection, gallery: str, versions: Sequence[str], *, most: int, seed: int
) -> tuple[list[Any], list[Array]]:
    """Ids (n,) and vectors (n, d), one matrix for each version, of the items that all embedded; n is `most` at most.

    Raises:
        InvalidInput: the gallery is empty, or the versions embedded no item in common.
        NotFound: no such gallery or version, or a version that wrote nothing into it.
    """
    import numpy as np

    if not reg.gallery(gallery).segments:
        raise InvalidInput(f"gallery {gallery} is empty: append vectors of {versions[0]} to choose anchors from")
    shared = reg.shared(gallery, versions=versions)
    if not len(shared):
        raise InvalidInput(
            f"{' and '.join(versions)} embedded no item of {gallery} in common: embed some with all of them"
        )
    picked = np.sort(np.random.default_rng(seed).permutation(len(shared))[:most])
    taken: list[list[Array]] = [[] for _ in versions]
    start = 0
    for block in shared:
        stop = start + len(block[0])
        here = picked[np.searchsorted(picked, start) : np.searchsorted(picked, stop)] - start
        for rows, matrix in zip(taken, block, strict=True):
            rows.append(matrix[here])
        start = stop
    return shared.ids[picked].tolist(), [np.concatenate(rows) for rows in taken]
