"""The table: one old model, every way to replace it, measured side by side.

    python -m bench.upgrade cifar100                        # small form: 2 CPU cores, under 90 minutes
    python -m bench.upgrade omniglot                        # open set: characters that no model was trained on
    python -m bench.upgrade cifar100 --form full --seeds 3  # ResNet-18, 100 epochs, for one GPU
    python -m bench.upgrade cifar100 --form full --only 0:oca   # one training of it; the rest another time

The old model (128 dimensions) knows half of the classes, its successors all of them. Trainings and figures are kept in
`--work`: a run goes on where the last one stopped, so the full form fits into pieces of ten minutes. Query set and gallery
are the test part, cosine, self-match removed; intervals are 95 % paired bootstraps over queries. Bridges are fitted on the
training part. `--validate` cuts the training part in two and measures on the cut: that, and nothing else, chose options.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from align import data, train
from align.data import Dataset
from align.encoders import Encoder
from align.metrics import negative_flip_rate, retrieval, update_gain
from align.train import TrainConfig
from bench.bridging import bridged
from bench.measuring import timed
from bench.report import header, table
from registry.bootstrap import Resamples, verdict
from registry.vectors import Array, normalize

DATA = Path(os.environ.get("BENCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
OLD_DIM, EXTRA = 128, 32
METRICS = ("cmc@1", "map")
OLD, INDEPENDENT, SIMPLEX_OLD = "old", "independent", "dsimplex old"
OURS = "oca + gallery + instance (ours)"


@dataclass(frozen=True)
class Task:
    """A data set cut into what the old model knew and the rest, and the backbones of a form."""

    file: str
    old_classes: str
    old_backbone: str
    backbone: str
    common: dict[str, Any]
    per_class: int | None = None
    simplex: bool = True  # not where there are more classes than a simplex of this width has vertices


SMALL: dict[str, Any] = {"epochs": 8, "batch": 128, "lr": 4e-3, "warmup_epochs": 1, "scale": 16.0, "shift": 2}
FULL: dict[str, Any] = {
    "epochs": 100, "batch": 128, "lr": 2e-3, "warmup_epochs": 5, "scale": 16.0, "shift": 4, "flip": True,
    "weight_decay": 0.05, "precision": "bfloat16",
}  # fmt: skip
TASKS = {
    ("cifar100", "small"): Task(
        "cifar100_jpeg95.npz", "0-49", "smallresnet", "smallresnet", {**SMALL, "flip": True}, per_class=150
    ),
    ("cifar100", "full"): Task("cifar100_jpeg95.npz", "0-49", "resnet18", "resnet18", FULL),
    ("omniglot", "small"): Task(
        "omniglot28.npz", "0-481", "smallconv", "smallresnet", {**SMALL, "epochs": 10}, per_class=10, simplex=False
    ),
    ("omniglot", "full"): Task(
        "omniglot28.npz", "0-481", "smallresnet", "resnet18", {**FULL, "flip": False, "shift": 2}, simplex=False
    ),
}


def configs(task: Task, seed: int) -> dict[str, tuple[TrainConfig, str | None]]:
    """Every training by name, with the name of the model that it stays compatible with."""
    common = {**task.common, "backbone": task.backbone, "dim": OLD_DIM}
    wide = {**common, "dim": OLD_DIM + EXTRA}
    published = replace(
        TrainConfig.published("oca", dim=OLD_DIM + EXTRA, backbone=task.backbone),
        epochs=task.common["epochs"],
        flip=task.common.get("flip", False),
        warmup_epochs=task.common["warmup_epochs"],
        precision=task.common.get("precision", "float32"),
    )
    aligned = {"align_scale": 20.0, "align_weight": 2.0}
    old = {**common, "backbone": task.old_backbone}
    made: dict[str, tuple[TrainConfig, str | None]] = {
        OLD: (TrainConfig(**old), None),
        INDEPENDENT: (TrainConfig(**common), None),
        "bct": (TrainConfig(method="bct", **common, **aligned), OLD),
        "lce": (TrainConfig(method="lce", **common, **aligned), OLD),
        "oca, published": (published, OLD),
        "oca": (TrainConfig(method="oca", **wide, **aligned), OLD),
        "bt2": (TrainConfig(method="bt2", **wide, **aligned), OLD),
        OURS: (TrainConfig(method="oca", **wide, **{**aligned, "gallery_weight": 1.0, "instance_weight": 2.0}), OLD),
    }
    if task.simplex:
        made[SIMPLEX_OLD] = (TrainConfig(method="dsimplex", **old), None)
        made["dsimplex"] = (TrainConfig(method="dsimplex", **common), SIMPLEX_OLD)
    return {
        name: (replace(config, seed=100 * seed + i), before) for i, (name, (config, before)) in enumerate(made.items())
    }


def dataset(task: Task, *, validate: bool) -> Dataset:
    """The data, or its training part alone, cut in two."""
    path = DATA / task.file
    if not path.exists():
        raise SystemExit(f"skipped: {task.file} is not there (looked in {DATA}); this table needs it")
    found = data.load(path)
    if validate:
        found = found.validation(0.2, seed=0)
    return found if task.per_class is None else found.take(per_class=task.per_class, seed=0)


@dataclass(frozen=True)
class Study:
    """One seed of one task, and the folder that keeps what is done."""

    task: Task
    data: Dataset
    seed: int
    folder: Path
    kept: bool = False

    def names(self) -> list[str]:
        """The models to measure: all, or those that are kept."""
        every = list(configs(self.task, self.seed))
        return [name for name in every if not self.kept or self._path(name).exists()]

    def _path(self, name: str) -> Path:
        return self.folder / f"{self.seed}-{''.join(c if c.isalnum() else '-' for c in name)}.safetensors"

    def encoder(self, name: str) -> Encoder:
        """The trained encoder, trained now if it is not kept."""
        config, before = configs(self.task, self.seed)[name]
        path = self._path(name)
        facts, part = path.with_suffix(".json"), path.with_suffix(".part")
        if path.exists() and facts.exists() and json.loads(facts.read_text())["config"] == plain(config):
            return Encoder.load(path)
        classes = self.task.old_classes if name in (OLD, SIMPLEX_OLD) else None
        old = self.encoder(before) if before else None
        reference = self.encoder(INDEPENDENT) if config.method == "bt2" else None
        work = {"classes": classes, "old": old, "reference": reference}
        seconds, result = timed(
            lambda: train.run(
                config, self.data, **work, checkpoint=part,
                progress=lambda e: print(f"  {name} {e['epoch']:.0f}/{config.epochs} loss {e['loss']:.3f} {e['seconds']:.0f} s", flush=True),
            )
        )  # fmt: skip
        result.encoder.save(path)
        facts.write_text(json.dumps({"config": plain(config), "seconds": seconds}))
        part.unlink(missing_ok=True)
        return result.encoder

    def seconds(self, name: str) -> float | None:
        """How long the training took, or None for a bridge."""
        facts = self._path(name).with_suffix(".json")
        return float(json.loads(facts.read_text())["seconds"]) if facts.exists() else None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each way's figures: cross-test, self-test, and the paired gains."""
        x, y = self.data.x_test, self.data.y_test
        vectors = {name: self.encoder(name).encode(x) for name in self.names()}
        selfs = {name: measure(v, v, y) for name, v in vectors.items()}

        def row(name: str, queries: Array, stored: Array, model: str, old: str) -> dict[str, Any]:
            cross = measure(queries, stored, y)
            return describe(name, cross, selfs[model], selfs[old], selfs[INDEPENDENT], self.seconds(name))

        old = vectors[OLD]
        yield row(OLD, old, old, OLD, OLD)
        yield row("independent, naive", vectors[INDEPENDENT], old, INDEPENDENT, OLD)
        pairs = tuple(self.encoder(name).encode(self.data.x_train) for name in (INDEPENDENT, OLD))
        for name, queries, stored in bridged(*pairs, vectors[INDEPENDENT], old, labels=self.data.y_train):
            yield row(f"independent, {name}", queries, stored, INDEPENDENT, OLD)
        for name, (_, before) in configs(self.task, self.seed).items():
            if before and name in vectors:
                stored = vectors[before]
                yield row(name, normalize(vectors[name][:, : stored.shape[1]]), stored, name, before)
        if SIMPLEX_OLD in vectors:
            yield row(SIMPLEX_OLD, vectors[SIMPLEX_OLD], vectors[SIMPLEX_OLD], SIMPLEX_OLD, SIMPLEX_OLD)


