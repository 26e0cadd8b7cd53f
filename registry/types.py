"""What the registry takes and gives: frozen values, the same for an embedded registry, a server and its client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

import numpy as np

from registry.vectors import Array, Metric

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa
    import torch

__all__ = [
    "ACTIONS",
    "BACKFILL_ORDERS",
    "DECIDING_METRICS",
    "EVENTS",
    "METRIC_NAMES",
    "STAGES",
    "TOKEN_ROLES",
    "Action",
    "AnchorSet",
    "Backfill",
    "Change",
    "Check",
    "Comparison",
    "Counts",
    "Curve",
    "Decision",
    "Delivery",
    "Embeddings",
    "Evaluation",
    "Event",
    "Evidence",
    "Filling",
    "Gallery",
    "Group",
    "Hits",
    "IndexInfo",
    "Item",
    "Matrix",
    "Model",
    "Overlap",
    "Page",
    "Path",
    "Portion",
    "Preview",
    "Scores",
    "Segment",
    "Space",
    "Stage",
    "Study",
    "Threshold",
    "Token",
    "TokenRole",
    "TransformInfo",
    "Verdict",
    "Version",
    "Webhook",
]

Verdict = Literal["compatible", "incompatible", "inconclusive"]
METRIC_NAMES: Mapping[str, str] = {"cmc@1": "CMC@1", "cmc@5": "CMC@5", "map": "mAP", "map@r": "mAP@R", "mrr": "MRR"}
"""What `evaluate` measures, and how it is written for people."""

DECIDING_METRICS = ("cmc@1", "map")
"""Advice needs the same verdict on both: top-1 and mAP can disagree (BCT on CIFAR-100 passes mAP and fails top-1)."""

Event = Literal["version.registered", "alias.moved", "verdict.changed", "backfill.finished"]
EVENTS: tuple[Event, ...] = get_args(Event)
"""What a webhook can be told of."""

Preview = Literal["picture", "text"]
"""What kind of previews a gallery holds."""

Role = Literal["self", "naive", "path"]
Advice = Literal["upgrade without backfill", "bridge with a transform", "backfill", "stay"]


@dataclass(frozen=True, slots=True)
class Model:
    """A named line of encoders."""

    name: str
    versions: int
    aliases: Mapping[str, int]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable, numbered release of a model; its native space is called like its `ref`."""

    model: str
    number: int
    dim: int
    metric: Metric
    normalized: bool
    dtype: str
    method: str
    fingerprint: str
    created_at: datetime
    source: str | None = None
    parent: str | None = None
    run_id: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """`products/2`: the version's name, and its space's."""
        return f"{self.model}/{self.number}"


@dataclass(frozen=True, slots=True)
class Space:
    """What vectors live in: a version's own space, a prefix of it, or a relative space; aliases are resolved."""

    name: str
    dim: int
    metric: Metric


@dataclass(frozen=True, slots=True)
class Effort:
    """How much the index of an attached table does for each search at least: `setting`, of pgvector, is set to `value`.

    `recall` is the share, from 0 to 1, of the 10 nearest that it then finds, measured with `queries` of the table's rows.
    """

    setting: str
    value: int
    recall: float
    queries: int


@dataclass(frozen=True, slots=True)
class Segment:
    """The vectors that one version wrote into a gallery, at the state that the registry acknowledges.

    `backend` is what keeps them: `lance` is samespace itself; anything else had them before, at `where`, and `lance_version`
    and `rows` are then of the last look at them. `capabilities` are what it does itself, see `registry.backends`; `effort` is
    what its index was found to need, if it has one that can be told.
    """

    version: str
    rows: int
    lance_version: int
    backend: str = "lance"
    where: str | None = None
    capabilities: tuple[str, ...] = ()
    effort: Effort | None = None


