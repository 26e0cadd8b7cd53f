"""`samespace demo`: the whole story on scikit-learn's handwritten digits, with nothing downloaded.

A model trained on the digits 0 to 4 has stored a gallery of all ten. It is replaced twice: by a model that was trained
independently, whose vectors have the same width and mean something else, and by one that was trained to stay
compatible (OCA). The stored gallery is never touched.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.cli.context import Context, pass_context
from registry.errors import AlreadyExists

if TYPE_CHECKING:
    from rich.progress import Progress

    from align.config import Method
    from align.data import Dataset
    from align.encoders import Encoder
    from registry.connecting import Connection

OLD_DIM, EXTRA_DIMS, ANCHORS = 32, 16, 300
OLD_CLASSES = "0-4"
GALLERY, PAIRS, BENCHMARK, ANCHOR_SET = "digits", "digits-pairs", "digits-bench", "digits-anchors"
OLD, INDEPENDENT, COMPATIBLE = "digits/1", "digits/2", "digits/3"


@dataclass(frozen=True)
class _Stage:
    """What every step of the demo works with."""

    context: Context
    reg: Connection
    data: Dataset
    bars: Progress
    seed: int


@click.command("demo")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the trainings.")
@pass_context
def command(context: Context, seed: int) -> None:
    """Upgrade a model on real data, without backfilling, and see whether it works."""
    started = time.perf_counter()
    home = Path(context.home)
    with context.open(create=True) as reg:
        if reg.galleries() or reg.models():
            raise AlreadyExists(
                f"{home} is a registry in use: run the demo in an empty folder, as in 'samespace --home ./demo demo'"
            )
        with context.progress() as bars:
            _tell("samespace demo: handwritten digits, one old model, two ways to replace it\n")
            encoders = _upgrade(_Stage(context, reg, _data(), bars, seed))
        found = reg.evaluations(BENCHMARK)
        comparisons = [reg.compare(OLD, new, benchmark=BENCHMARK) for new in (INDEPENDENT, COMPATIBLE)]
        if not context.report({"evaluations": found, "comparisons": comparisons}):
            _show(context, reg, encoders)
    _tell(
        f"\ndone in {time.perf_counter() - started:.0f} s; the registry is {home}, its MLflow runs are in {home}/mlflow.db"
    )
    _tell(f"see it in the browser: samespace --home {home} serve")


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _data() -> Dataset:
    from align.data import load

    return load("digits")


def _upgrade(stage: _Stage) -> dict[str, Encoder]:
    """Train, store, bridge and measure; the encoders by version."""
    from align import publish

    reg, data = stage.reg, stage.data
    old = _train(stage, "independent", dim=OLD_DIM, classes=OLD_CLASSES)
    reg.set_alias("digits", "champion", 1)
    reg.create_gallery(GALLERY, id_type="int")
    reg.create_gallery(PAIRS, id_type="int")
    reg.create_gallery(BENCHMARK, id_type="int", labels=["class"])
    stored = publish.embed(reg, GALLERY, old, version=OLD, ids=data.ids_train, x=data.x_train)
    publish.draw_previews(reg, GALLERY, ids=data.ids_train, x=data.x_train)
    _tell(f"  stored gallery {GALLERY}: {stored} images of all ten digits, embedded by {OLD}")

    encoders = {
        OLD: old,
        INDEPENDENT: _train(stage, "independent", dim=OLD_DIM),
        COMPATIBLE: _train(stage, "oca", dim=OLD_DIM + EXTRA_DIMS, old=old),
    }
    for version, encoder in encoders.items():
        publish.embed(
            reg, BENCHMARK, encoder, version=version, ids=data.ids_test, x=data.x_test, labels={"class": data.y_test}
        )
        if version != COMPATIBLE:
            publish.embed(reg, PAIRS, encoder, version=version, ids=data.ids_train, x=data.x_train)
    publish.draw_previews(reg, BENCHMARK, ids=data.ids_test, x=data.x_test)
    _bridge(stage)
    task = stage.bars.add_task("measuring the compatibility matrix", total=None)
    reg.evaluate(
        BENCHMARK, seed=stage.seed, progress=lambda done, total: stage.bars.update(task, completed=done, total=total)
    )
    for new in (COMPATIBLE, INDEPENDENT):
        _study(stage, new)
    return encoders


def _study(stage: _Stage, new: str) -> None:
    """Look closer at one of the upgrades, for its page."""
    task = stage.bars.add_task(f"studying {new} against {OLD}", total=None)
    found = stage.reg.study(
        OLD, new, benchmark=BENCHMARK, seed=stage.seed,
        progress=lambda done, total: stage.bars.update(task, completed=done, total=total),
    )  # fmt: skip
    worst = found.groups[0]
    _tell(
        f"  studied {new} against {OLD}: of {len(found.groups)} digits {worst.value} gains least, {100 * worst.gain:+.1f} points "
        f"of mAP; {100 * found.overlap.mean:.0f} % of the nearest neighbours stay"
    )


def _train(
    stage: _Stage, method: Method, *, dim: int, classes: str | None = None, old: Encoder | None = None
) -> Encoder:
    from align import publish, reporting, tracking, train
    from align.config import TrainConfig

    number = 1 + sum(model.versions for model in stage.reg.models())
    config = TrainConfig(method=method, dim=dim, seed=stage.seed + number)
    task = stage.bars.add_task(f"training {method}", total=config.epochs)
    with tracking.start(
        home=stage.context.home, experiment="digits", run_name=f"digits {method} {classes or ''}"
    ) as tracker:
        result = train.run(
            config, stage.data, classes=classes, old=old, tracker=tracker, progress=lambda _: stage.bars.advance(task)
        )
        reporting.log_report(tracker, result, stage.data, old=old)
        version = publish.add_encoder(
            stage.reg, result.encoder, model="digits", method=method, olds=[OLD] if old else [], tracker=tracker
        )
    _tell(f"  trained {version.ref}: {method}, {dim}-d, digits {classes or '0-9'}, run {tracker.run_id[:8]}")
    return result.encoder


def _bridge(stage: _Stage) -> None:
    """Bridges from the independent model back to the old one, and a relative space for both."""
    import numpy as np

    from align import publish, tracking
    from align.anchors import select
    from align.bridges import fit

    reg = stage.reg
    for method in ("orthogonal", "affine"):
        with tracking.start(
            home=stage.context.home, experiment="bridges", run_name=f"{method} {INDEPENDENT} to {OLD}"
        ) as tracker:
            tracker.log_params({"method": method, "source": INDEPENDENT, "target": OLD, "gallery": PAIRS})
            fitted = fit(reg.pairs(PAIRS, source=INDEPENDENT, target=OLD), method=method)
            info = publish.add_fit(reg, fitted, source=INDEPENDENT, target=OLD, tracker=tracker)
        _tell(
            f"  fitted {info.id}: {INDEPENDENT} -> {OLD} from {info.report.get('pairs', len(stage.data.ids_train))} pairs"
        )
    blocks = list(reg.scan(PAIRS, into=OLD))
    ids, vectors = (np.concatenate([getattr(block, field) for block in blocks]) for field in ("ids", "vectors"))
    # Prototypes with the whitened similarity, some hundreds of them: what the literature found best (arXiv 2605.30596).
    chosen = select(vectors, ANCHORS, strategy="prototype")
    anchors = publish.freeze_anchors(reg, ANCHOR_SET, chosen, gallery=PAIRS, ids=ids, similarity="whitened")
    for version in (OLD, INDEPENDENT):
        with tracking.start(home=stage.context.home, experiment="bridges", run_name=f"relative {version}") as tracker:
            tracker.log_params({"method": "relative", "source": version, "anchors": ANCHOR_SET})
            publish.add_relative(reg, ANCHOR_SET, version=version, tracker=tracker)
    _tell(f"  built {anchors.space}: similarities to {anchors.size} shared anchors, for {OLD} and {INDEPENDENT}")


_STORY = {
    f"{OLD}|{OLD}|self|": "today",
    f"{INDEPENDENT}|{OLD}|naive|": "naive swap",
    f"{INDEPENDENT}|{OLD}|path|orthogonal": "orthogonal bridge",
    f"{INDEPENDENT}|{OLD}|path|affine": "affine bridge",
    f"{INDEPENDENT}|{OLD}|path|relative+relative": "relative anchors",
    f"{COMPATIBLE}|{OLD}|path|prefix": "OCA, its prefix",
    f"{INDEPENDENT}|{INDEPENDENT}|self|": "re-embed all",
    f"{COMPATIBLE}|{COMPATIBLE}|self|": "re-embed all",
}


def _show(context: Context, reg: Connection, encoders: dict[str, Encoder]) -> None:
    from registry.cli.evidence import cell_key, comparison_lines, evidence_table

    found = reg.evaluations(BENCHMARK)
    told = [e for story in _STORY for e in found if cell_key(e) == story]
    title = f"May the stored gallery stay? {told[0].queries} queries of ten digits, of which {OLD} was trained on five"
    out = context.out
    click.echo()
    out.print(evidence_table(told, title=title, width=out.width, names=_STORY))
    for new in (INDEPENDENT, COMPATIBLE):
        click.echo(comparison_lines(reg.compare(OLD, new, benchmark=BENCHMARK)))
    _neighbours(context, reg, encoders[COMPATIBLE])


def _neighbours(context: Context, reg: Connection, encoder: Encoder) -> None:
    """Search the untouched gallery with the new model: one query of each digit."""
    import numpy as np
    from rich.text import Text

    data = _data()
    digit = dict(zip(data.ids_train.tolist(), data.y_train.tolist(), strict=True))
    picked = [int(np.flatnonzero(data.y_test == c)[0]) for c in range(10)]
    hits = reg.search(GALLERY, encoder.encode(data.x_test[picked]), version=COMPATIBLE, k=8)
    rows: list[list[str | Text]] = []
    for row, ids in zip(picked, hits.ids.tolist(), strict=True):
        truth = int(data.y_test[row])
        shown = Text(" ").join(Text(str(digit[i]), style="green" if digit[i] == truth else "red") for i in ids)
        rows.append([f"{truth}" + ("" if truth <= 4 else "  (unseen by the old model)"), shown])
    click.echo()
    context.table(
        f"Queries of {COMPATIBLE} in the gallery that {OLD} stored, untouched",
        ("query digit", "digits of the 8 nearest"), rows, empty="",
    )  # fmt: skip
    click.echo(f"by the path {next(iter(hits.path.values()))}")
