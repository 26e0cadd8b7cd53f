"""The embedded registry: everything in one folder (and, if wished, facts in PostgreSQL), in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar

from registry import (
    addresses,
    attaching,
    attachments,
    browsing,
    delivering,
    evaluating,
    examples,
    indexing,
    pairing,
    previewing,
    reading,
    searching,
    studying,
    writing,
)
from registry.backfill import measuring, planning, portions, running, undoing
from registry.backfill.wishes import Counts as Searched
from registry.backfill.wishes import Wish
from registry.canaries import Canaries, Encode, EncoderCheck, Inputs, check_encoder
from registry.fingerprints import Fingerprint
from registry.home import Home
from registry.listing import Kind, Lists
from registry.previews import one_of
from registry.rankings import Ranked
from registry.services import (
    advice,
    anchors,
    backfills,
    canaries,
    checks,
    counts,
    decisions,
    deliveries,
    evidence,
    galleries,
    indexes,
    lists,
    models,
    operations,
    studies,
    tokens,
    transforms,
    upgrades,
    webhooks,
)
from registry.settings import Settings
from registry.transforms import Transform
from registry.types import (
    EVENTS,
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
    Portion,
    Preview,
    Space,
    Study,
    Token,
    TokenRole,
    TransformInfo,
    Version,
    Webhook,
)
from registry.vectors import Array

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy.orm import Session

    from registry.paths import Graph

__all__ = ["Registry", "Work"]

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Work:
    """Who does what of a registry's work, if not this process, and how to let go of them; see `registry.cluster`."""

    scan: Callable[..., Iterator[Embeddings]] = reading.scan
    ranked: Ranked | None = None
    search: searching.Elsewhere | None = None
    build: indexing.Worked | None = None
    encoder: running.Elsewhere | None = None
    close: Callable[[], None] = lambda: None