@dataclass(frozen=True, slots=True)
class Gallery:
    """A named collection of items; with label columns it is a benchmark.

    `previews` of its items have a small `preview`, a picture or a text, for people to look at; `preview_url` says where
    a browser finds others, with `{id}` for the item.
    """

    name: str
    id_type: Literal["string", "int"]
    labels: tuple[str, ...]
    items: int
    segments: tuple[Segment, ...]
    created_at: datetime
    preview: Preview | None = None
    previews: int = 0
    preview_url: str | None = None

    @property
    def is_benchmark(self) -> bool:
        """Whether verdicts can be measured on it."""
        return bool(self.labels)


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a gallery: its label in each column, the versions that embedded it, and its preview if it was asked for.

    The preview is a small picture (PNG, JPEG, WebP or GIF) or a text; None where there is none.
    """

    id: str | int
    labels: Mapping[str, Any]
    versions: tuple[str, ...]
    preview: bytes | str | None = None


@dataclass(frozen=True, slots=True)
class AnchorSet:
    """A frozen list of items whose vectors, in each version, span a relative space called `relative/<name>`.

    Anchor j is the weighted mean of items: `ids[i]` counts `weights[i]` for anchor `anchor[i]`. Similarities are rounded
    to whole multiples of `quantum`, 0 for none. `dim` is the relative space's width, for some similarities a multiple
    of the number of anchors.
    """

    name: str
    gallery: str
    similarity: str
    ids: tuple[str | int, ...]
    anchor: tuple[int, ...]
    weights: tuple[float, ...]
    dim: int
    created_at: datetime
    quantum: float = 0.0

    @property
    def space(self) -> str:
        """The relative space that it defines."""
        return f"relative/{self.name}"

    @property
    def size(self) -> int:
        """How many anchors."""
        return 1 + max(self.anchor)


@dataclass(frozen=True, slots=True)
class TransformInfo:
    """A registered transform, without its parameters."""

    id: str
    kind: str
    source: str
    target: str
    source_dim: int
    target_dim: int
    report: Mapping[str, Any]
    created_at: datetime
    run_id: str | None = None
    digest: str | None = None  # what its file is checked against, hex; earlier servers do not tell it


@dataclass(frozen=True, slots=True)
class Evidence:
    """The measurement that a path rests on: the best evaluated benchmark for this metric."""

    benchmark: str
    metric: str
    value: float
    low: float
    high: float
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Path:
    """How two spaces become comparable: both sides are mapped into `space`.

    `query` and `gallery` are the ids of the transforms (or `[:n]` for a plain prefix) that each side goes through, in
    order; `kinds` are their kinds, query side first.
    """

    source: str
    target: str
    space: str
    query: tuple[str, ...] = ()
    gallery: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    evidence: Evidence | None = None

    @property
    def length(self) -> int:
        """The number of transforms on both sides; 0 where the spaces are one."""
        return len(self.query) + len(self.gallery)

    def __str__(self) -> str:
        if not self.length:
            return f"{self.source} = {self.target}" if self.source != self.target else self.source
        query, gallery = (" > ".join(side) for side in (self.query, self.gallery))
        return f"{self.source} {f'> {query} ' if query else ''}-> {self.space}{f' <- {gallery} < {self.target}' if gallery else ''}"


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors (n, d) float32 of `ids`, all in `space`; `path` says how each version's rows came there."""

    ids: Array
    vectors: Array
    space: str
    path: Mapping[str, Path]

    def __len__(self) -> int:
        return len(self.ids)

    def to_numpy(self) -> Array:
        """The vectors (n, d) float32."""
        return self.vectors

    def to_arrow(self) -> pa.Table:
        """A table of columns id and vector, lists of d float32."""
        import pyarrow as pa

        lists = pa.FixedSizeListArray.from_arrays(pa.array(self.vectors.ravel()), self.vectors.shape[1])
        return pa.table({"id": pa.array(self.ids), "vector": lists})

    def to_pandas(self) -> pandas.DataFrame:
        """A frame of d columns, indexed by id. Needs pandas."""
        import pandas as pd

        return pd.DataFrame(self.vectors, index=pd.Index(self.ids, name="id"))

    def to_torch(self) -> torch.Tensor:
        """The vectors (n, d) float32 as a tensor of their own memory. Needs torch."""
        import torch

        return torch.tensor(self.vectors)


