"""The client: a registry elsewhere, asked over HTTP; method by method the same as an embedded one."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any, Literal, Self, TypeVar
from uuid import uuid4

import numpy as np
import pyarrow as pa

from registry import attachments, canaries, previews, transforms, wire
from registry.batches import Batch, Target, check_rows, checked, id_column
from registry.canaries import Canaries, Encode, EncoderCheck, Inputs, check_encoder
from registry.descriptions import check_description, check_key, check_tag
from registry.errors import InvalidInput, NotFound, Unavailable
from registry.fingerprints import Fingerprint, canonical, fingerprint_of
from registry.listing import Kind, Lists
from registry.previews import check_limit
from registry.progress import Bar, bar
from registry.refs import check_name, parse_version, parse_versions, prefix_of
from registry.transforms import Transform
from registry.transport import Transport
from registry.types import (
    AnchorSet,
    Backfill,
    Change,
    Check,
    Comparison,
    Counts,
    Decision,
    Delivery,
    Embeddings,
    Evaluation,
    Gallery,
    Hits,
    Ids,
    IndexInfo,
    Item,
    Matrix,
    Model,
    Page,
    Path,
    Portion,
    Preview,
    Space,
    Study,
    Token,
    TransformInfo,
    Version,
    Webhook,
)
from registry.vectors import Array, as_rows, check_finite

__all__ = ["Client"]

_TYPES: Mapping[str, type[Any]] = {
    "models": Model, "versions": Version, "galleries": Gallery, "transforms": TransformInfo, "anchor_sets": AnchorSet,
    "evaluations": Evaluation, "studies": Study, "changes": Change, "encoder_checks": Check,
    "backfills": Backfill,
}  # fmt: skip
_PAGE = 1000
_MOST_SENT_BYTES = 64 << 20  # of queries or vectors in one request
_MOST_SCORES = 1 << 20
_PREVIEWS_SENT = 128  # of one batch: at 64 KiB each, a batch of the usual size
_MOST_UPGRADES = 100
_MOST_WHERE = 2000  # characters, in an address
_BYTES = "application/octet-stream"

Progress = Callable[[int, int], None]
T = TypeVar("T")


class Client(Lists):
    """A registry on a server. Open one with `registry.connect("http://host:8321", token=…)`.

    It is safe to share between threads. Whatever is safe to repeat is repeated when the server cannot be reached or is
    busy: reads, and what changes something under an idempotency key, which is made for each call unless `key` is given.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 60.0,
        dtype: Literal["float32", "float16"] = "float32",
        progress: bool | None = None,
    ) -> None:
        """See `registry.connect`."""
        if dtype not in ("float32", "float16"):
            raise InvalidInput(f"dtype must be float32 or float16, got {dtype!r:.80}")
        self._server = Transport(url, token, timeout=timeout)
        self._dtype = dtype
        self._progress = progress
        self._known: dict[tuple[str, str], Any] = {}  # versions and the kinds of galleries, which never change

    def __repr__(self) -> str:
        return f"Client({self._server.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections."""
        self._server.close()

    @property
    def home(self) -> str:
        """The server's address."""
        return self._server.url

    def revision(self) -> str | None:
        """The revision that the server's database is at."""
        found: str | None = self._server.json("GET", "/about")["revision"]
        return found

    # Models and versions

    def register_version(
        self,
        model: str,
        *,
        dim: int,
        metric: str = "cosine",
        normalized: bool | None = None,
        dtype: str = "float32",
        source: str | None = None,
        parent: str | None = None,
        method: str = "independent",
        run_id: str | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Version:
        """Register the next version of `model`; see `registry.embedded.Registry.register_version`."""
        body: dict[str, Any] = {
            "dim": dim, "metric": metric, "normalized": metric == "cosine" if normalized is None else normalized,
            "dtype": dtype, "source": source, "parent": parent, "method": method, "run_id": run_id,
            "fingerprint": fingerprint, "tags": tags,
        }  # fmt: skip
        check_description(model, **body)
        if fingerprint is not None:
            body["fingerprint"] = json.loads(canonical(fingerprint))  # what the digest is of, and says what is no JSON
        body["tags"] = None if tags is None else dict(tags)
        return wire.from_json(Version, self._post(f"/models/{model}/versions", body, key))

    def models(self) -> list[Model]:
        """All models by name."""
        return list(self.iter_models(page=_PAGE))

    def versions(self, model: str | None = None) -> list[Version]:
        """The versions of a model, oldest first; of all models if none is named. NotFound for an unknown model."""
        if model is not None:
            check_name(model, "model")
        return list(self.iter_versions(model, page=_PAGE))

    def version(self, ref: str) -> Version:
        """One version: `products/2` or `products@champion`. NotFound if there is none."""
        parse_version(ref)
        return wire.from_json(Version, self._server.json("GET", "/version", query={"ref": ref}))

    def space(self, name: str) -> Space:
        """One space: `products/2`, `products/2[:64]`, `products@champion`, `relative/landmarks`. NotFound if there is none."""
        _text("a space", name)
        return wire.from_json(Space, self._server.json("GET", "/space", query={"name": name}))

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Let `model@alias` mean version `number`; the alias moves if it exists."""
        check_name(model, "model")
        check_name(alias, "alias")
        self._server.json("PUT", f"/models/{model}/aliases/{alias}", body={"number": _plain(number)})

    def set_tag(self, ref: str, key: str, value: str) -> None:
        """Note `key` = `value` on a version, replacing what was noted."""
        parse_version(ref)
        check_tag(key, value)
        self._server.json("PUT", "/version/tags", query={"ref": ref}, body={"key": key, "value": value})

    def add_canaries(self, ref: str, inputs: Inputs, vectors: Any, *, key: str | None = None) -> Canaries:
        """Keep a few inputs and their vectors, for `verify_encoder`; see `registry.embedded.Registry.add_canaries`."""
        version = self.version(ref)
        made = canaries.made(version.ref, inputs, vectors, dim=version.dim)
        data = canaries.dumps(made)
        query = {"ref": version.ref}
        self._server.send("PUT", "/version/canaries", lambda: [data], kind=_BYTES, query=query, key=_key(key))
        return made

    def canaries(self, ref: str) -> Canaries:
        """The canaries of a version. NotFound if it has none."""
        parse_version(ref)
        return canaries.loads(
            self._server.fetch("/version/canaries", query={"ref": ref}), name=f"the canaries of {ref}"
        )

    def verify_encoder(
        self, ref: str, encode: Encode, *, tolerance: float = 0.01, record: bool = False
    ) -> EncoderCheck:
        """How far what `encode` gives of this version's canaries lies from what was registered; see the embedded registry."""
        metric = self.version(ref).metric
        found = check_encoder(self.canaries(ref), encode, metric=metric, tolerance=tolerance)
        if record:
            self.record_check(found.version, max(found.deviations), tolerance=found.tolerance, worst=found.worst)
        return found

    def record_check(self, ref: str, deviation: float, *, tolerance: float, worst: str) -> Check:
        """Keep the largest deviation that a check of a version's encoder found, of the canary `worst`; see `verify_encoder`."""
        parse_version(ref)
        body = {"deviation": canaries.kept_deviation(deviation, tolerance), "tolerance": tolerance, "worst": worst}
        return wire.from_json(Check, self._server.json("POST", "/version/checks", query={"ref": ref}, body=body))

    def encoder_checks(self, ref: str | None = None) -> list[Check]:
        """The newest kept check of each version's encoder, by name; every one of the version `ref`, newest first."""
        return list(self._each("encoder_checks", _PAGE, ref=ref))

    # Galleries

    def create_gallery(
        self, name: str, *, id_type: str = "string", labels: Sequence[str] = (), key: str | None = None
    ) -> Gallery:
        """Create an empty gallery of items with `string` or `int` ids; label columns make it a benchmark."""
        if isinstance(labels, str) or not isinstance(labels, Iterable):
            raise InvalidInput(f"labels must be a list of column names, got {labels!r:.80}: write [{labels!r:.80}]")
        body = {"name": name, "id_type": id_type, "labels": list(labels)}
        return wire.from_json(Gallery, self._post("/galleries", body, key))

    def galleries(self) -> list[Gallery]:
        """All galleries by name."""
        return list(self.iter_galleries(page=_PAGE))

    def gallery(self, name: str) -> Gallery:
        """One gallery. NotFound if there is none."""
        return wire.from_json(Gallery, self._server.json("GET", _gallery_path(name)))

    def append(
        self,
        gallery: str,
        *,
        version: str,
        ids: Ids,
        vectors: Any,
        labels: Mapping[str, Any] | None = None,
        fingerprint: Fingerprint = None,
        key: str | None = None,
    ) -> int:
        """Store vectors that `version` made of items; all of the batch, or nothing. Returns the number of rows stored.

        See `registry.embedded.Registry.append`. ids (n,), vectors (n, d). The batch is checked here before it is sent.
        """
        batch = checked(self._target(gallery, version), ids, vectors, labels)
        return self._append(gallery, version, lambda: [batch], fingerprint, key, total=len(batch.ids))

    def append_parts(
        self,
        gallery: str,
        *,
        version: str,
        parts: Iterable[tuple[Any, Any, Mapping[str, Any] | None]],
        fingerprint: Fingerprint = None,
        key: str | None = None,
    ) -> int:
        """Store one batch that comes in parts, each (ids, vectors, labels) as in `append`: all of them, or nothing.

        Memory is bounded by one part. It is repeated after a failure only if `parts` can be read again, such as a list.
        """
        target = self._target(gallery, version)

        def batches() -> Iterator[Batch]:
            start = 0
            for ids, vectors, labels in parts:
                batch = checked(target, ids, vectors, labels, start=start)
                start += len(batch.ids)
                yield batch

        again = not isinstance(parts, Iterator)
        return self._append(gallery, version, batches, fingerprint, key, repeatable=again)

    def delete(self, gallery: str, ids: Ids, *, key: str | None = None) -> int:
        """Remove items, all their vectors and previews; unknown ids are passed over. Returns how many items went."""
        content = self._id_stream(gallery, ids)
        if content is None:
            return 0
        path = f"{_gallery_path(gallery)}/delete"
        answer = self._server.send("POST", path, content, kind=wire.ARROW, key=_key(key)).content
        items: int = wire.json_object(answer)["items"]
        return items

    def attach(
        self,
        gallery: str,
        *,
        version: str,
        kind: str | None = None,
        where: str | None = None,
        table: str | None = None,
        id: str | None = None,
        vector: str | None = None,
        ids: str | None = None,
        labels: Mapping[str, str] | None = None,
        again: bool = False,
        key: str | None = None,
    ) -> Gallery:
        """Make vectors that the server reaches a segment of a gallery; see `registry.embedded.Registry.attach`.

        It takes an admin's token, and an address or folder that the server's operator listed; paths are the server's.
        """
        attachments.given(again, kind, where, table=table, id=id, vector=vector, ids=ids, labels=labels)
        body = {
            "version": version, "kind": kind, "where": where, "table": table, "id": id, "vector": vector, "ids": ids,
            "labels": None if labels is None else dict(labels), "again": again,
        }  # fmt: skip
        return wire.from_json(Gallery, self._post(f"{_gallery_path(gallery)}/attach", body, key))

    def detach(self, gallery: str, *, version: str) -> Gallery:
        """Forget vectors of `version` that are attached to a gallery; what is there stays as it is. NotFound if none are."""
        path = f"{_gallery_path(gallery)}/detach"
        return wire.from_json(Gallery, self._server.json("POST", path, body={"version": version}))

    # Items, for people to look at

    def add_previews(
        self,
        gallery: str,
        ids: Ids,
        *,
        pictures: Sequence[bytes] | None = None,
        texts: Sequence[str] | None = None,
        key: str | None = None,
    ) -> int:
        """Keep a small picture, or a text, of each item; all of the batch, or nothing. See the embedded registry."""
        kind, values = previews.one_of(pictures, texts)
        table = previews.checked(kind, self._gallery_kind(gallery)[0], ids, values)
        return self._add_previews(gallery, kind, lambda: [table], key)

    def add_preview_parts(
        self, gallery: str, *, kind: Preview, parts: Iterable[tuple[Any, Any]], key: str | None = None
    ) -> int:
        """Keep previews of one `kind` that come in parts of (ids, values): all of them, or nothing.

        Memory is bounded by one part. It is repeated after a failure only if `parts` can be read again, such as a list.
        """
        previews.check_kind(kind, gallery)
        ids_are, _ = self._gallery_kind(gallery)

        def tables() -> Iterator[pa.Table]:
            start = 0
            for ids, values in parts:
                table = previews.checked(kind, ids_are, ids, values, start=start)
                start += len(table)
                yield table

        return self._add_previews(gallery, kind, tables, key, repeatable=not isinstance(parts, Iterator))

    def set_preview_url(self, gallery: str, url: str | None) -> Gallery:
        """Say where people's browsers find pictures of the items, with `{id}` for the item's id; None takes that back."""
        body = {"url": None if url is None else previews.check_url(url)}
        return wire.from_json(Gallery, self._server.json("PUT", f"{_gallery_path(gallery)}/preview-url", body=body))

    def items(
        self,
        gallery: str,
        *,
        label: Mapping[str, str | int] | None = None,
        after: str | None = None,
        limit: int = 100,
        previews: bool = False,
    ) -> Page[Item]:
        """At most `limit` items of a gallery in stored order, behind the cursor `after`; see the embedded registry."""
        check_limit(limit, previews=previews)
        wanted = None if label is None else json.dumps(dict(label))
        query = {"label": wanted, "after": after, "limit": limit, "previews": previews}
        found = self._server.json("GET", f"{_gallery_path(gallery)}/items", query=query)
        with wire.understood("page of items"):
            return Page(tuple(_item(told) for told in found["items"]), found["next"])

    def item(self, gallery: str, id: str | int) -> Item:
        """One item with its preview. NotFound if the gallery does not hold it."""
        (known,) = id_column(self._gallery_kind(gallery)[0], [id]).to_pylist()
        found = self._server.json("GET", f"{_gallery_path(gallery)}/item", query={"id": known})
        with wire.understood("item"):
            return _item(found)

    def previews(self, gallery: str, ids: Ids) -> Mapping[str | int, bytes | str]:
        """The previews of at most 100 items by id, of those that have one; ids that are unknown are passed over."""
        content = self._id_stream(gallery, ids)
        if content is None:
            return {}
        answer = self._server.send("POST", f"{_gallery_path(gallery)}/previews/fetch", content, kind=wire.ARROW)
        with wire.understood("list of previews"):
            return {told["id"]: _preview(told) for told in wire.json_object(answer.content)["previews"]}

    # Vectors in any space

    def fetch(self, gallery: str, *, ids: Ids, into: str, allow_unmeasured: bool = False) -> Embeddings:
        """The vectors of `ids`, in their order, as (n, d) float32 vectors of the space `into`.

        An item stored by several versions comes from the one with the best path. NotFound names a missing id;
        Incompatible says which segment cannot reach `into`.
        """
        space = self._known_space(into)
        wanted = id_column(self._gallery_kind(gallery)[0], ids)
        rows = np.empty((len(wanted), space.dim), dtype=np.float32)
        paths: dict[str, Path] = {}
        start = 0
        for block in self.fetch_blocks(gallery, ids=ids, into=into, allow_unmeasured=allow_unmeasured):
            start = _put(rows, start, block.vectors)
            paths |= block.path
        _check_whole(start, len(rows))
        return Embeddings(_ids_array(wanted), rows, space.name, paths)

    def fetch_blocks(
        self, gallery: str, *, ids: Ids, into: str, rows: int = 65536, allow_unmeasured: bool = False
    ) -> Iterator[Embeddings]:
        """What `fetch` gives, in blocks of at most `rows`, so that memory is bounded however many ids there are."""
        _text("a space", into)
        check_rows(rows)
        content = self._id_stream(gallery, ids)
        query = {"into": into, "allow_unmeasured": allow_unmeasured, "dtype": self._dtype}
        path = f"{_gallery_path(gallery)}/fetch"
        if content is None:
            self._known_space(into)
            return iter(())
        found = self._server.batches("POST", path, query=query, content=content)
        return _started(self._embeddings(found, f"fetching from {gallery}", rows, total=len(ids)))

    def scan(
        self, gallery: str, *, into: str, rows: int = 65536, allow_unmeasured: bool = False
    ) -> Iterator[Embeddings]:
        """All items in the space `into`, in blocks of at most `rows`, as the gallery is when the scan begins.

        Memory is bounded by a few MiB, however large the gallery. Unavailable if the server goes away meanwhile.
        """
        _text("a space", into)
        check_rows(rows)
        query = {"into": into, "rows": min(rows, 1 << 20), "allow_unmeasured": allow_unmeasured, "dtype": self._dtype}
        found = self._server.batches("GET", f"{_gallery_path(gallery)}/scan", query=query)
        return _started(self._embeddings(found, f"scanning {gallery}", rows))

    def pairs(self, gallery: str, *, source: str, target: str, rows: int = 65536) -> Iterator[tuple[Array, Array]]:
        """Vectors (n, ds), (n, dt) of the items that both versions embedded, row by row the same items, in blocks."""
        return ((x, y) for x, y in self.shared(gallery, versions=[source, target], rows=rows))

    def shared(
        self, gallery: str, *, versions: Sequence[str], label: str | None = None, rows: int = 65536
    ) -> RemoteShared:
        """The items that all of `versions` embedded: their vectors in blocks, and their labels by column `label`."""
        if isinstance(versions, str) or not len(versions):
            raise InvalidInput(f"versions must be a list such as ['products/1', 'products/2'], got {versions!r:.80}")
        check_rows(rows)
        query = {"versions": list(versions), "rows": min(rows, 1 << 20)}
        path = f"{_gallery_path(gallery)}/shared"
        items = [b for b, _ in self._server.batches("GET", f"{path}/items", query={**query, "label": label})]
        ids, labels = (
            np.concatenate([b.column(name).to_numpy(zero_copy_only=False) for b in items])
            if items
            else np.empty(0, np.int64)
            for name in ("id", "id" if label is None else "label")
        )
        again = partial(self._server.batches, "GET", path, query=query)
        return RemoteShared(ids, None if label is None else labels, again)

    def search(
        self,
        gallery: str,
        queries: Any,
        *,
        version: str,
        k: int = 10,
        allow_unmeasured: bool = False,
        shortlist: int | None = None,
        candidates: int | None = None,
        side: Mapping[str, Any] | None = None,
        fingerprint: Fingerprint = None,
        calibrate: bool = True,
        where: Mapping[str, Any] | None = None,
    ) -> Hits:
        """The k closest items to each query (q, d) that `version` (or a prefix of it) embedded.

        See `registry.embedded.Registry.search`. Many queries are sent in several requests.
        """
        _text("a version", version)
        columns = _search_columns(queries, side)
        n = len(columns["query"])
        query = {
            "version": version, "k": _plain(k), "allow_unmeasured": allow_unmeasured, "shortlist": _plain(shortlist),
            "candidates": _plain(candidates), "fingerprint": self._fingerprint(version, fingerprint),
            "calibrate": None if calibrate else False,  # servers of earlier releases do not know it
            "where": None if where is None else _json_of(where),
        }  # fmt: skip
        width = sum(x.shape[1] * x.itemsize for x in columns.values())
        size = max(1, min(_MOST_SENT_BYTES // max(1, width), _MOST_SCORES // k if isinstance(k, int) and k > 0 else 1))
        found = [
            self._searched(gallery, {name: x[i : i + size] for name, x in columns.items()}, query)
            for i in range(0, max(n, 1), size)
        ]
        return Hits(
            np.concatenate([hits.ids for hits in found]),
            np.concatenate([hits.scores for hits in found]),
            found[0].path,
            found[0].calibrated,
        )

    def build_index(
        self,
        gallery: str,
        version: str | None = None,
        *,
        kind: str = "auto",
        compression: str = "none",
        recall: float = 0.95,
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> IndexInfo:
        """Build a search index on the server and let searches use it; see `registry.embedded.Registry.build_index`.

        The server goes on to its end where the connection breaks: `indexes` then shows what came of it.
        """
        body = {
            "version": version, "kind": kind, "compression": compression, "recall": _plain(recall), "seed": _plain(seed),
            "settings": {name: _plain(value) for name, value in settings.items()} if isinstance(settings, Mapping) else settings,
        }  # fmt: skip
        made = self._worked(f"{_gallery_path(gallery)}/indexes", body, "index", progress)
        return wire.from_json(IndexInfo, made)

    def indexes(self, gallery: str | None = None) -> list[IndexInfo]:
        """The indexes of a gallery, or of all that the token covers, by gallery and version."""
        path = "/indexes" if gallery is None else f"{_gallery_path(gallery)}/indexes"
        return _listed(IndexInfo, self._server.json("GET", path)["indexes"])

    def drop_index(self, gallery: str, version: str) -> None:
        """Let the index of what `version` stored go; searches are exact again. NotFound if there is none."""
        _text("a version", version)
        self._server.json("DELETE", f"{_gallery_path(gallery)}/indexes", query={"version": version})

    def convert(self, vectors: Any, *, source: str, into: str, allow_unmeasured: bool = False) -> Array:
        """Vectors (n, ds) of the space `source` as float32 vectors (n, dt) of the space `into`."""
        self._known_space(source)
        rows = as_rows(vectors)
        out = np.empty((len(rows), self._known_space(into).dim), dtype=np.float32)
        query = {"source": source, "into": into, "allow_unmeasured": allow_unmeasured, "dtype": self._dtype}
        size = max(1, _MOST_SENT_BYTES // (max(rows.shape[1], out.shape[1]) * 4))
        for start in range(0, max(len(rows), 1), size):
            part = rows[start : start + size]
            if start:  # the server would count from this part's first row
                check_finite(part, start=start)
            place = start
            for batch, _ in self._server.batches(
                "POST", "/convert", query=query, content=partial(_matrix_stream, "vector", part)
            ):
                with wire.understood("stream of vectors"):
                    block = wire.matrix(batch.column("vector"))
                place = _put(out, place, block)
            _check_whole(place, start + len(part))
        return out

    # Transforms and anchors

    def add_transform(
        self, transform: Transform, *, source: str, target: str, run_id: str | None = None, key: str | None = None
    ) -> TransformInfo:
        """Register a map from `source` to `target`. It never changes; its file is checked on every load."""
        data = transform.dumps()
        query = {"source": source, "target": target, "run_id": run_id}
        answer = self._server.send("POST", "/transforms", lambda: [data], kind=_BYTES, query=query, key=_key(key))
        return wire.from_json(TransformInfo, wire.json_object(answer.content))

    def transforms(self, *, model: str | None = None) -> list[TransformInfo]:
        """All transforms, oldest first; of a `model` those that begin or end at one of its versions, or a prefix of one.

        NotFound for an unknown model.
        """
        return list(self.iter_transforms(model=model, page=_PAGE))

    def transform(self, id: str) -> Transform:
        """One registered transform with its parameters, checked against its checksum."""
        if not isinstance(id, str) or not id or not all(c.isalnum() or c in "-_" for c in id):
            raise NotFound(f"there is no transform {id!r:.120}: 'samespace model graph' lists them")
        return transforms.loads(self._server.fetch(f"/transforms/{id}/file"), name=f"transform {id}")

    def add_anchors(
        self,
        name: str,
        *,
        gallery: str,
        ids: Ids,
        anchor: Sequence[int] | None = None,
        weights: Sequence[float] | None = None,
        similarity: str = "cosine",
        quantum: float | None = None,
        key: str | None = None,
    ) -> AnchorSet:
        """Freeze items as the anchors of the relative space `relative/<name>`; see the embedded registry."""
        check_name(name, "anchor set")
        listed = id_column(self._gallery_kind(gallery)[0], ids).to_pylist()
        body = {
            "name": name, "gallery": gallery, "ids": listed, "anchor": _numbers(anchor), "weights": _numbers(weights, float),
            "similarity": similarity, "quantum": None if quantum is None else float(quantum),
        }  # fmt: skip
        return wire.from_json(AnchorSet, self._post("/anchor-sets", body, key))

    def anchor_sets(self) -> list[AnchorSet]:
        """All anchor sets by name."""
        return list(self._each("anchor_sets", _PAGE))

    # Evidence

    def evaluate(
        self,
        benchmark: str,
        *,
        versions: Sequence[str] | None = None,
        label: str | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Matrix:
        """Measure every query version x gallery version by every known path, on the server; see the embedded registry."""
        body = {
            "benchmark": benchmark, "versions": None if versions is None else list(versions), "label": label, "seed": _plain(seed),
        }  # fmt: skip
        return wire.from_json(Matrix, self._worked("/evaluations", body, "matrix", progress))

    def evaluations(
        self, benchmark: str | None = None, *, metric: str | None = None, label: str | None = None
    ) -> list[Evaluation]:
        """The newest measurement of each pair of versions, of every benchmark, metric and label column unless named."""
        return list(self.iter_evaluations(benchmark, metric=metric, label=label, page=_PAGE))

    def matrix(
        self, benchmark: str, *, metric: str = "map", label: str | None = None, versions: Sequence[str] | None = None
    ) -> Matrix:
        """The stored compatibility matrix: metric `cmc@1`, `cmc@5`, `map`, `map@r` or `mrr`, by default the first label.

        Of all versions measured on the benchmark, or of at most 1,000 `versions` with each other, measured or not.
        """
        if versions is not None:
            parse_versions(versions)
        query = {"benchmark": benchmark, "metric": metric, "label": label, "versions": versions}
        return wire.from_json(Matrix, self._server.json("GET", "/matrix", query=query))

    def compare(self, old: str, new: str, *, benchmark: str | None = None, label: str | None = None) -> Comparison:
        """May `new` replace `old` without backfilling? Verdicts and advice from the newest measurement of both."""
        query = {"old": old, "new": new, "benchmark": benchmark, "label": label}
        return wire.from_json(Comparison, self._server.json("GET", "/compare", query=query))

    def study(
        self,
        old: str,
        new: str,
        *,
        benchmark: str | None = None,
        label: str | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Study:
        """Look closer at replacing `old` by `new`, on the server, and store what was found; see the embedded registry."""
        body = {"old": old, "new": new, "benchmark": benchmark, "label": label, "seed": _plain(seed)}
        return wire.from_json(Study, self._worked("/studies", body, "study", progress))

    def studies(
        self,
        *,
        old: str | None = None,
        new: str | None = None,
        benchmark: str | None = None,
        label: str | None = None,
    ) -> list[Study]:
        """Studies, newest first: of these versions, this benchmark and this label column, where they are named."""
        return list(self.iter_studies(old=old, new=new, benchmark=benchmark, label=label))

    def stored_study(self, id: str) -> Study:
        """One study. NotFound if there is none."""
        return wire.from_json(Study, self._server.json("GET", _study_path(id)))

    def study_items(self, id: str) -> pa.Table:
        """What a study found of each item (n rows); see the embedded registry for the columns."""
        found = [batch for batch, _ in self._server.batches("GET", f"{_study_path(id)}/items")]
        with wire.understood("stream of a study's items"):
            return pa.Table.from_batches(found)

    def upgrades(self, *, limit: int = 10) -> list[Comparison]:
        """The upgrades that were measured last, at most 100, each compared as `compare` does; see the embedded registry."""
        _check_limit(limit)
        found = self._server.json("GET", "/upgrades", query={"limit": min(limit, _MOST_UPGRADES)})
        return _listed(Comparison, found["upgrades"])

    def changes(
        self,
        *,
        limit: int = 100,
        action: str | None = None,
        subject: str | None = None,
        who: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
    ) -> list[Change]:
        """The audit log, newest first: of an `action`, a `subject` or all that begin as `products/*` says, of `who`.

        `since` is from this moment on, `until` before it: a datetime or its ISO text, in UTC where it names no zone.
        """
        _check_limit(limit)
        filters = {"action": action, "subject": subject, "who": who, "since": since, "until": until}
        found: list[Change] = []
        after = None
        while len(found) < limit:
            page = self.page("changes", after=after, limit=min(limit - len(found), _PAGE), **filters)
            found += page.items
            after = page.next
            if after is None:
                break
        return found

    # Backfills

    def plan_backfill(
        self,
        gallery: str,
        *,
        into: str,
        encoder: str | None = None,
        inputs: str = "ids",
        order: str = "random",
        seed: int = 0,
        batch: int = 256,
        rate: float | None = None,
        stop_at: str | None = None,
        benchmark: str | None = None,
        label: str | None = None,
        counts: Mapping[Any, int | float] | tuple[Sequence[Any], Sequence[int | float]] | None = None,
        dry_run: bool = False,
    ) -> Backfill:
        """Plan to re-embed the items of a gallery that have no vector of `into` yet; see the embedded registry.

        Files and functions that `encoder` and `inputs` name are those of whoever runs it, not the server's.
        """
        from registry.backfill.wishes import Wish

        seed, batch, rate = _plain(seed), _plain(batch), _plain(rate)
        Wish(encoder, inputs, order, seed, batch, rate, stop_at, benchmark, label).check()  # type: ignore[arg-type]  # checked
        counted = (list(counts), list(counts.values())) if isinstance(counts, Mapping) else counts
        body = {
            "gallery": check_gallery(gallery), "into": into, "encoder": encoder, "inputs": inputs, "order": order,
            "seed": seed, "batch": batch, "rate": rate, "stop_at": stop_at, "benchmark": benchmark,
            "label": label, "dry_run": dry_run,
            "counted": None if counted is None else _numbers(counted[0]),
            "counts": None if counted is None else _numbers(counted[1], float),
        }  # fmt: skip
        return wire.from_json(Backfill, self._worked("/backfills", body, "backfill", None))

    def backfills(self, gallery: str | None = None) -> list[Backfill]:
        """All backfills, newest first; of one gallery if it is named."""
        return list(self.iter_backfills(gallery=gallery))

    def backfill(self, id: str) -> Backfill:
        """One backfill. NotFound if there is none."""
        return wire.from_json(Backfill, self._server.json("GET", _backfill_path(id)))

    def run_backfill(
        self,
        id: str,
        *,
        encode: Callable[[Any], Any] | None = None,
        trust: str | None = None,
        allow_drift: bool = False,
        progress: Progress | None = None,
        tracking_uri: str | None = None,
    ) -> Backfill:
        """Run a backfill from where it is to its end: encode here, store on the server. See the embedded registry.

        Without `encode` the planned encoder is called in this process, once `trust` names it: anybody who may write to the
        server can plan, and so choose what is imported here.
        """
        from registry.backfill import running

        return running.run(
            self, id, encode=encode, trust=trust, is_own=False, allow_drift=allow_drift, progress=progress,
            tracking_uri=tracking_uri,
        )  # fmt: skip

    def pause_backfill(self, id: str) -> Backfill:
        """Stop a backfill after the batch at hand; it is not run again until it is resumed."""
        return self._backfill_step(id, "pause", {})

    def resume_backfill(self, id: str) -> Backfill:
        """Let a paused backfill be run again; `run_backfill` does so."""
        return self._backfill_step(id, "resume", {})

    def roll_back_backfill(self, id: str) -> Backfill:
        """Remove the vectors that a backfill wrote, these alone, and end it; see the embedded registry."""
        return self._backfill_step(id, "rollback", {})

    def drop_segment(self, gallery: str, version: str, *, final: bool = False) -> int:
        """Let go of all vectors that a version stored in a gallery; returns how many. See the embedded registry."""
        body = {"version": version, "final": final}
        rows: int = self._server.json("POST", f"{_gallery_path(gallery)}/drop-segment", body=body)["rows"]
        return rows

    def hold_backfill(self, id: str, *, runner: str) -> Backfill:
        """Begin to run a backfill as `runner`, or say that this goes on; see the embedded registry."""
        return self._backfill_step(id, "hold", {"runner": runner})

    def next_portion(self, id: str, *, runner: str, most: int | None = None) -> Portion | None:
        """The items of a backfill to encode next; None when all is done. See the embedded registry."""
        body = {"runner": runner, "most": _plain(most)}
        found = self._server.json("POST", f"{_backfill_path(id)}/next", body=body, key=uuid4().hex)["portion"]
        return None if found is None else wire.from_json(Portion, found)

    def store_portion(
        self, id: str, *, runner: str, portion: Portion, vectors: Any, pace: float | None = None
    ) -> Backfill:
        """Store the vectors (n, d) of a portion's n items and move on behind it; see the embedded registry."""
        parts: list[tuple[pa.RecordBatch, Mapping[str, Any]]] = []
        schema = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), 1))])
        if portion.ids:
            found = self.backfill(id) if ("backfill", id) not in self._known else self._known["backfill", id]
            self._known["backfill", id] = found
            table = checked(self._target(found.gallery, found.version), list(portion.ids), vectors, None).table
            rows = wire.rows_of(table.schema.field("vector").type.list_size)
            schema, parts = table.schema, [(part, {}) for part in table.to_batches(max_chunksize=rows)]
        query = {"runner": runner, "start": portion.start, "stop": portion.stop, "pace": pace}
        answer = self._server.send(
            "POST", f"{_backfill_path(id)}/store", lambda: wire.write(schema, parts, answer=False), kind=wire.ARROW,
            query=query, key=uuid4().hex,
        )  # fmt: skip
        return wire.from_json(Backfill, wire.json_object(answer.content))

    def measure_backfill(self, id: str, *, runner: str) -> Backfill:
        """Measure how good the gallery is now, on the server, and keep it; see the embedded registry."""
        found = self._worked(f"{_backfill_path(id)}/measure", {"runner": runner}, "backfill", None)
        return wire.from_json(Backfill, found)

    def leave_backfill(
        self, id: str, *, runner: str, error: str | None = None, pause: bool = False, reached: bool = False
    ) -> Backfill:
        """Run a backfill no longer: paused with an `error` or by `pause`, finished if it `reached` what was asked for."""
        body = {"runner": runner, "error": error and error[:1000], "pause": pause, "reached": reached}
        return self._backfill_step(id, "leave", body)

    def _backfill_step(self, id: str, step: str, body: Mapping[str, Any]) -> Backfill:
        """A step, sent again when the server cannot be reached: each does nothing the second time."""
        return wire.from_json(Backfill, self._post(f"{_backfill_path(id)}/{step}", body, None))

    def counts(self) -> Counts:
        """How much there is of everything; for callers who see everything."""
        return wire.from_json(Counts, self._server.json("GET", "/counts"))

    def decisions(self, *, limit: int = 100) -> list[Decision]:
        """What needs a person's decision, the most urgent first, at most 1,000; see the embedded registry."""
        _check_limit(limit)
        found = self._server.json("GET", "/decisions", query={"limit": min(limit, _PAGE)})
        return _listed(Decision, found["decisions"])

    def page(self, kind: Kind, *, after: str | None = None, limit: int = 100, **filters: Any) -> Page[Any]:
        """At most `limit` items of a list, in its order, at most 1,000; the first ones, or those behind the cursor `after`."""
        if kind not in _TYPES:
            raise InvalidInput(f"there is no list {kind!r:.80}: use one of {', '.join(_TYPES)}")
        address = "/" + kind.replace("_", "-")
        query = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in filters.items()}
        found = self._server.json("GET", address, query={"after": after, "limit": min(limit, _PAGE), **query})
        return Page(tuple(_listed(_TYPES[kind], found[kind])), found["next"])

    # Webhooks and tokens, for admins

    def add_webhook(
        self, name: str, url: str, *, events: Sequence[str] | None = None, secret: str | None = None
    ) -> tuple[Webhook, str]:
        """Let `url` be told of events from now on; gives the webhook and its secret, which is not shown again."""
        body = {"name": name, "url": url, "events": None if events is None else list(events), "secret": secret}
        made = self._server.json("POST", "/webhooks", body=body)
        return wire.from_json(Webhook, made["webhook"]), made["secret"]

    def webhooks(self) -> list[Webhook]:
        """All webhooks by name, without their secrets."""
        return _listed(Webhook, self._server.json("GET", "/webhooks")["webhooks"])

    def remove_webhook(self, name: str) -> None:
        """Remove a webhook and what it was not told yet. NotFound if there is none."""
        self._server.json("DELETE", f"/webhooks/{check_name(name, 'webhook')}")

    def deliveries(self, *, limit: int = 100) -> list[Delivery]:
        """What webhooks were or are to be told, newest first."""
        return _listed(Delivery, self._server.json("GET", "/deliveries", query={"limit": limit})["deliveries"])

    def create_token(
        self,
        name: str,
        *,
        role: str = "reader",
        models: Sequence[str] | None = None,
        galleries: Sequence[str] | None = None,
        expires_in: timedelta | None = None,
    ) -> tuple[Token, str]:
        """A new token, and its text, which is given here once and kept nowhere; see the embedded registry."""
        body = {
            "name": name, "role": role, "models": None if models is None else list(models),
            "galleries": None if galleries is None else list(galleries),
            "expires_in_s": None if expires_in is None else int(expires_in.total_seconds()),
        }  # fmt: skip
        made = self._server.json("POST", "/tokens", body=body)
        return wire.from_json(Token, made["token"]), made["text"]

    def tokens(self) -> list[Token]:
        """All tokens by name, expired and revoked ones too."""
        return _listed(Token, self._server.json("GET", "/tokens")["tokens"])

    def revoke_token(self, name: str) -> Token:
        """Make a token good for nothing. NotFound if there is none of this name."""
        return wire.from_json(Token, self._server.json("DELETE", f"/tokens/{check_name(name, 'token')}"))

    # Inside

    def _worked(self, path: str, body: Mapping[str, Any], made: str, progress: Progress | None) -> Any:
        """What a server made in long work, which it tells of in lines."""
        for line in self._server.lines(path, body):
            told = wire.json_object(line)
            if "error" in told:
                raise wire.error_of(told["error"])
            if made in told:
                return told[made]
            if progress is not None and "progress" in told:
                progress(*told["progress"])
        raise Unavailable(
            f"the answer of {self.home} broke off: ask for the {made}, and measure again if it is not there"
        )

    def _post(self, path: str, body: Mapping[str, Any], key: str | None) -> Any:
        try:
            json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:  # half a surrogate pair is a ValueError too
            raise InvalidInput(f"a request holds plain JSON values, got {error}: use strings and numbers") from error
        return self._server.json("POST", path, body=body, key=_key(key))

    def _numbered(self, ref: str) -> Version:
        """A version, asked for once unless an alias names it."""
        found = self._known.get(("version", ref))
        if found is None:
            found = self.version(ref)
            if "@" not in ref:
                self._known["version", ref] = found
        known: Version = found
        return known

    def _known_space(self, name: str) -> Space:
        """A space, asked for once unless an alias names it."""
        if ("space", name) not in self._known or "@" in name:
            self._known["space", name] = self.space(name)
        known: Space = self._known["space", name]
        return known

    def _gallery_kind(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Id type and label columns of a gallery, asked for once."""
        if ("gallery", name) not in self._known:
            found = self.gallery(name)
            self._known["gallery", name] = (found.id_type, found.labels)
        known: tuple[str, tuple[str, ...]] = self._known["gallery", name]
        return known

    def _target(self, gallery: str, version: str) -> Target:
        id_type, labels = self._gallery_kind(gallery)
        writer = self._numbered(version)
        return Target(gallery, id_type, labels, writer.dim, writer.dtype)

    def _fingerprint(self, space: str, given: Fingerprint) -> str | None:
        """The digest of what a caller says of its encoder."""
        if given is None or isinstance(given, str):
            return given
        if not isinstance(given, Mapping):
            raise InvalidInput(f"fingerprint must be a mapping of facts or their digest, got {given!r:.80}")
        cut = prefix_of(space)
        v = self._numbered(cut[0] if cut else space)
        return fingerprint_of(given, dim=v.dim, metric=v.metric, normalized=v.normalized, dtype=v.dtype)

    def _append(
        self, gallery: str, version: str, batches: Callable[[], Iterable[Batch]], fingerprint: Fingerprint,
        key: str | None, *, total: int | None = None, repeatable: bool = True,
    ) -> int:  # fmt: skip
        query = {"version": version, "fingerprint": self._fingerprint(version, fingerprint)}

        def content() -> Iterator[bytes]:
            with bar(f"appending to {gallery}", total, shown=self._progress) as done:
                yield from _batch_stream(batches(), done)

        answer = self._server.send(
            "POST", f"{_gallery_path(gallery)}/append", content, kind=wire.ARROW, query=query, key=_key(key),
            repeatable=repeatable,
        )  # fmt: skip
        rows: int = wire.json_object(answer.content)["rows"]
        return rows

    def _add_previews(
        self, gallery: str, kind: Preview, tables: Callable[[], Iterable[pa.Table]], key: str | None, *,
        repeatable: bool = True,
    ) -> int:  # fmt: skip
        schema = previews.preview_schema(self._gallery_kind(gallery)[0], kind)

        def batches(done: Bar) -> Iterator[tuple[pa.RecordBatch, Mapping[str, Any]]]:
            for table in tables():
                for part in table.to_batches(max_chunksize=_PREVIEWS_SENT):
                    yield part, {}
                    done(len(part))

        def content() -> Iterator[bytes]:
            with bar(f"storing previews of {gallery}", shown=self._progress) as done:
                yield from wire.write(schema, batches(done), answer=False)

        path = f"{_gallery_path(gallery)}/previews"
        answer = self._server.send("POST", path, content, kind=wire.ARROW, key=_key(key), repeatable=repeatable)
        stored: int = wire.json_object(answer.content)["previews"]
        return stored

    def _id_stream(self, gallery: str, ids: Ids) -> Callable[[], Iterator[bytes]] | None:
        column = id_column(self._gallery_kind(gallery)[0], ids)
        if not len(column):
            return None
        batch = pa.record_batch({"id": column})
        return lambda: wire.write(batch.schema, [(batch.slice(i, 1 << 16), {}) for i in range(0, len(batch), 1 << 16)])

    def _embeddings(
        self, found: Iterator[tuple[pa.RecordBatch, dict[str, Any]]], what: str, rows: int, total: int | None = None
    ) -> Iterator[Embeddings]:
        with bar(what, total, shown=self._progress) as done:
            for batch, about in found:
                with wire.understood("stream of embeddings"):
                    space, paths = about["space"], _paths(about)
                    ids, x = _ids_array(batch.column("id")), wire.matrix(batch.column("vector"))
                for start in range(0, len(ids), rows):
                    yield Embeddings(ids[start : start + rows], x[start : start + rows], space, paths)
                done(len(ids))

    def _searched(self, gallery: str, columns: Mapping[str, Array], query: Mapping[str, Any]) -> Hits:
        arrays = {name: wire.vectors(x, str(x.dtype)) for name, x in columns.items()}
        batch = pa.record_batch(arrays)
        path = f"{_gallery_path(gallery)}/search"
        answer = self._server.send(
            "POST", path, lambda: wire.write(batch.schema, [(batch, {})]), kind=wire.ARROW, query=query
        )
        with wire.understood("stream of hits"):
            ((hits, about),) = wire.read(answer.content)
            ids, scores = (hits.column(name).flatten().to_numpy(zero_copy_only=False) for name in ("ids", "scores"))
            shape = (len(batch), hits.column("ids").type.list_size)
            return Hits(ids.reshape(shape), scores.reshape(shape), _paths(about), tuple(about.get("calibrated", ())))


@dataclass(frozen=True, slots=True, eq=False)
class RemoteShared:
    """What `Client.shared` gives: like `registry.pairing.Shared`, read from the server each time it is iterated."""

    ids: Array
    labels: Array | None
    _ask: Callable[[], Iterator[tuple[pa.RecordBatch, dict[str, Any]]]]

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        for batch, _ in self._ask():
            with wire.understood("stream of vectors"):
                columns = tuple(wire.matrix(column) for column in batch.columns)
            yield columns


def _listed(cls: type[T], items: Any) -> list[T]:
    with wire.understood(f"list of {cls.__name__}"):
        return [wire.from_json(cls, item) for item in items]


def _item(told: Mapping[str, Any]) -> Item:
    """An item of an answer."""
    return Item(told["id"], told["labels"], tuple(told["versions"]), _preview(told))


def _preview(told: Mapping[str, Any]) -> Any:
    """What an answer tells of an item's preview: its text or, in base64, its picture."""
    picture, text = told["picture"], told["text"]
    return text if picture is None else b64decode(picture, validate=True)


def _check_limit(limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit < 2**31 - 1:
        raise InvalidInput(f"limit must be a whole number of rows from 1, got {limit!r:.80}")


def _paths(about: Mapping[str, Any]) -> dict[str, Path]:
    return {ref: wire.from_json(Path, path) for ref, path in about["path"].items()}


def _put(out: Array, start: int, block: Array) -> int:
    """Place rows behind the `start` that `out` holds; how many it holds then. Nothing is broadcast."""
    end = start + len(block)
    if end > len(out) or block.shape[1] != out.shape[1]:
        raise Unavailable(f"the answer holds vectors {block.shape} where {out.shape} were asked for: ask again")
    out[start:end] = block
    return end


def _check_whole(got: int, wanted: int) -> None:
    if got != wanted:
        raise Unavailable(f"the answer holds {got} vectors of {wanted}: ask again")


def _batch_stream(batches: Iterable[Batch], done: Bar) -> Iterator[bytes]:
    """Checked batches as one Arrow stream."""
    waiting = iter(batches)
    first = next(waiting, None)
    if first is None:
        raise InvalidInput("the batch is empty: give at least one id and one vector")
    schema = _with_labels(first).schema

    def parts() -> Iterator[tuple[pa.RecordBatch, Mapping[str, Any]]]:
        batch: Batch | None = first
        while batch is not None:
            whole = _with_labels(batch)
            if whole.schema != schema:
                raise InvalidInput(
                    f"all parts of a batch have the same columns, got {schema.names} and then {whole.schema.names}"
                )
            width = whole.schema.field("vector").type.list_size
            for part in whole.to_batches(max_chunksize=wire.rows_of(width)):
                yield part, {}
                done(len(part))
            batch = next(waiting, None)

    return wire.write(schema, parts(), answer=False)


def _with_labels(batch: Batch) -> pa.Table:
    table = batch.table
    for name, column in sorted(batch.labels.items()):
        table = table.append_column(name, column)
    return table


def _matrix_stream(name: str, rows: Array) -> Iterator[bytes]:
    schema = pa.schema([pa.field(name, wire.vectors(rows[:0], str(rows.dtype)).type)])
    size = wire.rows_of(rows.shape[1], rows.itemsize)
    parts = (wire.vectors(rows[i : i + size], str(rows.dtype)) for i in range(0, max(len(rows), 1), size))
    return wire.write(schema, ((pa.RecordBatch.from_arrays([part], schema=schema), {}) for part in parts))


def _search_columns(queries: Any, side: Mapping[str, Any] | None) -> dict[str, Array]:
    """The queries and what goes beside them, checked."""
    if not isinstance(side, Mapping | None):
        raise InvalidInput(
            f"side must map versions to the queries' vectors, such as {{'products/1': vectors}}, got {type(side).__name__}"
        )
    columns = {"query": check_finite(as_rows(queries, what="queries"), what="queries")}
    for ref, given in (side or {}).items():
        rows = check_finite(as_rows(given, what=f"side by {ref}"), what=f"side by {ref}")
        if len(rows) != len(columns["query"]):
            raise InvalidInput(
                f"side has {len(rows)} vectors by {ref} for {len(columns['query'])} queries: give one for each"
            )
        columns[f"side:{ref}"] = rows
    return columns


def _started(found: Iterator[Embeddings]) -> Iterator[Embeddings]:
    """The same, its first block already asked for: what is wrong is said by the call, not by its first use."""
    first = next(found, None)
    return iter(()) if first is None else chain([first], found)


def _ids_array(column: pa.Array) -> Array:
    ids: Array = column.to_numpy(zero_copy_only=False)
    return ids


def _gallery_path(name: str) -> str:
    return f"/galleries/{check_gallery(name)}"


def _study_path(id: str) -> str:
    if not isinstance(id, str) or not id or not all(c.isalnum() or c in "-_" for c in id):
        raise NotFound(f"there is no study {id!r:.120}: make one with 'samespace study OLD NEW'")
    return f"/studies/{id}"


def _backfill_path(id: str) -> str:
    if not isinstance(id, str) or not id or not all(c.isalnum() or c in "-_" for c in id):
        raise NotFound(f"there is no backfill {id!r:.120}: 'samespace backfill status' lists them")
    return f"/backfills/{id}"


def check_gallery(name: str) -> str:
    """A gallery's name, which becomes part of an address; what can be none is not there."""
    try:
        return check_name(name, "gallery")
    except InvalidInput as error:
        raise NotFound(f"there is no gallery {name!r:.120}: {error}") from error


def _text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidInput(f"{what} is named by a string like 'products/2', got {value!r:.120}")


def _numbers(given: Any, kind: type[int] | type[float] | None = None) -> list[Any] | None:
    if given is None:
        return None
    plain = [_plain(value) for value in given]
    return plain if kind is None else [kind(value) for value in plain]


def _json_of(where: Mapping[str, Any]) -> str:
    """A filter as it travels in an address."""
    if not isinstance(where, Mapping):
        raise InvalidInput(f"where maps label columns to values, such as {{'class': 'shoe'}}, got {where!r:.80}")
    plain = {
        name: [_plain(v) for v in value]
        if isinstance(value, list | tuple | set | frozenset | np.ndarray)
        else _plain(value)
        for name, value in where.items()
    }
    try:
        text = json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"labels are texts or whole numbers, got {where!r:.80}: convert them") from error
    if len(text) > _MOST_WHERE:
        raise InvalidInput(f"where has {len(text)} characters, a request holds {_MOST_WHERE}: name fewer values")
    return text


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _key(given: str | None) -> str:
    """The key of a request: the caller's, or a new one."""
    if given is None:
        return uuid4().hex
    check_key(given)
    return given
