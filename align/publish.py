"""From alignment to a registry: the one module of `align` that knows a registry, and it uses it as anybody would."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from align.relative import transform as relative_transform
from registry.errors import InvalidInput, NotFound
from registry.transforms import Prefix, Transform
from registry.vectors import Array, normalize

if TYPE_CHECKING:
    from align.anchors import Anchors
    from align.encoders import Encoder
    from align.tracking import Tracker
    from registry.embedded import Registry
    from registry.types import AnchorSet, TransformInfo, Version

__all__ = ["add_encoder", "add_fit", "add_relative", "embed", "encoder_of", "freeze_anchors"]

_COMPATIBLE_METHODS = ("oca",)
"""Training methods whose embedding's prefix lives in the old version's space."""


def add_encoder(
    reg: Registry, encoder: Encoder, *, model: str, method: str, parent: str | None = None, run_id: str | None = None
) -> Version:
    """Register a trained encoder as the next version of `model`; a compatible one also gets its prefix to `parent`."""
    version = reg.register_version(
        model, dim=encoder.dim, metric="cosine", normalized=True, parent=parent, method=method, run_id=run_id,
        source=f"runs:/{run_id}/encoder.safetensors" if run_id else None, fingerprint=encoder.fingerprint(),
    )  # fmt: skip
    if parent is not None and method in _COMPATIBLE_METHODS:
        old = reg.version(parent)
        prefix = Prefix(from_dim=version.dim, to_dim=old.dim, report={"method": method})
        reg.add_transform(prefix, source=version.ref, target=old.ref, run_id=run_id)
    return version


def encoder_of(version: Version, *, tracking_uri: str) -> Encoder:
    """The encoder of a registered version, from the run that trained it.

    Raises:
        NotFound: the version has no encoder in an MLflow run.
        InvalidInput: the file is of another encoder than the one registered.
    """
    from align.encoders import Encoder
    from align.tracking import fetch

    if not version.source or not version.source.startswith("runs:/"):
        raise NotFound(
            f"{version.ref} has no encoder here (source {version.source}): append its vectors from a file instead"
        )
    with tempfile.TemporaryDirectory() as folder:
        encoder = Encoder.load(fetch(version.source, Path(folder), tracking_uri=tracking_uri))
    weights = encoder.fingerprint()["weights"]
    if weights != version.facts.get("weights"):
        raise InvalidInput(
            f"{version.source} holds other weights than {version.ref} was registered with: do not use it"
        )
    return encoder


def embed(
    reg: Registry,
    gallery: str,
    encoder: Encoder,
    *,
    version: str,
    ids: Sequence[Any] | Array,
    x: Array,
    labels: dict[str, Any] | None = None,
    batch: int = 8192,
) -> int:
    """Encode inputs x (n, c, h, w) and append them to a gallery, `batch` at a time. Returns the number of rows."""
    for start in range(0, len(x), batch):
        part = slice(start, start + batch)
        given = {name: values[part] for name, values in (labels or {}).items()}
        reg.append(gallery, version=version, ids=ids[part], vectors=encoder.encode(x[part]), labels=given)
    return len(x)


def add_fit(
    reg: Registry, fitted: Transform, *, source: str, target: str, tracker: Tracker | None = None
) -> TransformInfo:
    """Log a fitted transform to its run, and register it."""
    if tracker is not None:
        numbers = {k: v for k, v in fitted.report.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        tracker.log_metrics({name: float(value) for name, value in numbers.items()})
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "transform.safetensors"
            fitted.save(path)
            tracker.log_artifact(path)
    return reg.add_transform(fitted, source=source, target=target, run_id=tracker.run_id if tracker else None)


def freeze_anchors(
    reg: Registry, name: str, chosen: Anchors, *, gallery: str, ids: Sequence[Any] | Array, similarity: str = "cosine"
) -> AnchorSet:
    """Register chosen anchors: `chosen` counts rows, `ids` (n,) are the items of these rows in `gallery`."""
    items = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    rows = chosen.indices.ravel().tolist()
    anchor = np.repeat(np.arange(len(chosen)), chosen.indices.shape[1]).tolist()
    weights = chosen.weights.ravel().tolist()
    return reg.add_anchors(
        name, gallery=gallery, ids=[items[r] for r in rows], anchor=anchor, weights=weights, similarity=similarity
    )


def add_relative(reg: Registry, anchors: str, *, version: str, tracker: Tracker | None = None) -> TransformInfo:
    """Build and register the transform from a version's space into the relative space of an anchor set.

    NotFound if the version did not embed the anchors' items in their gallery.
    """
    found = next((a for a in reg.anchor_sets() if a.name == anchors), None)
    if found is None:
        raise NotFound(f"there is no anchor set {anchors!r:.120}: choose anchors first")
    vectors = reg.fetch(found.gallery, ids=list(found.ids), into=version).vectors
    if reg.version(version).metric == "cosine":
        vectors = normalize(vectors)  # a mean of directions, whatever lengths were stored
    anchor_vectors = np.zeros((found.size, vectors.shape[1]), dtype=np.float32)
    np.add.at(anchor_vectors, list(found.anchor), vectors * np.asarray(found.weights, dtype=np.float32)[:, None])
    data = _stored(reg, found.gallery, version) if found.similarity == "whitened" else None
    fitted = relative_transform(anchor_vectors, similarity=found.similarity, data=data)  # type: ignore[arg-type]
    return add_fit(reg, fitted, source=version, target=found.space, tracker=tracker)


def _stored(reg: Registry, gallery: str, version: str) -> Iterator[Array]:
    for block in reg.scan(gallery, into=version):
        yield block.vectors
