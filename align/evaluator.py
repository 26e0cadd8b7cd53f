"""`samespace`, a model evaluator of MLflow: whether a new embedder may replace an old one without a backfill.

MLflow finds it by its entry point (group `mlflow.model_evaluator`). `evaluate` of MLflow 3 takes images as an array of two
dimensions only, so they are given flat; the evaluator gives them back the shape in the model's signature:

    import mlflow

    mlflow.set_tracking_uri("sqlite:///home/mlflow.db")
    mlflow.set_experiment("products")              # one that a training made: its artifacts are below home
    found = mlflow.models.evaluate(
        model="models:/products@challenger",
        data=images.reshape(len(images), -1),      # (n, c, h, w), of the type the models were logged with
        targets=labels,                            # (n,) integers or strings
        model_type="embedder",
        evaluators="samespace",
        evaluator_config={"old_model": "models:/products/1"},
    )
    found.metrics["gain/map"], found.metrics["verdict/map"]   # 1 compatible, 0 inconclusive, -1 incompatible

Every item is a query and in the gallery, and never finds itself. Measured are old/old, new/old and new/new, each with
CMC@1, CMC@5, mAP, mAP@R and MRR, the gain of new/old over old/old with its interval, the verdict for each metric, update
gain and negative flip rate: the names are those of `Report.numbers`. Artifacts: the table `compatibility.md` and `.json`,
and `cmc.png`. The new model and the old one may be of any flavour that gives (n, d) arrays.

`evaluator_config`:
    old_model: address of the model that wrote the gallery; needed.
    transform: address of a transform of the `samespace` flavour between the two spaces; by default new queries are cut to
        the old width. One with a side input is given the old model's vectors of the queries, as `slerp` needs it.
    transform_side: "query" (new -> old, the default) or "gallery" (old -> new, applied to the stored vectors).
    reference_model: address of an independently trained new model, for the update gain; by default the new model itself.
    max_items: how many items are evaluated at most, 10,000 by default; more are sampled.
    seed: of the sample and of the bootstrap, 0 by default.
    trust: backbone `module:factory` that old_model and reference_model may be made of; of `model`, `evaluate` takes it as
        model_config={"trust": "module:factory"}.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from align import reporting
from align.report import Report
from registry.errors import DimensionMismatch, InvalidInput
from registry.transforms import Transform
from registry.vectors import Array

__all__ = ["CompatibilityEvaluator"]


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What `evaluator_config` holds."""

    old_model: str
    transform: str | None = None
    transform_side: str = "query"
    reference_model: str | None = None
    max_items: int = reporting.MOST_ITEMS
    seed: int = 0
    trust: str | None = None


class CompatibilityEvaluator:
    """Has the methods of `mlflow.models.ModelEvaluator`, but not that base class: MLflow loads it while it is imported."""

    @classmethod
    def can_evaluate(cls, *, model_type: str | None, evaluator_config: Mapping[str, Any] | None, **_: Any) -> bool:
        """Whether the models are embedders."""
        return model_type == "embedder"

    def evaluate(
        self,
        *,
        model_type: str,
        dataset: Any,
        run_id: str,
        evaluator_config: Mapping[str, Any] | None,
        model: Any = None,
        **given: Any,  # MLflow's: model_id, extra_metrics, custom_artifacts, predictions, and what later releases add
    ) -> Any:
        """Measure, log to the run, and return MLflow's `EvaluationResult`; see the module's docstring.

        Raises:
            InvalidInput: an option, the model, the targets or images that do not fit.
            DimensionMismatch: widths that neither a prefix nor the transform brings together.
            NotFound: no such transform.
        """
        for name in ("extra_metrics", "custom_artifacts", "predictions"):
            if given.get(name):
                raise InvalidInput(f"the samespace evaluator takes no {name}: leave it out, or use another evaluator")
        if model is None or dataset.labels_data is None:
            raise InvalidInput("the samespace evaluator needs a model and targets: give both to mlflow.models.evaluate")
        report = _report(_options(evaluator_config), model, dataset)
        return _logged(report, run_id, title=dataset.name or "the data", by_mlflow=given.get("model_id") is not None)


def _options(given: Mapping[str, Any] | None) -> _Options:
    known = [f.name for f in fields(_Options)]
    for name in given or {}:
        if name not in known:
            raise InvalidInput(f"evaluator_config knows no {name!r:.80}: it takes {', '.join(known)}")
    if not (given or {}).get("old_model"):
        raise InvalidInput("evaluator_config lacks old_model: give the address of the old model, such as models:/x/1")
    options = _Options(**dict(given or {}))
    if options.transform_side not in ("query", "gallery"):
        raise InvalidInput(f"transform_side must be 'query' or 'gallery', got {options.transform_side!r:.80}")
    return options


