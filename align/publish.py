"""From alignment to a registry: with `align.importing` all of `align` that knows a registry, used as anybody would."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from align.data.thumbnails import range_of, thumbnail
from align.relative import transform as relative_transform
from registry.errors import InvalidInput, NotFound
from registry.transforms import Prefix, Transform
from registry.vectors import Array, normalize

if TYPE_CHECKING:
    from align.anchors import Anchors
    from align.encoders import Encoder
    from align.flavor import Pixels
    from align.tracking import Tracker
    from registry.connecting import Connection
    from registry.types import AnchorSet, TransformInfo, Version

__all__ = [
    "add_encoder", "add_fit", "add_prefixes", "add_relative", "draw_previews", "embed", "encoder_of", "freeze_anchors",
]  # fmt: skip

_FETCHED = 8192  # items of an anchor set in memory at a time
_DRAWN = 1024  # pictures in memory at a time


def add_encoder(
    reg: Connection,
    encoder: Encoder,
    *,
    model: str,
    method: str,
    olds: Sequence[str] = (),
    tracker: Tracker | None = None,
    pixels: Pixels = "uint8",
) -> Version:
    """Register a trained encoder as the next version of `model`, with its prefixes to the versions that it reads.

    `olds` are the versions that it was trained to stay compatible with, the newest first: that one is its parent. With a
    tracker the encoder is kept in its run and as the next version of MLflow's registered model of the same name, which
    is the version's source; `pixels` is the type of the images that it was trained on.
    """
    source = run_id = None
    if tracker is not None:
        source = tracker.log_model(encoder, name="encoder", registered_model=model, pixels=pixels)
        run_id = tracker.run_id
    version = reg.register_version(
        model, dim=encoder.dim, metric="cosine", normalized=True, parent=olds[0] if olds else None, method=method,
        run_id=run_id, source=source, fingerprint=encoder.fingerprint(),
    )  # fmt: skip
    add_prefixes(reg, version, map(reg.version, olds))
    return version


def add_prefixes(reg: Connection, version: Version, olds: Iterable[Version]) -> None:
    """Register that the first dimensions of `version` read as each of `olds`, as it was trained."""
    for old in olds:
        prefix = Prefix(from_dim=version.dim, to_dim=old.dim, report={"method": version.method})
        reg.add_transform(prefix, source=version.ref, target=old.ref, run_id=version.run_id)


def encoder_of(version: Version, *, tracking_uri: str, trust: Collection[str] = ()) -> Encoder:
    """The encoder of a registered version, from MLflow; `trust` is that of `Encoder.load`.

    Raises:
        NotFound: the version has no encoder in MLflow.
        InvalidInput: the model is another than the one registered, or its backbone is not trusted.
    """
    from align.encoders import Encoder
    from align.flavor import load_model

    if not version.source or not version.source.startswith(("models:/", "runs:/")):
        raise NotFound(
            f"{version.ref} has no encoder here (source {version.source}): append its vectors from a file instead"
        )
    encoder = load_model(version.source, tracking_uri=tracking_uri, trust=trust)
    if not isinstance(encoder, Encoder) or encoder.fingerprint()["weights"] != version.facts.get("weights"):
        raise InvalidInput(
            f"{version.source} holds other weights than {version.ref} was registered with: do not use it"
        )
    return encoder


def embed(
    reg: Connection,
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


def draw_previews(reg: Connection, gallery: str, *, ids: Sequence[Any] | Array, x: Array) -> int:
    """Draw images x (n, c, h, w) small, and keep them as the previews of the items `ids` (n,). Returns how many.

    InvalidInput if they have neither 1 nor 3 channels; else see `Registry.add_previews`.
    """
    values = range_of(x)

    def parts() -> Iterator[tuple[Any, list[bytes]]]:
        for start in range(0, len(x), _DRAWN):
            part = slice(start, start + _DRAWN)
            yield ids[part], [thumbnail(image, values) for image in x[part]]

    return reg.add_preview_parts(gallery, kind="picture", parts=parts())


def add_fit(
    reg: Connection, fitted: Transform, *, source: str, target: str, tracker: Tracker | None = None
) -> TransformInfo:
    """Log a fitted transform to its run, numbers and model, and register it."""
    if tracker is not None:
        numbers = {k: v for k, v in fitted.report.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        tracker.log_metrics({name: float(value) for name, value in numbers.items()})
        tracker.log_model(fitted, name="transform")
    return reg.add_transform(fitted, source=source, target=target, run_id=tracker.run_id if tracker else None)


def freeze_anchors(
    reg: Connection, name: str, chosen: Anchors, *, gallery: str, ids: Sequence[Any] | Array, similarity: str = "cosine",
    quantum: float | None = None,
) -> AnchorSet:  # fmt: skip
    """Register chosen anchors: `chosen` counts rows, `ids` (n,) are the items of these rows in `gallery`."""
    items = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    rows = chosen.indices.ravel().tolist()
    anchor = np.repeat(np.arange(len(chosen)), chosen.indices.shape[1]).tolist()
    weights = chosen.weights.ravel().tolist()
    return reg.add_anchors(
        name, gallery=gallery, ids=[items[r] for r in rows], anchor=anchor, weights=weights, similarity=similarity,
        quantum=quantum,
    )  # fmt: skip


def add_relative(reg: Connection, anchors: str, *, version: str, tracker: Tracker | None = None) -> TransformInfo:
    """Build and register the transform from a version's space into the relative space of an anchor set.

    NotFound if the version did not embed the anchors' items in their gallery.
    """
    found = next((a for a in reg.anchor_sets() if a.name == anchors), None)
    if found is None:
        raise NotFound(f"there is no anchor set {anchors!r:.120}: choose anchors first")
    directions = reg.version(version).metric == "cosine"
    whitened = found.similarity == "whitened"
    fitted = relative_transform(
        _anchor_vectors(reg, found, version, unit=directions), found.similarity, quantum=found.quantum,  # type: ignore[arg-type]
        data=_stored(reg, found.gallery, version) if whitened else None,
        normalize=directions or found.similarity == "cosine", device="cpu",
    )  # fmt: skip
    return add_fit(reg, fitted, source=version, target=found.space, tracker=tracker)


def _anchor_vectors(reg: Connection, anchors: AnchorSet, version: str, *, unit: bool) -> Array:
    """The anchors' vectors (k, d), float32; with `unit` means of directions, whatever lengths were stored."""
    items = list(dict.fromkeys(anchors.ids))
    place = {item: i for i, item in enumerate(items)}
    rows, owners = np.asarray([place[item] for item in anchors.ids]), np.asarray(anchors.anchor)
    weights = np.asarray(anchors.weights, dtype=np.float32)
    vectors = np.zeros((anchors.size, reg.version(version).dim), dtype=np.float32)
    for start in range(0, len(items), _FETCHED):
        block = reg.fetch(anchors.gallery, ids=items[start : start + _FETCHED], into=version).vectors
        block = normalize(block) if unit else block
        here = np.flatnonzero((rows >= start) & (rows < start + _FETCHED))
        for part in np.array_split(here, 1 + len(here) // _FETCHED):
            np.add.at(vectors, owners[part], block[rows[part] - start] * weights[part, None])
    return vectors


def _stored(reg: Connection, gallery: str, version: str) -> Iterator[Array]:
    """The rows (m, d) that the version itself wrote, in blocks."""
    for (block,) in reg.shared(gallery, versions=[version]):
        yield block
