"""`samespace train anchors`: anchors learned so that several versions describe each item alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from registry.cli.context import Context, pass_context, plain
from registry.cli.relative import frozen, k_option, quantum_option, sampled, similarity_option
from registry.errors import AlreadyExists, InvalidInput
from registry.refs import check_name

if TYPE_CHECKING:
    from align.anchors.learning import Entry
    from registry.connecting import Connection
    from registry.types import AnchorSet, Version

_MOST = 50_000  # items to learn from; `align.anchors.learn` reads no more


@click.command("anchors")
@click.argument("name")
@click.option("--gallery", required=True, help="A gallery that holds vectors of the same items by all of the versions.")
@click.option("--version", "versions", multiple=True, required=True, help="A version to learn from; give two or more.")
@k_option
@similarity_option
@quantum_option
@click.option("--items", type=click.IntRange(1), default=30, show_default=True, help="Items kept in each mixture.")
@click.option("--candidates", type=click.IntRange(1), default=4096, show_default=True, help="Items that may be mixed.")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), default=0.2, show_default=True)
@click.option(
    "--epochs", type=click.IntRange(1), default=40, show_default=True, help="At most; held-out items stop it."
)
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=0.05, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@pass_context
def command(
    context: Context, name: str, gallery: str, versions: tuple[str, ...], k: int, similarity: Any, quantum: float,
    items: int, candidates: int, temperature: float, epochs: int, lr: float, seed: int,
) -> None:  # fmt: skip
    """Learn the anchor set NAME from the items that two VERSIONs or more embedded, and freeze it.

    Anchors are mixtures of items, optimised until the versions' relative representations agree and still tell items
    apart. They carry over to any version that embedded the same items, also one that is not named here.
    """
    options: dict[str, Any] = {
        "similarity": similarity, "items": items, "candidates": candidates, "temperature": temperature,
        "epochs": epochs, "lr": lr, "seed": seed,
    }  # fmt: skip
    check_name(name, "anchor set")
    with context.open() as reg:
        found = [reg.version(ref) for ref in versions]
        if len({version.ref for version in found}) < max(2, len(found)):
            named = ", ".join(version.ref for version in found)
            raise InvalidInput(f"anchors are learned from two versions or more, each once, got {named}")
        if any(anchors.name == name for anchors in reg.anchor_sets()):
            raise AlreadyExists(f"anchor set {name} exists and is frozen: choose another name")
        made, run_id = _train(context, reg, name, gallery, found, k, quantum, options)
    if not context.report({**plain(made), "run_id": run_id}):
        click.echo(f"{frozen(made)}; run {run_id}")


def _train(
    context: Context, reg: Connection, name: str, gallery: str, versions: Sequence[Version], k: int, quantum: float,
    options: dict[str, Any],
) -> tuple[AnchorSet, str]:  # fmt: skip
    """Learn, track and freeze; the set, and the run that made it."""
    from align import publish, tracking
    from align.anchors import learn
    from registry.vectors import normalize

    refs = [version.ref for version in versions]
    ids, rows = sampled(reg, gallery, refs, most=_MOST, seed=options["seed"])
    spaces = [normalize(x) if v.metric == "cosine" else x for v, x in zip(versions, rows, strict=True)]
    with (
        tracking.start(home=context.home, experiment="anchors", run_name=f"anchors {name}") as tracker,
        context.progress() as bars,
    ):
        given = {"anchors": name, "gallery": gallery, "versions": ", ".join(refs), "rows": len(ids), "k": k}
        tracker.log_params({**given, "quantum": quantum, **options})
        task = bars.add_task("learning anchors", total=options["epochs"])

        def told(entry: Entry) -> None:
            numbers = {what: value for what, value in entry.items() if what != "epoch"}
            tracker.log_metrics(numbers, step=int(entry["epoch"]))
            bars.update(task, completed=entry["epoch"])

        chosen = learn(spaces, k, normalize=False, progress=told, **options)
        made = publish.freeze_anchors(
            reg, name, chosen, gallery=gallery, ids=ids, similarity=options["similarity"], quantum=quantum
        )
        tracker.log_text(json.dumps(plain(made)), "anchors.json")
    return made, tracker.run_id