class Registry(Lists):
    """A registry of model versions, galleries, transforms and evidence. Open one with `registry.connect`.

    It is safe to share between threads, and several processes may open one home.
    """

    def __init__(self, home: Home, work: Work | None = None) -> None:
        self._home = home
        self._work = work or Work()

    @classmethod
    def open(
        cls,
        home: str | os.PathLike[str],
        *,
        database: str | None = None,
        galleries: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Open the registry in `home`, creating it on first use."""
        return cls(Home(home, database=database, galleries=galleries))

    def __repr__(self) -> str:
        return f"Registry({str(self._home.root)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of database connections, and of a cluster; what was acknowledged is already on disk."""
        self._work.close()
        self._home.engines.close()
        self._home.plans.close()
        self._home.database.close()

    @property
    def home(self) -> str:
        """The folder."""
        return str(self._home.root)

    def reading(self) -> AbstractContextManager[Session]:
        """A session on one snapshot of the facts, to ask several of `registry.services` in."""
        return self._home.database.reading()

    def graph(self, session: Session) -> Graph:
        """The spaces as the transforms connect them, in such a session; kept from call to call."""
        return self._home.graphs.of(session)

    def revision(self) -> str | None:
        """The revision that the database is at, asked of it now."""
        return self._home.database.revision()

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
        """Register the next version of `model`, which is created with its first one. Versions never change.

        Args:
            model: the model's name.
            dim: width of its vectors, 1 to 65536.
            metric: `cosine`, `dot` or `l2`: how its vectors are compared.
            normalized: whether the encoder's vectors have length 1; by default, whether the metric is cosine.
            dtype: `float32` or `float16`: how its vectors are stored.
            source: where the encoder is, such as `models:/products/7` or `runs:/<id>/encoder.safetensors`; a link, kept as it is.
            parent: the version that this one was trained to stay compatible with, or replaces.
            method: how it was trained, such as `independent` or `oca`.
            run_id: its MLflow run.
            fingerprint: JSON values that decide the vector space: digest of the weights, preprocessing, pooling, …
            tags: free notes.
            key: an idempotency key: a second call with it does nothing, and returns what the first one did.

        Raises:
            InvalidInput: a value that no version can have.
            NotFound: the parent is not registered.
            AlreadyExists: a version of this model has this very fingerprint.
        """
        normalized = metric == "cosine" if normalized is None else normalized
        given: dict[str, Any] = {
            "dim": dim, "metric": metric, "normalized": normalized, "dtype": dtype, "source": source, "parent": parent,
            "method": method, "run_id": run_id, "fingerprint": fingerprint, "tags": tags,
        }  # fmt: skip
        asked = operations.once(key, "register_version", model, given)
        with self._home.database.writing() as session:
            return operations.done_once(
                session, asked, lambda: models.register(session, model, **given),
                name=lambda made: made.ref, again=lambda ref: models.version(session, ref),
            )  # fmt: skip

    def models(self) -> list[Model]:
        """All models by name."""
        with self._home.database.reading() as session:
            return list(models.models(session).items)

    def versions(self, model: str | None = None) -> list[Version]:
        """The versions of a model, oldest first; of all models if none is named. NotFound for an unknown model."""
        with self._home.database.reading() as session:
            return list(models.versions(session, model).items)

    def version(self, ref: str) -> Version:
        """One version: `products/2` or `products@champion`. NotFound if there is none."""
        with self._home.database.asking() as session:
            return models.version(session, ref)

    def space(self, name: str) -> Space:
        """One space: `products/2`, `products/2[:64]`, `products@champion`, `relative/landmarks`. NotFound if there is none."""
        with self._home.database.reading() as session:
            resolved = transforms.resolve_space(session, name)
            dim, metric, _ = transforms.space_facts(session, resolved)
            return Space(resolved, dim, metric)

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Let `model@alias` mean version `number`; the alias moves if it exists."""
        with self._home.database.writing() as session:
            models.set_alias(session, model, alias, number)

    def set_tag(self, ref: str, key: str, value: str) -> None:
        """Note `key` = `value` on a version, replacing what was noted."""
        with self._home.database.writing() as session:
            models.set_tag(session, ref, key, value)

    def add_canaries(self, ref: str, inputs: Inputs, vectors: Any, *, key: str | None = None) -> Canaries:
        """Keep a few inputs and the vectors that the version's encoder gives of them, for `verify_encoder`. Never changes.

        Args:
            ref: the version.
            inputs: 1 to 1024 texts, or an array (n, …) of numbers: what the encoder reads.
            vectors: (n, d), what it gives of them.

        Raises:
            AlreadyExists: the version has canaries.
            InvalidInput, DimensionMismatch, BadVector: inputs or vectors that cannot be kept.
        """
        asked = operations.once(key, "add_canaries", ref)
        with self._home.database.writing() as session:
            if operations.result(session, asked) is not None:
                return self.canaries(ref)
            added = canaries.add(session, ref, inputs, vectors)
            self._home.keep_canaries(added)  # before the fact is: a crash between leaves a file that nobody refers to
            operations.note(session, asked, True)
            return added

    def canaries(self, ref: str) -> Canaries:
        """The canaries of a version. NotFound if it has none."""
        with self._home.database.reading() as session:
            version, digest = canaries.digest(session, ref)
        return self._home.canaries(version.ref, digest)

    def verify_encoder(
        self, ref: str, encode: Encode, *, tolerance: float = 0.01, record: bool = False
    ) -> EncoderCheck:
        """How far what `encode` gives of this version's canaries lies from what was registered.

        A service asks this when it starts: `reg.verify_encoder("products@live", encode).raise_for_drift()`. Other
        hardware, batch sizes and half precision change a vector by some thousandths of its length; other weights,
        preprocessing or pooling by tenths.

        Args:
            ref: the version.
            encode: the encoder, called once with all inputs; gives (n, d).
            tolerance: the largest deviation that is accepted, as a share of a vector's length.
            record: whether to keep what was found, for `encoder_checks` and `decisions`.

        Raises:
            NotFound: the version has no canaries.
            DimensionMismatch: the encoder gives vectors of another width.
        """
        found = check_encoder(self.canaries(ref), encode, metric=self.version(ref).metric, tolerance=tolerance)
        if record:
            self.record_check(found.version, max(found.deviations), tolerance=found.tolerance, worst=found.worst)
        return found

    def record_check(self, ref: str, deviation: float, *, tolerance: float, worst: str) -> Check:
        """Keep the largest deviation that a check of a version's encoder found, of the canary `worst`.

        What `verify_encoder(..., record=True)` does. The audit log notes it if the verdict is not that of the check before.

        Raises:
            InvalidInput: a deviation below 0, or a tolerance that is no share.
            NotFound: the version has no canaries, so that nothing can have been checked.
        """
        with self._home.database.writing() as session:
            return checks.add(session, ref, deviation=deviation, tolerance=tolerance, worst=worst)

    def encoder_checks(self, ref: str | None = None) -> list[Check]:
        """The newest kept check of each version's encoder, by name; every one of the version `ref`, newest first."""
        with self._home.database.reading() as session:
            return list(checks.checks(session, ref).items)

    # Galleries

    def create_gallery(
        self, name: str, *, id_type: str = "string", labels: Sequence[str] = (), key: str | None = None
    ) -> Gallery:
        """Create an empty gallery of items with `string` or `int` ids; label columns make it a benchmark.

        A second call with the same idempotency `key` does nothing, and returns what the first one did.
        """
        asked = operations.once(key, "create_gallery", name, id_type)
        with self._home.database.writing() as session:
            return operations.done_once(
                session, asked, lambda: galleries.create(session, name, id_type=id_type, labels=labels),
                name=lambda made: made.name, again=lambda n: galleries.to_gallery(galleries.gallery(session, n)),
            )  # fmt: skip

    def galleries(self) -> list[Gallery]:
        """All galleries by name."""
        with self._home.database.reading() as session:
            return list(galleries.galleries(session).items)

    def gallery(self, name: str) -> Gallery:
        """One gallery. NotFound if there is none."""
        with self._home.database.reading() as session:
            return galleries.to_gallery(galleries.gallery(session, name))

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
        """Store vectors that `version` made of items. All of the batch is stored, or nothing.

        Args:
            gallery: the gallery's name.
            version: the version that computed the vectors.
            ids: the items' ids (n,), each once.
            vectors: (n, d) float32, float16 or float64; stored as the version's dtype.
            labels: label column -> values (n,); needed for items that are new to a benchmark.
            fingerprint: of the encoder that made the vectors, facts or digest: it must be the version's.
            key: an idempotency key: a second call with it stores nothing, and returns what the first one did.

        Returns:
            The number of rows stored.

        Raises:
            DimensionMismatch: d is not the version's.
            BadVector: a row with NaN, infinity or only zeros; `.row` says which.
            DuplicateId: an id twice in the batch.
            AlreadyExists: an id that this version already wrote.
            InvalidInput: an empty batch, wrong id types, missing or contradicting labels.
            Incompatible: the fingerprint is not the version's.
        """
        return writing.append(
            self._home, gallery, version=version, ids=ids, vectors=vectors, labels=labels, fingerprint=fingerprint, key=key
        )  # fmt: skip

    def append_parts(
        self,
        gallery: str,
        *,
        version: str,
        parts: Iterable[writing.Part],
        fingerprint: Fingerprint = None,
        key: str | None = None,
    ) -> int:
        """Store one batch that comes in parts, each (ids, vectors, labels) as in `append`: all of them, or nothing.

        Memory is bounded by a few parts and all ids and labels, however large the batch.
        """
        return writing.append_parts(self._home, gallery, version=version, parts=parts, fingerprint=fingerprint, key=key)

    def delete(self, gallery: str, ids: Ids, *, key: str | None = None) -> int:
        """Remove items, all their vectors and previews; unknown ids are passed over. Returns how many items went."""
        return writing.delete(self._home, gallery, ids, key=key)

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
        """Make vectors of `version` a segment of a gallery where they already live: nothing is copied, nothing written.

        The gallery is created if there is none, a benchmark if there are `labels`. All rows are looked at once, as if they
        were appended; the rows of an engine may change afterwards, files may not. How much effort the index of a table of
        pgvector needs is measured, see `Effort`. See `docs/attach.md`.

        Args:
            gallery: the gallery's name.
            version: the version that made the vectors.
            kind: `pgvector`, `qdrant`, `milvus`, `parquet`, `npy` or `faiss`.
            where: an address without a password, or a path.
            table: the table, which may be `schema.table`, or the collection.
            id: the column of the ids, by default `id`; Qdrant's are those of its points.
            vector: the column of the vectors, by default `embedding` for pgvector and `vector` elsewhere.
            ids: for `npy` and `faiss` a file of ids, if row numbers or the index's own are not the items'.
            labels: label column -> column there.
            again: look anew at what is attached, and accept what changed; `kind` and all else are left out.
            key: an idempotency key: a second call with it does nothing.

        Raises:
            InvalidInput, DimensionMismatch, BadVector, DuplicateId: what is there can be no segment; what is wrong is named.
            AlreadyExists: this version stored vectors in the gallery, or is attached to it.
            CorruptFile, Unavailable, MissingExtra: it cannot be read.
        """
        at = attachments.given(again, kind, where, table=table, id=id, vector=vector, ids=ids, labels=labels)
        return attaching.attach(self._home, gallery, version=version, at=at and attachments.local(at), key=key)

    def detach(self, gallery: str, *, version: str) -> Gallery:
        """Forget vectors of `version` that are attached to a gallery; what is there stays as it is. NotFound if none are."""
        return attaching.detach(self._home, gallery, version=version)

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
        """Keep a small picture, or a text, of each item. All of the batch is stored, or nothing.

        A gallery holds one kind. A preview is never replaced; it goes with its item.

        Args:
            gallery: the gallery's name.
            ids: the items' ids (n,), each once.
            pictures: (n,) files of PNG, JPEG, WebP or GIF, at most 64 KiB each.
            texts: (n,) texts of 1 to 10,000 characters.
            key: an idempotency key: a second call with it stores nothing, and returns what the first one did.

        Returns:
            The number of previews stored.

        Raises:
            InvalidInput: an empty batch, what is no such picture or text, or another kind than the gallery holds.
            DuplicateId: an id twice in the batch.
            NotFound: an id that the gallery does not hold.
            AlreadyExists: an id that has a preview.
        """
        kind, values = one_of(pictures, texts)
        return self.add_preview_parts(gallery, kind=kind, parts=[(ids, values)], key=key)

    def add_preview_parts(
        self, gallery: str, *, kind: Preview, parts: Iterable[previewing.Part], key: str | None = None
    ) -> int:
        """Keep previews of one `kind`, `picture` or `text`, that come in parts of (ids, values): all of them, or nothing.

        Memory is bounded by a few parts and all ids, however many previews there are.
        """
        return previewing.add(self._home, gallery, kind=kind, parts=parts, key=key)

    def set_preview_url(self, gallery: str, url: str | None) -> Gallery:
        """Say where people's browsers find pictures of the items; None takes that back. Nothing here ever asks for it.

        `url` is an http or https address with `{id}` for the item's id, such as `https://images.example/{id}.jpg`.

        Raises:
            InvalidInput: one with a user or a password, without `{id}` in its path or query, or with it elsewhere.
        """
        with self._home.database.writing() as session:
            return galleries.set_preview_url(session, gallery, url)

    def items(
        self,
        gallery: str,
        *,
        label: Mapping[str, str | int] | None = None,
        after: str | None = None,
        limit: int = 100,
        previews: bool = False,
    ) -> Page[Item]:
        """At most `limit` items of a gallery in stored order; the first ones, or those behind the cursor `after`.

        What is written meanwhile shifts nothing: an item that is there all along comes exactly once, one that is deleted
        is left out, and later ones are not listed. A cursor is good for a day after the next write.

        A page costs the same wherever it lies: a few milliseconds, and some 50 to 150 for each million rows of a
        segment, or of previews, that were stored in another order than the items.

        Args:
            gallery: the gallery's name.
            label: by label column the value that items must have, 3 and "3" being one. A page then ends after half a
                million rows, with fewer items or none, and `next` leads on.
            after: `next` of the page before.
            limit: the most items, up to 1,000, or 100 with previews.
            previews: whether to read them too.

        Raises:
            InvalidInput: a cursor that is none of this gallery, or is of a state that is gone; a limit out of range; a
                label column that there is not.
        """
        return browsing.items(self._home, gallery, label=label, after=after, limit=limit, previews=previews)

    def item(self, gallery: str, id: str | int) -> Item:
        """One item with its preview. NotFound if the gallery does not hold it."""
        return browsing.item(self._home, gallery, id)

    def previews(self, gallery: str, ids: Ids) -> Mapping[str | int, bytes | str]:
        """The previews of at most 100 items by id, of those that have one; ids that are unknown are passed over."""
        return browsing.previews(self._home, gallery, ids)

    def items_of(self, gallery: str, ids: Ids, *, previews: bool = False) -> Sequence[Item]:
        """These items, at most 100, as far as they are there; which versions embedded them is not looked up."""
        return browsing.items_of(self._home, gallery, ids, previews=previews)

    def examples(self, gallery: str, *, versions: Sequence[str], many: int, seed: int) -> Sequence[str | int]:
        """Ids of up to `many` items that all `versions` embedded; the same for the same `seed`, while nothing is written.

        They are found among eight times as many: versions that share few items may get fewer, or none.
        NotFound if one of the versions wrote nothing into the gallery.
        """
        return examples.examples(self._home, gallery, versions=versions, many=many, seed=seed)

    def own_vectors(self, gallery: str, id: str | int, *, versions: Sequence[str]) -> Mapping[str, Array]:
        """By version the vector (d,) float32 that it stored of an item itself, by no transform. NotFound if one stored none."""
        return examples.own_vectors(self._home, gallery, id, versions=versions)

    # Vectors in any space

    def fetch(self, gallery: str, *, ids: Ids, into: str, allow_unmeasured: bool = False) -> Embeddings:
        """The vectors of `ids`, in their order, as (n, d) float32 vectors of the space `into`.

        An item stored by several versions comes from the one with the best path. NotFound names a missing id;
        Incompatible says which segment cannot reach `into`.
        """
        return reading.fetch(self._home, gallery, ids=ids, into=into, allow_unmeasured=allow_unmeasured)

    def fetch_blocks(
        self, gallery: str, *, ids: Ids, into: str, rows: int = 65536, allow_unmeasured: bool = False
    ) -> Iterator[Embeddings]:
        """What `fetch` gives, in blocks of at most `rows`, so that memory is bounded however many ids there are."""
        return reading.fetch_blocks(
            self._home, gallery, ids=ids, into=into, rows=rows, allow_unmeasured=allow_unmeasured
        )

    def scan(
        self, gallery: str, *, into: str, rows: int = 65536, allow_unmeasured: bool = False
    ) -> Iterator[Embeddings]:
        """All items in the space `into`, in blocks of at most `rows`, as the gallery is when the scan begins.

        Memory is bounded by a few files of 131,072 rows (0.4 GB at 128 dimensions), however large the gallery.
        """
        return self._work.scan(self._home, gallery, into=into, rows=rows, allow_unmeasured=allow_unmeasured)

    def pairs(self, gallery: str, *, source: str, target: str, rows: int = 65536) -> Iterator[tuple[Array, Array]]:
        """Vectors (n, ds), (n, dt) of the items that both versions embedded, row by row the same items, in blocks.

        What a fit between the two spaces learns from: `align.fit(reg.pairs(...))`. NotFound if one of the versions
        wrote nothing into the gallery.
        """
        found = pairing.shared(self._home, gallery, versions=[source, target], rows=rows)
        return ((x, y) for x, y in found)

    def shared(
        self, gallery: str, *, versions: Sequence[str], label: str | None = None, rows: int = 65536
    ) -> pairing.Shared:
        """The items that all of `versions` embedded: their vectors in blocks, and their labels by column `label`.

        NotFound if one of the versions wrote nothing into the gallery, or it has no such label column.
        """
        return pairing.shared(self._home, gallery, versions=versions, label=label, rows=rows)

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

        Each segment is searched where its vectors and the queries meet by the best measured path; stored vectors stay
        as they are. Scores are larger-is-closer. Raises Incompatible where there is no path, Unmeasured where nobody
        measured it.

        `shortlist` is for versions trained with nested prefixes: the first so many dimensions find `candidates` items,
        by default 10 k, and the whole vectors rank them. Faster and smaller in memory, and no longer exact.

        `side`: the same queries as older versions embed them, such as {"products/1": (q, d_old)}. Only then may a slerp
        bridge to that version be taken, which goes between the two.

        `fingerprint` is that of the encoder that made the queries, facts or digest; Incompatible if it is not the version's.

        `calibrate`: where several versions stored the gallery, scores across a path are first turned into those of the
        query's own space, as the evaluation that chose the path measured on its benchmark, or else the fit of the map.
        Without it all scores are merged as they are.

        `where` looks among the items alone whose label columns hold these values, such as {"class": "shoe"}: of several
        columns all, of a list of values any; 3 and "3" are one.

        A segment that has an index (`build_index`) is searched by it, as long as its vectors stay as they are: most of the
        closest, no longer all. Rows that are newer than the index are searched exactly.
        """
        return searching.search(
            self._home, gallery, queries, version=version, k=k, allow_unmeasured=allow_unmeasured,
            shortlist=shortlist, candidates=candidates, side=side, fingerprint=fingerprint, calibrate=calibrate, where=where,
            elsewhere=self._work.search,
        )  # fmt: skip

    # Indexes

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
        progress: indexing.Progress | None = None,
    ) -> IndexInfo:
        """Build a search index over what `version` stored, in a process of its own, and let searches use it.

        It replaces the one before when it is ready; searches go on all the while. Of two builds at the same time the
        one that ends last stays. Rows that come later are searched exactly until it is built again, and items that are
        deleted are found no more.

        A thousand rows or fewer are held out while it is built: `ef_search` or `nprobe` is tuned on some to reach
        `recall` of the exact 10 nearest, and what is reached is measured on others. The seed draws them.

        Args:
            gallery: the gallery.
            version: whose vectors; may be left out where one version alone wrote.
            kind: `exact`, `hnsw`, `ivf`, `ivfpq` or `opq`; `auto` chooses by the number of rows.
            compression: `none`, `half`, `int8` or `lowrank`; `pq` is that of `ivfpq` and `opq`.
            recall: the share to reach, as far as the compression lets it.
            settings: `m`, `ef_construction` and `ef_search` of hnsw; `nlist` and `nprobe` of ivf, ivfpq and opq; `pq_m` and
                `pq_bits` of ivfpq and opq; `rank` of lowrank. What is given is not tuned.
            seed: of samples.
            progress: told how many rows are in, of how many.

        Raises:
            NotFound: nothing is stored.
            InvalidInput: several versions wrote, and none was named; what does not go together.
            Unavailable: the process was killed, or there is no room; nothing changed.
        """
        return indexing.build(
            self._home, gallery, version=version, kind=kind, compression=compression, recall=recall, settings=settings,
            seed=seed, progress=progress, worked=self._work.build,
        )  # fmt: skip

    def indexes(self, gallery: str | None = None) -> list[IndexInfo]:
        """The indexes of a gallery, or of all, by gallery and version."""
        with self._home.database.reading() as session:
            return indexes.indexes(session, gallery=gallery)

    def drop_index(self, gallery: str, version: str) -> None:
        """Let the index of what `version` stored go; searches are exact again. NotFound if there is none."""
        indexing.drop(self._home, gallery, version)

    def convert(self, vectors: Any, *, source: str, into: str, allow_unmeasured: bool = False) -> Array:
        """Vectors (n, ds) of the space `source` as float32 vectors (n, dt) of the space `into`."""
        return reading.convert(self._home, vectors, source=source, into=into, allow_unmeasured=allow_unmeasured)

    # Transforms and anchors

    def add_transform(
        self, transform: Transform, *, source: str, target: str, run_id: str | None = None, key: str | None = None
    ) -> TransformInfo:
        """Register a map from `source` to `target`. It never changes; its file is checked on every load.

        Raises:
            DimensionMismatch: its widths are not those of the spaces in this direction.
            AlreadyExists: this very transform is registered.
        """
        asked = operations.once(key, "add_transform", source, target)

        def add() -> TransformInfo:
            info, tagged = transforms.add(session, transform, source=source, target=target, run_id=run_id)
            # The file is there before the fact is: a crash between the two leaves a file that nobody refers to.
            self._home.keep_transform(info.id, tagged)
            return info

        with self._home.database.writing() as session:
            return operations.done_once(
                session, asked, add,
                name=lambda info: info.id, again=lambda id: transforms.to_info(transforms.transform(session, id)),
            )  # fmt: skip

    def transforms(self, *, model: str | None = None) -> list[TransformInfo]:
        """All transforms, oldest first; of a `model` those that begin or end at one of its versions, or a prefix of one.

        NotFound for an unknown model.
        """
        with self._home.database.reading() as session:
            return list(transforms.transforms(session, model=model).items)

    def transform(self, id: str) -> Transform:
        """One registered transform with its parameters."""
        with self._home.database.reading() as session:
            transforms.transform(session, id)
        return self._home.transform(id)

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
        """Freeze items as the anchors of the relative space `relative/<name>`.

        Without `anchor` and `weights` each item is one anchor; with them, item i counts `weights[i]` for anchor
        `anchor[i]`, so that prototypes (weighted means) carry over to any version.

        `similarity` is `cosine`, `whitened`, `l2` or `product`, which has four dimensions for each anchor; see
        `align.relative.project`. `quantum` is the width of the bins to which similarities are rounded; None or 0 is off.
        """
        listed = writing.known_ids(self._home, gallery, ids)
        asked = operations.once(key, "add_anchors", name, gallery)

        def add() -> AnchorSet:
            return anchors.add(
                session, name, gallery=gallery, ids=listed, anchor=anchor, weights=weights, similarity=similarity,
                quantum=quantum,
            )  # fmt: skip

        with self._home.database.writing() as session:
            return operations.done_once(
                session, asked, add, name=lambda made: made.space, again=lambda space: anchors.of_space(session, space)
            )

    def anchor_sets(self) -> list[AnchorSet]:
        """All anchor sets by name."""
        with self._home.database.reading() as session:
            return list(anchors.anchor_sets(session).items)

    # Evidence

    def evaluate(
        self,
        benchmark: str,
        *,
        versions: Sequence[str] | None = None,
        label: str | None = None,
        seed: int = 0,
        progress: evaluating.Progress | None = None,
    ) -> Matrix:
        """Measure every query version x gallery version by every known path, and store what was found.

        Queries and gallery are the benchmark's items that all `versions` embedded (by default all that embedded any),
        each query's own row left out. Intervals are 95 % paired bootstrap over queries. A prefix space among `versions`,
        such as `products/2[:64]`, is measured on itself, its gain being what the cut costs. Of each path it also finds out
        which score of the query's own space is worth as much as one across, for searches of mixed galleries.

        Returns:
            The matrix for mAP; `matrix` gives it for the other metrics, which are measured too.
        """
        return evaluating.evaluate(
            self._home, benchmark, versions=versions, label=label, seed=seed, progress=progress,
            ranked=self._work.ranked,
        )  # fmt: skip

    def evaluations(
        self, benchmark: str | None = None, *, metric: str | None = None, label: str | None = None
    ) -> list[Evaluation]:
        """The newest measurement of each pair of versions, of every benchmark, metric and label column unless named."""
        with self._home.database.reading() as session:
            return list(evidence.evaluations(session, benchmark=benchmark, metric=metric, label=label).items)

    def matrix(
        self, benchmark: str, *, metric: str = "map", label: str | None = None, versions: Sequence[str] | None = None
    ) -> Matrix:
        """The stored compatibility matrix: metric `cmc@1`, `cmc@5`, `map`, `map@r` or `mrr`, by default the first label.

        Of all versions measured on the benchmark, or of `versions` with each other, measured or not.
        """
        with self._home.database.reading() as session:
            return evidence.matrix(session, benchmark, metric=metric, label=label, versions=versions)

    def compare(self, old: str, new: str, *, benchmark: str | None = None, label: str | None = None) -> Comparison:
        """May `new` replace `old` without backfilling? Verdicts and advice from the newest measurement of both."""
        with self._home.database.reading() as session:
            return advice.compare(session, old, new, benchmark=benchmark, label=label)

    def study(
        self,
        old: str,
        new: str,
        *,
        benchmark: str | None = None,
        label: str | None = None,
        seed: int = 0,
        progress: studying.Progress | None = None,
    ) -> Study:
        """Look closer at replacing `old` by `new` than `compare` does, and store what was found.

        Three stages are measured on the items that both versions embedded: `today`, old queries on old vectors;
        `upgraded`, new queries on old vectors by the best measured path of the newest measurement; `backfilled`, new
        queries on new vectors. Relevance, ranks and intervals are those of `evaluate`. At most 50,000 items and 2,000
        queries are looked at, drawn with `seed`; queries are items that share their label with another one.

        Args:
            old: the version whose vectors are stored.
            new: the version that may replace it.
            benchmark: by default the one on which the pair is measured.
            label: its label column, chosen like the benchmark as `compare` chooses it.
            seed: of samples, intervals, orders and maps.
            progress: told how many steps are done, of how many.

        Raises:
            NotFound: the pair is not measured, or on several benchmarks or label columns of which none was named.
            InvalidInput: twice the same version, a bad seed, or no two items of one label.
        """
        return studying.study(self._home, old, new, benchmark=benchmark, label=label, seed=seed, progress=progress)

    def studies(
        self,
        *,
        old: str | None = None,
        new: str | None = None,
        benchmark: str | None = None,
        label: str | None = None,
    ) -> list[Study]:
        """Studies, newest first: of these versions, this benchmark and this label column, where they are named."""
        with self._home.database.reading() as session:
            return list(studies.studies(session, old=old, new=new, benchmark=benchmark, label=label).items)

    def stored_study(self, id: str) -> Study:
        """One study. NotFound if there is none."""
        with self._home.database.asking() as session:
            return studies.study(session, id)

    def study_items(self, id: str) -> pa.Table:
        """What a study found of each item (n rows), whatever became of the item since.

        Columns: `id`; `label.<column>` for each label column; `x_old`, `y_old`, `x_new`, `y_new`, the item's place on the map
        of either version, from -1 to 1; `overlap`, the share of its nearest neighbours that both versions agree on;
        `ap_<stage>` and `hit_<stage>`, its average precision and whether rank one was right (1 or 0) as a query at each
        stage. All but ids and labels are float32, NaN where the item was no query or there is no such stage.

        Raises:
            NotFound: there is no such study.
            CorruptFile: the file is gone, damaged or changed.
        """
        with self._home.database.asking() as session:
            digest = studies.digest(session, id)
        return self._home.study_items(id, digest)

    def upgrades(
        self, *, limit: int = 10, models: Collection[str] | None = None, galleries: Collection[str] | None = None
    ) -> list[Comparison]:
        """The upgrades that were measured last: an older and a newer version each, compared as `compare` does.

        A pair comes once, on the benchmark and label column where it was measured last; of one measurement those between
        the newest versions come first. Only the newest measurements are looked at, which hold a hundred pairs or more.

        Args:
            limit: the most pairs.
            models: between versions of these models alone, all unless named.
            galleries: on these benchmarks alone, all unless named.
        """
        with self._home.database.reading() as session:
            return self._kept(
                session, ("upgrades", repr(limit)), models, galleries,
                lambda: upgrades.upgrades(session, limit=limit, models=models, galleries=galleries),
            )  # fmt: skip

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
        """The audit log, newest first.

        Args:
            limit: the most lines.
            action: only these changes, such as `alias.moved`: one of `registry.types.ACTIONS`.
            subject: only what happened to this, such as `products/2`; `products/*` is all whose name begins so.
            who: only what this token or user did.
            since: only from this moment on; a datetime or its ISO text, in UTC where it names no zone.
            until: only before this moment.

        Raises:
            InvalidInput: an unknown action, what is no moment, or a limit below 1.
        """
        filters: dict[str, Any] = {"action": action, "subject": subject, "who": who, "since": since, "until": until}
        return list(self.page("changes", limit=limit, **filters).items)

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
        counts: Searched | None = None,
        dry_run: bool = False,
        galleries: Collection[str] | None = None,
    ) -> Backfill:
        """Plan to re-embed the items of a gallery that have no vector of `into` yet, and say whether that is worth it.

        Nothing is encoded. What the plan foretells comes from the newest study of the two versions that measured this
        order, and its advice from their newest measurement.

        Args:
            gallery: the gallery's name.
            into: the version that is to embed its items.
            encoder: where it is: `models:/NAME/VERSION`, `package.module:function`, or an http address without a user, a
                password or a query in it; None for a function that `run_backfill` is given.
            inputs: what the encoder is given of an item: its `ids`, its `previews`, or `FILE.parquet:COLUMN`.
            order: `random`, `uncertainty`, `centroid-distance` or `most-searched`; see `registry.backfill.orders`.
            seed: of random orders and samples.
            batch: how many items are encoded and stored at a time, 1 to 65536.
            rate: the most items per second; None for as fast as it goes.
            stop_at: the quality at which it may end, `map=SHARE` or `cmc@1=SHARE`, measured on `benchmark`.
            benchmark: where quality is measured with each tenth: another gallery that both versions embedded, of which as
                much is taken for re-embedded, or this gallery itself, searched as it is.
            label: the benchmark's label column.
            counts: for `most-searched` alone, how often each item was searched.
            dry_run: whether to keep nothing.
            galleries: evidence is taken of these benchmarks alone, of all unless named.

        Raises:
            NotFound: no such gallery, version or benchmark, or one that a version did not embed.
            InvalidInput: a setting that nothing can be run with, or nothing to re-embed.
            AlreadyExists: one of this gallery by this version can still be run.
            Unmeasured, Incompatible: `uncertainty` without a measured path to what is stored.
        """
        wish = Wish(encoder, inputs, order, seed, batch, rate, stop_at, benchmark, label)  # type: ignore[arg-type]  # checked
        return planning.plan(self._home, gallery, into, wish, counts=counts, dry_run=dry_run, among=galleries)

    def backfills(self, gallery: str | None = None) -> list[Backfill]:
        """All backfills, newest first; of one gallery if it is named."""
        with self._home.database.reading() as session:
            return list(backfills.backfills(session, gallery=gallery).items)

    def backfill(self, id: str) -> Backfill:
        """One backfill. NotFound if there is none."""
        with self._home.database.asking() as session:
            return backfills.backfill(session, id)

    def run_backfill(
        self,
        id: str,
        *,
        encode: Callable[[Any], Any] | None = None,
        trust: str | None = None,
        allow_drift: bool = False,
        progress: running.Progress | None = None,
        tracking_uri: str | None = None,
    ) -> Backfill:
        """Run a backfill from where it is to its end, in this process; searches are served throughout.

        Each batch is stored in the transaction that moves on behind it: whoever kills this loses what was not stored, and
        the next run goes on there. Items that were deleted, or embedded by others, meanwhile are passed over; what was
        added by older versions is re-embedded at the end, in stored order. Interrupting it pauses it.

        Before the first batch the encoder is held to the canaries of the version, if it has some. An address is tried again
        while it does not answer; what then fails pauses the backfill, with the error kept. A batch in which an item fails is
        not stored, and the item is named.

        Args:
            id: the backfill.
            encode: the encoder, if it is not the planned one: a function of ids or texts (n,), or of pictures (n, h, w[, c])
                uint8, that gives (n, d).
            trust: the planned encoder by name, refused if the plan asks for another. A server's plan may be anybody's, so that
                its encoder has to be named so; that of a registry of your own need not be.
            allow_drift: whether an encoder that is not the registered one, as far as canaries tell, may run.
            progress: told how many items are done, of how many.
            tracking_uri: MLflow's store, for an encoder `models:/…`; MLflow's own settings by default.

        Returns:
            The backfill: finished, or paused by somebody else.

        Raises:
            AlreadyExists: another process runs it.
            InvalidInput: it is paused or over, asks for an encoder that is not trusted, or an item cannot be encoded.
            NotFound: an item has no input.
            Incompatible: the encoder is not the registered one.
            Unavailable: the encoder, or the registry, did not answer for long.
        """
        return running.run(
            self, id, encode=encode, trust=trust, allow_drift=allow_drift, progress=progress, tracking_uri=tracking_uri,
            elsewhere=self._work.encoder,
        )  # fmt: skip

    def pause_backfill(self, id: str) -> Backfill:
        """Stop a backfill after the batch at hand; it is not run again until it is resumed."""
        with self._home.database.writing() as session:
            return backfills.pause(session, id)

    def resume_backfill(self, id: str) -> Backfill:
        """Let a paused backfill be run again; `run_backfill` does so."""
        with self._home.database.writing() as session:
            return backfills.resume(session, id)

    def roll_back_backfill(self, id: str) -> Backfill:
        """Remove the vectors that a backfill wrote, these alone, and end it. What older versions stored stays as it is.

        Raises:
            AlreadyExists: a process runs it.
            InvalidInput: an item would be left without any vector; or `drop_segment` gave this up.
        """
        return undoing.roll_back(self._home, id)

    def drop_segment(self, gallery: str, version: str, *, final: bool = False) -> int:
        """Let go of all vectors that a version stored in a gallery; returns how many. Their files go after a day.

        Args:
            gallery: the gallery's name.
            version: whose vectors go.
            final: give up that backfills of the gallery can be rolled back.

        Raises:
            NotFound: there are none.
            InvalidInput: an item would be left without any vector; a backfill of the gallery is still to be run; or one
                could be rolled back until now, and that is not `final`.
        """
        return undoing.drop_segment(self._home, gallery, version, final=final)

    # The steps of a run, which `run_backfill` takes here or from afar

    def hold_backfill(self, id: str, *, runner: str) -> Backfill:
        """Begin to run a backfill as `runner`, or say that this goes on: it is the runner's alone for a minute.

        Raises:
            AlreadyExists: another process runs it.
            InvalidInput: it is paused or over.
        """
        with self._home.database.writing() as session:
            return backfills.hold(session, id, runner)

    def next_portion(self, id: str, *, runner: str, most: int | None = None) -> Portion | None:
        """The items of a backfill to encode next, `most` at most; None when all is done, which is noted then."""
        return portions.next_portion(self._home, id, runner=runner, most=most)

    def store_portion(
        self, id: str, *, runner: str, portion: Portion, vectors: Any, pace: float | None = None
    ) -> Backfill:
        """Store the vectors (n, d) of a portion's n items and move on behind it, in one transaction; again does nothing.

        `vectors` is None for a portion without items; `pace` is how many items per second went lately.

        Raises:
            DimensionMismatch, BadVector, InvalidInput: as `append`.
            AlreadyExists: the backfill is not `runner`'s.
        """
        return portions.store_portion(self._home, id, runner=runner, portion=portion, vectors=vectors, pace=pace)

    def measure_backfill(self, id: str, *, runner: str) -> Backfill:
        """Measure how good the gallery is now, on the benchmark of the plan, and keep it with the share that is done."""
        return measuring.measure(self._home, id, runner=runner)

    def leave_backfill(
        self, id: str, *, runner: str, error: str | None = None, pause: bool = False, reached: bool = False
    ) -> Backfill:
        """Run a backfill no longer: paused with an `error` or by `pause`, finished if it `reached` what was asked for."""
        with self._home.database.writing() as session:
            return backfills.leave(session, id, runner, error=error, pause=pause, reached=reached)

    # What there is, and what needs a person

    def counts(self) -> Counts:
        """How much there is of everything."""
        with self._home.database.reading() as session:
            return counts.counts(session)

    def decisions(
        self, *, limit: int = 100, models: Collection[str] | None = None, galleries: Collection[str] | None = None
    ) -> list[Decision]:
        """What needs a person's decision, the most urgent first, each with the command that would change it.

        A model's *current* version is the one with the alias `champion`, else `live`, else `production`, else its newest.
        It has to read what other versions of the model stored, except in a gallery whose every item it embedded itself.

        1. **unreadable**: nothing connects it with vectors that are stored;
        2. **failing**: on a benchmark, the best path that was measured last is surely worse than the old version itself;
        3. **drifting**: the last check of an encoder found another than the registered one, see `verify_encoder`;
        4. **unmeasured**: it reads vectors by a path that nobody measured, or no evaluation speaks of a newest version.

        Two versions come once, the largest gallery named and the others counted.

        Args:
            limit: the most decisions.
            models: of these models alone, all unless named.
            galleries: naming these galleries alone, all unless named.
        """
        with self._home.database.reading() as session:
            graph = self._home.graphs.of(session)
            return self._kept(
                session, ("decisions", repr(limit)), models, galleries,
                lambda: decisions.decisions(session, graph, limit=limit, models=models, galleries=galleries),
            )  # fmt: skip

    def _kept(
        self, session: Session, question: tuple[str, str], models: Collection[str] | None,
        galleries: Collection[str] | None, find: Callable[[], list[Found]],
    ) -> list[Found]:  # fmt: skip
        """A list that is kept for each scope; the caller gets one of its own."""
        scope = (
            models if models is None else frozenset(models),
            galleries if galleries is None else frozenset(galleries),
        )
        return list(self._home.kept.get(session, (*question, *scope), find))

    # Long lists, a part at a time

    def page(self, kind: Kind, *, after: str | None = None, limit: int = 100, **filters: Any) -> Page[Any]:
        """At most `limit` items of a list, in its order; the first ones, or those behind the cursor `after`.

        A page costs the same wherever it lies. What is added meanwhile shifts nothing: an item that is there all along
        comes exactly once.

        Args:
            kind: which list.
            after: `next` of the page before.
            limit: the most items.
            filters: of `versions` and `transforms` the `model`; of `evaluations` `benchmark`, `metric` and `label`; of
                `encoder_checks` the `ref`; of `studies` and `changes` those of the method.

        Raises:
            InvalidInput: an unknown list or filter, a cursor that is none of this list, or a limit below 1.
        """
        with self._home.database.reading() as session:
            return lists.page(session, kind, after=after, limit=limit, filters=filters)

    # Webhooks

    def add_webhook(
        self,
        name: str,
        url: str,
        *,
        events: Sequence[str] = EVENTS,
        secret: str | None = None,
        allowed: Sequence[str] | None = None,
    ) -> tuple[Webhook, str]:
        """Let `url` be told of events from now on; gives the webhook and its secret, which is not shown again.

        The server sends what became due, each event at least once and signed with the secret; see `docs/webhooks.md`.

        Args:
            name: the webhook's name.
            url: an http or https address of a public host, without credentials.
            events: some of `version.registered`, `alias.moved`, `verdict.changed`, `backfill.finished`.
            secret: what signs the events; one is made unless given.
            allowed: the only hosts that may be called, private ones too; by default what SAMESPACE_WEBHOOK_ALLOW says.

        Raises:
            InvalidInput: a URL that must not be called, an unknown event, a secret that is too short.
            Unavailable: the host cannot be looked up.
            AlreadyExists: the name is taken.
        """
        hosts = Settings.read().webhook_hosts if allowed is None else allowed
        addresses.resolve(addresses.parse(url), hosts)  # may take seconds, so no transaction is open yet
        with self._home.database.writing() as session:
            return webhooks.add(session, name, url, events, secret)

    def webhooks(self) -> list[Webhook]:
        """All webhooks by name, without their secrets."""
        with self._home.database.reading() as session:
            return webhooks.webhooks(session)

    def remove_webhook(self, name: str) -> None:
        """Remove a webhook and what it was not told yet. NotFound if there is none."""
        with self._home.database.writing() as session:
            webhooks.remove(session, name)

    def deliveries(self, *, limit: int = 100) -> list[Delivery]:
        """What webhooks were or are to be told, newest first."""
        with self._home.database.reading() as session:
            return deliveries.deliveries(session, limit=limit)

    def send_deliveries(self) -> delivering.Sent:
        """Send what is due, once; a server does so by itself."""
        return delivering.Sender(self._home.database, Settings.read().webhook_hosts).send_due()

    def send_in_background(self, settings: Settings) -> Callable[[], None]:
        """Send what becomes due in a thread, until the function that it returns is called; for a server."""
        return delivering.run_in_background(self._home.database, settings)

    # Tokens of the HTTP API

    def create_token(
        self,
        name: str,
        *,
        role: TokenRole = "reader",
        models: Sequence[str] | None = None,
        galleries: Sequence[str] | None = None,
        expires_in: timedelta | None = None,
    ) -> tuple[Token, str]:
        """A new token for the HTTP API and the pages, and its text, which is given here once and kept nowhere.

        From the first token on, the server answers only to tokens.

        Args:
            name: who it is for; the audit log names what is done with it. Never used again.
            role: `reader`, `writer` (appends, registers, measures) or `admin` (tokens and webhooks too).
            models: the models that it covers; all unless named. An admin covers all.
            galleries: the galleries that it covers; all unless named. An admin covers all.
            expires_in: how long it is good for; without an end unless said.

        Raises:
            AlreadyExists: there is or was a token of this name.
        """
        with self._home.database.writing() as session:
            return tokens.create(session, name, role, models=models, galleries=galleries, expires_in=expires_in)

    def tokens(self) -> list[Token]:
        """All tokens by name, expired and revoked ones too."""
        with self._home.database.reading() as session:
            return tokens.tokens(session)

    def revoke_token(self, name: str) -> Token:
        """Make a token good for nothing; servers know within 5 seconds. NotFound if there is none of this name."""
        with self._home.database.writing() as session:
            return tokens.revoke(session, name)

    def has_tokens(self) -> bool:
        """Whether a token was ever created, good or not: a server then answers only to tokens."""
        with self._home.database.reading() as session:
            return tokens.exist(session)

    def token_of(self, digest: str) -> Token:
        """The active token whose text has this sha-256, hex. NotSignedIn if it is unknown, expired or revoked."""
        with self._home.database.reading() as session:
            return tokens.of_digest(session, digest)