def plain(config: TrainConfig) -> dict[str, Any]:
    """The options as JSON gives them back."""
    return dict(json.loads(json.dumps(asdict(config))))


def measure(queries: Array, gallery: Array, y: Array) -> dict[str, Array]:
    """Per-query values of the test items."""
    found = retrieval(queries, gallery, query_labels=y, gallery_labels=y, same_items=True)
    return {name: found.per_query[name] for name in METRICS}


def describe(
    name: str, cross: dict[str, Array], own: dict[str, Array], old: dict[str, Array], best: dict[str, Array], seconds: float | None
) -> dict[str, Any]:  # fmt: skip
    """One row as numbers: values in percent, gains with intervals in points."""
    made: dict[str, Any] = {"name": name, "seconds": seconds}
    for metric in METRICS:
        resamples = Resamples(len(cross[metric]))
        gains = 100 * (cross[metric] - old[metric])
        interval = resamples.interval(float(gains.mean()), resamples.means(gains))
        values = {what: 100 * float(v[metric].mean()) for what, v in (("cross", cross), ("self", own), ("old", old))}
        gained = update_gain(values["old"], values["cross"], 100 * float(best[metric].mean()))
        made[metric] = {
            **values, "gain": interval.value, "low": interval.low, "high": interval.high, "verdict": verdict(interval),
            "update_gain": gained,
        }  # fmt: skip
    made["nfr"] = 100 * negative_flip_rate(old["cmc@1"] == 1, cross["cmc@1"] == 1)
    return made


