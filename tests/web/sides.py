"""A registry of two sides that tests of scopes share: `open` and `covert`, alike in all, and what leads across."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from registry.tracking import default_uri
from registry.transforms import Orthogonal, Prefix
from tests.web.mapping import PIXEL

ITEMS = 24
"""Few, so that maps are laid out without t-SNE."""


@dataclass
class Side:
    """One half of the registry: its names, and the ids that it was given."""

    name: str
    ids: dict[str, str] = field(default_factory=dict)

    def __getattr__(self, what: str) -> str:
        """`side.model` is `openmodel`, and so on."""
        if what.startswith("_"):
            raise AttributeError(what)
        return f"{self.name}{what}"

    def items(self, gallery: str) -> list[str]:
        return [f"{self.name}item-{gallery}-{i}" for i in range(ITEMS)]


def _vectors(rng, labels):
    """(n, 4), (n, 8) of one class each, the wider one better."""
    x = rng.normal(size=(3, 8))[labels]
    return {1: x[:, :4] + rng.normal(size=(ITEMS, 4)), 2: x + 0.4 * rng.normal(size=(ITEMS, 8))}


def _run(mlflow, experiment, side, name, **named):
    """An ended run with a curve of two points; what it says of itself has the side's name in it."""
    run = mlflow.create_run(experiment, run_name=f"{side.name}{name}").info.run_id
    losses = [Metric(f"{side.name}_loss", 1.0 - i / 10, 1000 + i, i) for i in range(2)]
    params = [Param(key, value) for key, value in named.items()]
    mlflow.log_batch(run, metrics=losses, params=[Param("method", f"{side.name}method"), *params])
    mlflow.set_terminated(run)
    return run


def _fill(registry, mlflow, experiment, side, rng):
    """A model of two versions, a benchmark, a plain gallery, a transform, anchors, a study, a check, runs."""
    old, new = f"{side.model}/1", f"{side.model}/2"
    side.ids["run"] = _run(mlflow, experiment, side, "run", old="covertmodel/1", gallery="covertshelf")
    for number, dim in ((1, 4), (2, 8)):
        registry.register_version(
            side.model, dim=dim, source=f"{side.name}source", tags={f"{side.name}tag": f"{side.name}note"},
            parent=old if number == 2 else None, run_id=side.ids["run"] if number == 2 else None,
        )  # fmt: skip
    registry.set_alias(side.model, f"{side.name}alias", 2)
    labels = np.arange(ITEMS) % 3
    made = _vectors(rng, labels)
    values = {f"{side.name}label": [f"{side.name}value-{n}" for n in labels]}
    for gallery, columns in ((side.bench, values), (side.shelf, {})):
        registry.create_gallery(gallery, labels=list(columns))
        for number, x in made.items():
            ids = side.items(gallery)
            registry.append(gallery, version=f"{side.model}/{number}", ids=ids, vectors=x, labels=columns or None)
    registry.add_previews(side.bench, side.items(side.bench), pictures=[PIXEL] * ITEMS)
    registry.add_previews(side.shelf, side.items(side.shelf), texts=[f"{side.name}text"] * ITEMS)
    prefix = Prefix(from_dim=8, to_dim=4, report={f"{side.name}report": 1})
    side.ids["transform"] = registry.add_transform(prefix, source=new, target=old).id
    registry.add_anchors(side.anchors, gallery=side.bench, ids=side.items(side.bench)[:4])
    registry.add_canaries(old, [f"{side.name}canary"], np.ones((1, 4)))
    registry.record_check(old, 0.5, tolerance=0.01, worst=f"{side.name}canary")
    registry.create_token(side.token, models=[side.model], galleries=[side.bench, side.shelf])
    registry.evaluate(side.bench)
    late = registry.append(side.shelf, version=old, ids=[f"{side.name}item-late"], vectors=np.ones((1, 4)))
    plan = registry.plan_backfill(side.shelf, into=new, benchmark=side.bench, encoder=f"{side.name}module:encode")
    assert (late, plan.total) == (1, 1)
    side.ids["backfill"] = plan.id
    side.ids["study"] = registry.study(old, new, benchmark=side.bench).id
    return made


def filled(registry) -> tuple[Side, Side]:
    """Both sides, and vectors, maps and measurements of the one on the other's galleries."""
    opened, covert = Side("open"), Side("covert")
    rng = np.random.default_rng(3)
    mlflow = MlflowClient(default_uri(registry.home))
    place = registry.home
    experiments = {s.name: mlflow.create_experiment(s.experiment, f"file://{place}/runs") for s in (opened, covert)}
    made = {s.name: _fill(registry, mlflow, experiments[s.name], s, rng) for s in (opened, covert)}
    labels = {s.name: {f"{s.name}label": [f"{s.name}value-{n % 3}" for n in range(ITEMS)]} for s in (opened, covert)}
    for here, there in ((opened, covert), (covert, opened)):  # galleries of both
        for number, x in made[there.name].items():
            registry.append(
                here.bench, version=f"{there.model}/{number}", ids=here.items(here.bench), vectors=x,
                labels=labels[here.name],
            )  # fmt: skip
            registry.append(here.shelf, version=f"{there.model}/{number}", ids=here.items(here.shelf), vectors=x)
    turn = Orthogonal(weight=np.eye(8, 4), bias=np.zeros(4), report={"covertreport": 1})
    covert.ids["bridge"] = _run(mlflow, experiments["covert"], covert, "bridge")
    covert.ids["across"] = registry.add_transform(
        turn, source=f"{opened.model}/2", target=f"{covert.model}/1", run_id=covert.ids["bridge"]
    ).id
    registry.register_version(opened.model, dim=4, parent=f"{covert.model}/1")
    for side in (opened, covert):
        side.ids["index"] = registry.build_index(side.shelf, f"{side.model}/2").id
    covert.ids["index-there"] = registry.build_index(opened.shelf, f"{covert.model}/2").id
    registry.add_webhook(covert.hook, "https://93.184.215.14/covertpath")
    for benchmark in (opened.bench, covert.bench):  # the newest evidence of the open pair is of the covert benchmark
        registry.evaluate(benchmark)
    return opened, covert