@dataclass(frozen=True, slots=True)
class Hits:
    """Search results: ids (q, k) and scores (q, k), larger is closer.

    Segments of several versions are searched each by its own path and merged by score. Those of the versions `calibrated`
    are what the query's own space would have given for an item as likely to be relevant, measured on a benchmark or by
    the fit of the map; all others are as their path's space gives them. One segment alone keeps its scores.

    Where a gallery holds fewer than k items the id is -1, or '' for string ids, and the score -inf.
    """

    ids: Array
    scores: Array
    path: Mapping[str, Path]
    calibrated: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def to_numpy(self) -> tuple[Array, Array]:
        """Ids (q, k) and scores (q, k) float32."""
        return self.ids, self.scores

    def to_arrow(self) -> pa.Table:
        """A table of columns query, rank, id and score, a row for each hit; places without a result are left out."""
        import pyarrow as pa

        found = self.scores > -np.inf
        query, rank = np.nonzero(found)
        return pa.table({"query": query, "rank": rank, "id": pa.array(self.ids[found]), "score": self.scores[found]})

    def to_pandas(self) -> pandas.DataFrame:
        """The same as a frame. Needs pandas."""
        found: pandas.DataFrame = self.to_arrow().to_pandas()
        return found


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """A search index over what a version stored in a gallery.

    It covers `rows`, of the `rows_now` that are stored; the others are searched exactly beside it. `recall` is the share
    of the exact `k` nearest that it found for `queries` rows that were held out, 1 less the loss. `bytes` are of its
    files, `exact_bytes` of the same vectors as float32. `settings` are those that it was built with, among them
    `ef_search` or `nprobe` as it was tuned, and the `target` that it was tuned for. It took `seconds` to build.
    """

    id: str
    gallery: str
    version: str
    kind: str
    compression: str
    settings: Mapping[str, Any]
    rows: int
    rows_now: int
    bytes: int
    exact_bytes: int
    recall: float
    k: int
    queries: int
    seconds: float
    created_at: datetime

    @property
    def how(self) -> str:
        """`hnsw`, `ivf + half`."""
        return self.kind if self.compression in ("none", "pq") else f"{self.kind} + {self.compression}"

    @property
    def target(self) -> float:
        """The recall that was asked for."""
        return float(self.settings.get("target", 0.0))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One measured cell: query version x gallery version x path x benchmark x metric.

    `label` is the label column that says what is relevant. `value` lies in [`low`, `high`], a 95 % bootstrap interval
    over queries. `gain` is the paired difference to the gallery's own version on the same queries, with its interval;
    the verdict is the sign that the interval allows; it is None where a version meets itself, whole or cut to a prefix. Cells of one `measurement`, which is one call of `evaluate`, are of
    the same items and queries; values of different measurements are not for comparing.
    """

    benchmark: str
    label: str
    metric: str
    query: str
    gallery: str
    role: Role
    query_path: tuple[str, ...]
    gallery_path: tuple[str, ...]
    kinds: tuple[str, ...]
    value: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    verdict: Verdict | None
    queries: int
    items: int
    seed: int
    measurement: str
    created_at: datetime

    @property
    def way(self) -> str:
        """How it compares, in words: `own space`, `naive swap`, `prefix + affine`, `relative anchors`."""
        if self.role != "path":
            return "own space" if self.role == "self" else "naive swap"
        if self.query == self.gallery:
            return f"own space cut to {self.query_path[0]}"
        return " + ".join(self.kinds).replace("relative + relative", "relative anchors")


@dataclass(frozen=True, slots=True)
class Matrix:
    """The compatibility matrix of a benchmark: for each query x gallery its newest measurement, best path first."""

    benchmark: str
    label: str
    metric: str
    versions: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]

    def cell(self, query: str, gallery: str) -> Evaluation | None:
        """The best measured way to search `gallery`'s segment with `query`; the naive control only if nothing else is."""
        cells = [e for e in self.evaluations if e.query == query and e.gallery == gallery]
        return max(cells, key=lambda e: (e.role != "naive", e.role == "self", e.value), default=None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """May `new` replace `old` without backfilling? The evidence, one verdict for each metric, and the advice."""

    old: str
    new: str
    benchmark: str
    evaluations: tuple[Evaluation, ...]
    verdicts: Mapping[str, Verdict]
    advice: Advice
    reason: str


Stage = Literal["today", "upgraded", "backfilled"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""The three ways to search that an upgrade is about: old queries on old vectors, new queries on old vectors by the best
measured path, and new queries on new vectors."""


@dataclass(frozen=True, slots=True)
class Curve:
    """`values` at each of `at`; `low` and `high` are a 95 % bootstrap interval over queries, empty where there is none."""

    at: tuple[float, ...]
    values: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """What the upgrade changes for the queries whose `column` is `value`: mAP at each stage, and the paired gain.

    `gain` is upgraded less today, with its 95 % interval. Flips are counts of queries at rank one, upgraded against
    today: `negative_flips` were right and are wrong now, `positive_flips` the other way round. Where no path leads to the
    old vectors, backfilled takes the place of upgraded.
    """

    column: str
    value: str
    queries: int
    map: Mapping[str, float]
    gain: float
    gain_low: float
    gain_high: float
    negative_flips: int
    positive_flips: int


@dataclass(frozen=True, slots=True)
class Scores:
    """How scores are distributed at one stage: counts (b,) of pairs of one class and of two, in bins between `edges` (b + 1,)."""

    edges: tuple[float, ...]
    positives: tuple[int, ...]
    negatives: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Threshold:
    """The score above which a share `false_match_rate` of pairs of two classes lies at a stage, and what it lets through.

    `match_rate` is the share of pairs of one class above it. `kept_false_match_rate` is what the threshold of today
    would let through at this stage: whoever does not move the threshold gets that.
    """

    stage: str
    false_match_rate: float
    threshold: float
    match_rate: float
    kept_false_match_rate: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """The share of an item's `k` nearest neighbours that both versions agree on: `counts[i]` items share i of k."""

    k: int
    mean: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Filling:
    """Quality by the share of the gallery that is embedded anew, in one order; `area` is under the curve, by its width.

    `curve` is as search merges old and new vectors. Where it calibrates scores, `raw` and `raw_area` are without that.
    """

    order: Literal["random", "uncertainty"]
    metric: str
    curve: Curve
    area: float
    raw: Curve | None = None
    raw_area: float | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """A closer look at replacing `old` by `new`, measured once on a benchmark and kept.

    `query_path`, `gallery_path` and `kinds` are the path that `upgraded` goes by; without one (`has_path` is False) there
    is no such stage in any of the mappings. Its items, one by one, are an Arrow table: `Registry.study_items`.
    """

    id: str
    benchmark: str
    label: str
    old: str
    new: str
    has_path: bool
    query_path: tuple[str, ...]
    gallery_path: tuple[str, ...]
    kinds: tuple[str, ...]
    items: int
    queries: int
    seed: int
    cmc: Mapping[str, Curve]
    groups: tuple[Group, ...]
    scores: Mapping[str, Scores]
    thresholds: tuple[Threshold, ...]
    overlap: Overlap
    filling: tuple[Filling, ...]
    created_at: datetime


BackfillStatus = Literal["planned", "running", "paused", "finished", "rolled back"]
BackfillOrder = Literal["random", "uncertainty", "centroid-distance", "most-searched"]
BACKFILL_ORDERS: tuple[BackfillOrder, ...] = get_args(BackfillOrder)
"""In which order a backfill can go through its items; see `registry.backfill.orders`."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """Re-embedding the items of `gallery` that have no vector of `version` yet, in a fixed order.

    The first `done` of `total` items are dealt with; `written` of the vectors that it wrote are still there, as long as it can
    be rolled back. `old` stored the most of what is re-embedded. `predicted` and `measured` are curves by metric, over the share that is done:
    `predicted_from` is the study that measured the order before, `evidence` the benchmark that it and the `advice` rest on.
    `pace` and `rate`, the most that was asked for, are in items per second. Whoever runs it is `runner`, until
    `runs_until` unless it says otherwise before. `error` is what ended the last run.
    """

    id: str
    gallery: str
    version: str
    old: str | None
    status: BackfillStatus
    encoder: str | None
    inputs: str
    order: BackfillOrder
    seed: int
    batch: int
    rate: float | None
    stop_at: str | None
    benchmark: str | None
    label: str | None
    total: int
    done: int
    written: int
    predicted: Mapping[str, Curve]
    predicted_from: str | None
    measured: Mapping[str, Curve]
    advice: str
    evidence: str | None
    pace: float | None
    error: str | None
    runner: str | None
    runs_until: datetime | None
    created_at: datetime
    changed_at: datetime

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        return self.done / self.total if self.total else 1.0

    @property
    def is_run(self) -> bool:
        """Whether a process runs it now, as far as is known: one that was killed counts until its lease ends."""
        return self.runner is not None and self.runs_until is not None and self.runs_until > datetime.now(UTC)

    @property
    def state(self) -> str:
        """Its status, as far as whoever runs it was heard of: also `interrupted`, or `pausing` after the batch at hand."""
        if self.status == "running" and not self.is_run:
            return "interrupted"
        return "pausing" if self.status == "paused" and self.is_run else self.status

    @property
    def is_open(self) -> bool:
        """Whether it can still be run."""
        return self.status in ("planned", "running", "paused")

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at its pace, or at its rate before it has one; None where neither is known."""
        pace = self.pace or self.rate
        return (self.total - self.done) / pace if pace else None


@dataclass(frozen=True, slots=True)
class Portion:
    """The items of a backfill to encode next: those of its order from `start` up to `stop` that still need it."""

    start: int
    stop: int
    ids: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that a person has to decide: what it is about, what is wrong, and the command that would change it.

    `version` and `gallery` name what it is about, where it is about one.
    """

    kind: Literal["unreadable", "failing", "drifting", "unmeasured"]
    version: str
    against: str | None
    gallery: str | None
    says: str
    command: str


@dataclass(frozen=True, slots=True)
class Check:
    """What a check of a version's encoder found: its largest deviation, of the canary `worst`, and the tolerance.

    A deviation is a share of a vector's length; a million is kept of a larger one, and of what was no vector at all.
    """

    version: str
    deviation: float
    tolerance: float
    worst: str
    at: datetime
    who: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the encoder is the registered one, as far as its canaries tell."""
        return self.deviation <= self.tolerance


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a registry holds; `benchmarks` are among the `galleries`, and an item counts a vector for each version."""

    models: int
    versions: int
    galleries: int
    benchmarks: int
    items: int
    vectors: int
    transforms: int
    evaluations: int
    studies: int


Action = Literal[
    "alias.moved",
    "anchors.added",
    "backfill.finished",
    "backfill.paused",
    "backfill.planned",
    "backfill.resumed",
    "backfill.rolled_back",
    "backfill.started",
    "benchmark.evaluated",
    "benchmark.studied",
    "canaries.added",
    "encoder.checked",
    "gallery.appended",
    "gallery.attached",
    "gallery.created",
    "gallery.deleted",
    "gallery.detached",
    "gallery.preview_url",
    "gallery.previewed",
    "gallery.segment_dropped",
    "index.built",
    "index.dropped",
    "token.created",
    "token.revoked",
    "transform.added",
    "version.registered",
    "version.tagged",
    "webhook.added",
    "webhook.removed",
]
ACTIONS: tuple[Action, ...] = get_args(Action)
"""What the audit log tells of."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the audit log; `who` is None for what releases before tokens noted."""

    at: datetime
    action: str
    subject: str
    details: Mapping[str, Any]
    who: str | None = None


TokenRole = Literal["reader", "writer", "admin"]
TOKEN_ROLES: tuple[TokenRole, ...] = ("reader", "writer", "admin")
"""What tokens may do, each role all that the one before it may."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a token may do, never the token itself; `models` and `galleries` are None where it covers all of them."""

    name: str
    role: TokenRole
    models: tuple[str, ...] | None
    galleries: tuple[str, ...] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @property
    def state(self) -> Literal["active", "expired", "revoked"]:
        """Whether it is good for anything now."""
        return self.state_at(datetime.now(UTC))

    def state_at(self, moment: datetime) -> Literal["active", "expired", "revoked"]:
        """Whether it is, was or will be good for anything at `moment`."""
        if self.revoked_at is not None and self.revoked_at <= moment:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= moment else "active"


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that is told of `events`; its secret is shown once, when it is added."""

    name: str
    url: str
    events: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook. It is sent again at `due_at`, which is None once it is delivered or given up."""

    id: str
    webhook: str
    event: str
    attempts: int
    due_at: datetime | None
    delivered_at: datetime | None
    error: str | None
    created_at: datetime


Listed = TypeVar("Listed")


@dataclass(frozen=True, slots=True)
class Page(Generic[Listed]):
    """Some items of a list, and the cursor of those that follow them: what to give as `after`; None at the end."""

    items: tuple[Listed, ...]
    next: str | None


Ids = Sequence[Any] | Array
