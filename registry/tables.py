"""The tables: facts about models, galleries, transforms and evidence. Never vectors; those are in Lance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

Name = String(100)
Space = String(220)
Who = String(120)


class Instant(TypeDecorator[datetime]):
    """A moment in UTC. SQLite forgets the zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """What comes out."""
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC."""
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give UTC back, with its zone."""
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {datetime: Instant, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012 - SQLAlchemy's form


class StoreRow(Base):
    """Where the galleries are: one row, written when the registry is first opened; see `registry.stores`."""

    __tablename__ = "store"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    address: Mapped[str] = mapped_column(String(500))
    owner: Mapped[str] = mapped_column(String(40))


class ModelRow(Base):
    """A named line of encoders; its row is locked while a version number is given out."""

    __tablename__ = "models"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Name, unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)

    aliases: Mapped[list[AliasRow]] = relationship(order_by="AliasRow.name", viewonly=True)


class VersionRow(Base):
    """An immutable release of a model: a trigger refuses updates and deletes."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        UniqueConstraint("model_id", "id"),
        UniqueConstraint("model_id", "fingerprint"),
        Index("versions_of_run", "run_id"),
        CheckConstraint("number > 0", name="number_positive"),
        CheckConstraint("dim BETWEEN 1 AND 65536", name="dim_range"),
        CheckConstraint("metric IN ('cosine', 'dot', 'l2')", name="metric_known"),
        CheckConstraint("dtype IN ('float32', 'float16')", name="dtype_known"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    dim: Mapped[int]
    metric: Mapped[str] = mapped_column(String(10))
    normalized: Mapped[bool]
    dtype: Mapped[str] = mapped_column(String(10))
    method: Mapped[str] = mapped_column(String(100))
    fingerprint: Mapped[str] = mapped_column(String(64))
    facts: Mapped[dict[str, Any]]
    source: Mapped[str | None] = mapped_column(String(1000))
    run_id: Mapped[str | None] = mapped_column(String(100))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)

    model: Mapped[ModelRow] = relationship(lazy="joined", innerjoin=True)
    parent: Mapped[VersionRow | None] = relationship(remote_side="VersionRow.id")
    tags: Mapped[list[TagRow]] = relationship(order_by="TagRow.key")
    aliases: Mapped[list[AliasRow]] = relationship(order_by="AliasRow.name", viewonly=True)

    @property
    def ref(self) -> str:
        """`products/2`."""
        return f"{self.model.name}/{self.number}"


class CanariesRow(Base):
    """That a version has canaries, and the digest of their file; immutable like the version."""

    __tablename__ = "canaries"
    __table_args__ = (CheckConstraint("count > 0", name="count_positive"),)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    count: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)


class EncoderCheckRow(Base):
    """How far an encoder's vectors of a version's canaries lay from those that were registered, when it was asked."""

    __tablename__ = "encoder_checks"
    __table_args__ = (
        CheckConstraint("deviation >= 0", name="deviation_positive"),
        Index("encoder_checks_newest", "version_id", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    at: Mapped[datetime] = mapped_column(default=now)
    deviation: Mapped[float]
    tolerance: Mapped[float]
    worst: Mapped[str] = mapped_column(String(300))
    who: Mapped[str | None] = mapped_column(Who)


class TagRow(Base):
    """A free note on a version; unlike the version itself it may change."""

    __tablename__ = "tags"
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    key: Mapped[str] = mapped_column(Name, primary_key=True)
    value: Mapped[str] = mapped_column(String(1000))


class AliasRow(Base):
    """A movable name of one version of a model, such as `champion`."""

    __tablename__ = "aliases"
    __table_args__ = (ForeignKeyConstraint(["model_id", "version_id"], ["versions.model_id", "versions.id"]),)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    name: Mapped[str] = mapped_column(Name, primary_key=True)
    version_id: Mapped[int] = mapped_column(index=True)

    version: Mapped[VersionRow] = relationship(lazy="joined", innerjoin=True)


class GalleryRow(Base):
    """A collection of items. `items_version` is the acknowledged Lance version of its item columns; 0 = none yet.

    `preview` is what kind of previews is stored, None for none yet; `previews` how many, at `previews_version` of their
    dataset; `preview_url` where else a person's browser finds pictures of items, with `{id}` for the item.

    `elsewhere` is how many more items attached segments alone held when these were looked at last.
    """

    __tablename__ = "galleries"
    __table_args__ = (CheckConstraint("id_type IN ('string', 'int')", name="id_type_known"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Name, unique=True)
    id_type: Mapped[str] = mapped_column(String(10))
    labels: Mapped[list[Any]]
    items: Mapped[int] = mapped_column(default=0)
    items_version: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    preview: Mapped[str | None] = mapped_column(String(10))
    previews_version: Mapped[int] = mapped_column(default=0, server_default="0")
    previews: Mapped[int] = mapped_column(default=0, server_default="0")
    preview_url: Mapped[str | None] = mapped_column(String(1000))
    elsewhere: Mapped[int] = mapped_column(default=0, server_default="0")

    segments: Mapped[list[SegmentRow]] = relationship(lazy="selectin", order_by="SegmentRow.id")


class SegmentRow(Base):
    """What one version wrote into one gallery.

    `lance_version` is the commit point of every append and delete: Lance versions beyond it were never acknowledged,
    are never read, and are rolled back by the next write.

    `backend` is None where samespace wrote the vectors itself, in Lance; otherwise it says in which engine they already
    were (see `registry.backends`), and `lance_version` counts how often that was looked at anew.
    """

    __tablename__ = "segments"
    __table_args__ = (UniqueConstraint("gallery_id", "version_id"), CheckConstraint("rows >= 0", name="rows_positive"))
    id: Mapped[int] = mapped_column(primary_key=True)
    gallery_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), index=True)
    rows: Mapped[int] = mapped_column(default=0)
    lance_version: Mapped[int] = mapped_column(default=0)
    backend: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    version: Mapped[VersionRow] = relationship(lazy="joined", innerjoin=True)


class IndexRow(Base):
    """A search index over a segment as it was at `lance_version`; searches use the newest, whose file has this `digest`.

    `recall` is the share of the exact `k` nearest that it found for `queries` of the stored vectors.
    """

    __tablename__ = "indexes"
    __table_args__ = (
        CheckConstraint("recall BETWEEN 0 AND 1", name="recall_is_share"),
        Index("indexes_of", "segment_id", "created_at"),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    segment_id: Mapped[int] = mapped_column(ForeignKey("segments.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    compression: Mapped[str] = mapped_column(String(20))
    settings: Mapped[dict[str, Any]]
    lance_version: Mapped[int]
    rows: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(String(64))
    recall: Mapped[float]
    k: Mapped[int]
    queries: Mapped[int]
    seconds: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(default=now)

    segment: Mapped[SegmentRow] = relationship(lazy="joined", innerjoin=True)


class BackfillRow(Base):
    """Re-embedding a gallery by `version`, a batch at a time in the order of a file that has this `digest`.

    The first `done` of the `total` items of that order are re-embedded: each batch moves it on in the transaction that makes
    its vectors visible. Whoever runs it is `runner`, until `runs_until` unless it says otherwise before.

    `written` of the vectors that it wrote are still there: their ids are in a dataset of its own, at `written_version`, so
    that a rollback takes these and no others. `pace` is in items per second.
    """

    __tablename__ = "backfills"
    __table_args__ = (
        CheckConstraint("done BETWEEN 0 AND total", name="done_of_total"),
        Index("backfills_of", "gallery_id", "created_at"),
        Index("backfills_added", "created_at", "id"),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    gallery_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    status: Mapped[str] = mapped_column(String(20))
    settings: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(64))
    total: Mapped[int]
    done: Mapped[int] = mapped_column(default=0)
    written: Mapped[int] = mapped_column(default=0)
    written_version: Mapped[int] = mapped_column(default=0)
    pace: Mapped[float | None]
    predicted: Mapped[list[Any]]
    measured: Mapped[list[Any]]
    error: Mapped[str | None] = mapped_column(String(1000))
    runner: Mapped[str | None] = mapped_column(String(200))
    runs_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    changed_at: Mapped[datetime] = mapped_column(default=now)

    gallery: Mapped[GalleryRow] = relationship(lazy="joined", innerjoin=True)
    version: Mapped[VersionRow] = relationship(lazy="joined", innerjoin=True)


class AnchorSetRow(Base):
    """A frozen list of items, with weights, that spans a relative space."""

    __tablename__ = "anchor_sets"
    __table_args__ = (
        CheckConstraint("quantum >= 0", name="quantum_positive"),
        CheckConstraint("dim >= size", name="dim_of_all_anchors"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Name, unique=True)
    gallery_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"), index=True)
    similarity: Mapped[str] = mapped_column(String(20))
    quantum: Mapped[float]
    size: Mapped[int]
    dim: Mapped[int]
    members: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)

    gallery: Mapped[GalleryRow] = relationship(lazy="joined", innerjoin=True)


class TransformRow(Base):
    """An immutable map between two spaces; `digest` is of its file, which is checked on every load."""

    __tablename__ = "transforms"
    __table_args__ = (
        CheckConstraint("source <> target", name="two_spaces"),
        Index("transforms_ends", "source", "target"),
        Index("transforms_into", "target", "source"),
        Index("transforms_of_run", "run_id"),
        Index("transforms_added", "created_at", "id"),  # the order of lists; counting them reads it too
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    source: Mapped[str] = mapped_column(Space)
    target: Mapped[str] = mapped_column(Space)
    source_dim: Mapped[int]
    target_dim: Mapped[int]
    report: Mapped[dict[str, Any]]
    run_id: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(default=now)


class EvaluationRow(Base):
    """One measured cell. A new measurement is new rows; readers take the newest of each pair of versions."""

    __tablename__ = "evaluations"
    __table_args__ = (
        CheckConstraint("role IN ('self', 'naive', 'path')", name="role_known"),
        CheckConstraint("low <= value AND value <= high", name="interval_holds_value"),
        # What was measured of a pair of versions, and of one side, for paths; the newest of a pair, for matrices and lists.
        Index("evaluations_pair", "query_id", "metric", "gallery_id", "id"),
        Index("evaluations_stored", "gallery_id", "metric", "id"),
        Index("evaluations_newest", "benchmark_id", "label", "query_id", "gallery_id", "id", "measurement"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    benchmark_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"))
    query_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    gallery_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    label: Mapped[str] = mapped_column(Name)
    metric: Mapped[str] = mapped_column(String(20))
    role: Mapped[str] = mapped_column(String(10))
    query_path: Mapped[str] = mapped_column(String(400))
    gallery_path: Mapped[str] = mapped_column(String(400))
    kinds: Mapped[list[Any]]
    value: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    gain: Mapped[float]
    gain_low: Mapped[float]
    gain_high: Mapped[float]
    verdict: Mapped[str | None] = mapped_column(String(20))
    queries: Mapped[int]
    items: Mapped[int]
    seed: Mapped[int]
    measurement: Mapped[str] = mapped_column(String(32), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)

    benchmark: Mapped[GalleryRow] = relationship(lazy="joined", innerjoin=True)
    query: Mapped[VersionRow] = relationship(foreign_keys=[query_id], lazy="joined", innerjoin=True)
    gallery: Mapped[VersionRow] = relationship(foreign_keys=[gallery_id], lazy="joined", innerjoin=True)


class CalibrationRow(Base):
    """Which score of the query's own space goes with a score across, as one measured cell found: a line through (x, y)."""

    __tablename__ = "calibrations"
    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True)
    x: Mapped[list[Any]]
    y: Mapped[list[Any]]