def show(seeds: list[list[dict[str, Any]]]) -> None:
    """Print the table: means over seeds; of one seed the interval, of several the deviation."""
    lines = []
    for rows in zip(*seeds, strict=True):
        cells = []
        for metric in METRICS:
            values = np.array([r[metric]["cross"] for r in rows])
            first = rows[0][metric]
            spread = (
                f"{first['gain']:+.1f} [{first['low']:+.1f}, {first['high']:+.1f}]"
                if len(rows) == 1
                else f"{np.mean([r[metric]['gain'] for r in rows]):+.1f} ± {np.std([r[metric]['gain'] for r in rows]):.1f}"
            )
            met = sum(r[metric]["verdict"] == "compatible" for r in rows)
            told = first["verdict"] if len(rows) == 1 else f"{met} of {len(rows)} compatible"
            cells += [f"{values.mean():.1f}", spread, "" if rows[0]["name"] in (OLD, SIMPLEX_OLD) else told]
        own = [f"{np.mean([r[m]['self'] for r in rows]):.1f}" for m in METRICS]
        gains = [f"{np.mean([r[m]['update_gain'] for r in rows]):.2f}" for m in METRICS]
        seconds = rows[0]["seconds"]
        nfr = f"{np.mean([r['nfr'] for r in rows]):.1f}"
        lines.append([rows[0]["name"], *cells, *own, nfr, *gains, "" if seconds is None else f"{seconds:.0f}"])
    columns = [
        "query model, way", "CMC@1 on the old gallery", "gain", "verdict", "mAP on the old gallery", "gain", "verdict",
        "self CMC@1", "self mAP", "NFR", "update gain CMC@1", "mAP", "s",
    ]  # fmt: skip
    print(table(columns, lines))


def main() -> None:
    """Train what is missing, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=sorted({name for name, _ in TASKS}))
    parser.add_argument("--form", choices=["small", "full"], default="small")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--only", help="train this alone, such as 0:oca, and stop")
    parser.add_argument("--work", type=Path, help="the folder that keeps trainings")
    parser.add_argument("--kept", action="store_true", help="measure what is trained already, and train nothing")
    parser.add_argument("--epochs", type=int, help="other than the form's own")
    parser.add_argument("--validate", action="store_true", help="measure on held-out training images")
    given = parser.parse_args()
    task = TASKS[given.data, given.form]
    if given.epochs:
        task = replace(task, common={**task.common, "epochs": given.epochs})
    folder = (given.work or Path("bench/work")) / f"{given.data}-{given.form}{'-validate' if given.validate else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    items = dataset(task, validate=given.validate)
    if given.only:
        seed, _, name = given.only.partition(":")
        if not seed.isdecimal() or name not in configs(task, int(seed)):
            parser.error(f"--only takes SEED:NAME with a NAME of {', '.join(configs(task, 0))}; got {given.only!r}")
        Study(task, items, int(seed), folder).encoder(name)
        return
    seeds = range(given.first, given.first + given.seeds)
    studies = [Study(task, items, seed, folder, given.kept) for seed in seeds]
    elapsed, rows = timed(lambda: [list(study.rows()) for study in studies])
    print(header(seed=seeds[0] if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"))
    print(
        f"{items.name}: {len(items.x_train):,} training images, {len(items.x_test):,} test images; {task.backbone}, "
        f"{task.common['epochs']} epochs; {elapsed / 60:.0f} minutes in all\n"
    )
    show(rows)
    (folder / "rows.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