def _report(options: _Options, model: Any, dataset: Any) -> Report:
    import mlflow

    from align import flavor

    rows = reporting.choose(len(dataset.labels_data), most=options.max_items, seed=options.seed)
    features = np.asarray(dataset.features_data)[rows]
    transform = None if options.transform is None else flavor.load_model(options.transform)
    settings = {"trust": options.trust} if options.trust else None
    old = _embed(mlflow.pyfunc.load_model(options.old_model, model_config=settings), features, "the old model")
    new = _embed(model, features, "the model")
    reference = None
    if options.reference_model is not None:
        loaded = mlflow.pyfunc.load_model(options.reference_model, model_config=settings)
        reference = _embed(loaded, features, "the reference model")
    crossed = None
    if transform is not None:
        crossed = _crossed(transform, options, new, old)
    elif old.shape[1] > new.shape[1]:
        raise DimensionMismatch(
            f"the model gives {new.shape[1]} dimensions, the old one {old.shape[1]}: give evaluator_config a transform"
        )
    way = f"the transform {options.transform} on the {options.transform_side} side"
    labels = dataset.labels_data[rows]
    return reporting.compare(labels, new, old=old, crossed=crossed, reference=reference, way=way, seed=options.seed)


def _embed(model: Any, features: Array, what: str) -> Array:
    """Embeddings (n, d) of flat features (n, f), in the shape that the model's signature asks for."""
    metadata = getattr(model, "metadata", None)
    schema = metadata.get_input_schema() if metadata is not None else None
    if schema is not None and schema.is_tensor_spec() and not schema.has_input_names():
        spec = schema.inputs[0]
        shape, dtype = tuple(spec.shape[1:]), spec.type
        if int(np.prod(shape)) != features.shape[1]:
            raise InvalidInput(f"{what} takes inputs of shape {shape}, the data's rows hold {features.shape[1]} values")
        if features.dtype != dtype:
            raise InvalidInput(f"{what} takes {dtype} values, the data is {features.dtype}: convert it, or log it anew")
        features = features.reshape(len(features), *shape)
    vectors = np.asarray(model.predict(features))
    if vectors.ndim != 2 or len(vectors) != len(features):
        raise InvalidInput(f"{what} must give one vector for each of {len(features)} items, got shape {vectors.shape}")
    return vectors


def _crossed(transform: Any, options: _Options, new: Array, old: Array) -> tuple[Array, Array]:
    """Queries by the new model and stored vectors by the old one, in one space."""
    if not isinstance(transform, Transform):
        raise InvalidInput(f"{options.transform} is an encoder: evaluator_config's transform must be a transform")
    on_query = options.transform_side == "query"
    source, target = (new, old) if on_query else (old, new)
    if (transform.source_dim, transform.target_dim) != (source.shape[1], target.shape[1]):
        raise DimensionMismatch(
            f"{options.transform} maps {transform.source_dim} -> {transform.target_dim} dimensions, "
            f"the {options.transform_side} side needs {source.shape[1]} -> {target.shape[1]}: is it the other way round?"
        )
    if not transform.side_dim:
        mapped = transform.apply(source)
    elif on_query and transform.side_dim == old.shape[1]:
        mapped = transform.apply(new, side=old)
    else:
        raise InvalidInput(
            f"{options.transform} needs a side input of {transform.side_dim} values that no model gives: measure it with "
            "align.metrics"
        )
    return (mapped, old) if on_query else (new, mapped)


def _logged(report: Report, run_id: str, *, title: str, by_mlflow: bool) -> Any:
    """Write numbers, table and picture to the run; `by_mlflow`: it will log the numbers itself, beside the model."""
    from mlflow import MlflowClient
    from mlflow.models import EvaluationResult
    from mlflow.models.evaluation.artifacts import (
        ImageEvaluationArtifact,
        JsonEvaluationArtifact,
        TextEvaluationArtifact,
    )

    from align.tracking import Tracker

    client = MlflowClient()
    run = client.get_run(run_id)
    tracker = Tracker(run_id, run.info.experiment_id, client.tracking_uri, client)
    if not by_mlflow:
        tracker.log_metrics(report.numbers())
    artifacts = {}
    kinds = {"compatibility.md": TextEvaluationArtifact, "compatibility.json": JsonEvaluationArtifact}
    with tempfile.TemporaryDirectory() as folder:
        for path in reporting.write(report, folder, title=title):
            artifact = kinds.get(path.name, ImageEvaluationArtifact)(uri=tracker.log_artifact(path))
            artifact._load(str(path))  # as MLflow's own evaluators do, or it would be fetched back from the store
            artifacts[path.name] = artifact
    return EvaluationResult(metrics=report.numbers(), artifacts=artifacts, run_id=run_id)