class StudyRow(Base):
    """A closer look at one upgrade; `findings` are its numbers, `digest` is of the file that holds its items."""

    __tablename__ = "studies"
    __table_args__ = (
        Index("studies_of", "old_id", "new_id", "benchmark_id", "label", "created_at"),
        Index("studies_added", "created_at", "id"),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    benchmark_id: Mapped[int] = mapped_column(ForeignKey("galleries.id"))
    label: Mapped[str] = mapped_column(Name)
    old_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    new_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    findings: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)

    benchmark: Mapped[GalleryRow] = relationship(lazy="joined", innerjoin=True)
    old: Mapped[VersionRow] = relationship(foreign_keys=[old_id], lazy="joined", innerjoin=True)
    new: Mapped[VersionRow] = relationship(foreign_keys=[new_id], lazy="joined", innerjoin=True)


class ChangeRow(Base):
    """The audit log: append-only, a trigger refuses updates and deletes."""

    __tablename__ = "changes"
    __table_args__ = (
        Index("changes_of_action", "action", "id"),
        Index("changes_of_subject", "subject", "id"),
        Index("changes_of_who", "who", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    action: Mapped[str] = mapped_column(String(50))
    subject: Mapped[str] = mapped_column(String(300))
    details: Mapped[dict[str, Any]]
    who: Mapped[str | None] = mapped_column(Who)  # unknown for what earlier releases noted


class TokenRow(Base):
    """A token of the HTTP API, of which the digest alone is kept; `models` and `galleries` are None for all of them."""

    __tablename__ = "tokens"
    __table_args__ = (CheckConstraint("role IN ('reader', 'writer', 'admin')", name="role_of_token_known"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Name, unique=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(10))
    models: Mapped[list[Any] | None]
    galleries: Mapped[list[Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class OperationRow(Base):
    """What a request with an idempotency key did, so that its repetition does nothing and is answered alike."""

    __tablename__ = "operations"
    who: Mapped[str] = mapped_column(Who, primary_key=True)
    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    result: Mapped[Any] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(default=now, index=True)


class WebhookRow(Base):
    """An address that is told of events; `secret` signs what it is told."""

    __tablename__ = "webhooks"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Name, unique=True)
    url: Mapped[str] = mapped_column(String(1000))
    secret: Mapped[str] = mapped_column(String(100))
    events: Mapped[list[Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class DeliveryRow(Base):
    """One event for one webhook; `due_at` is None once it is delivered or given up."""

    __tablename__ = "deliveries"
    id: Mapped[int] = mapped_column(primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"), index=True)
    event: Mapped[str] = mapped_column(String(50))
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime | None] = mapped_column(index=True)
    delivered_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(String(300))

    webhook: Mapped[WebhookRow] = relationship(lazy="joined", innerjoin=True)
