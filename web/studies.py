"""A study as its page shows it: charts, and the threshold that has to move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.types import METRIC_NAMES, STAGES, Scores, Study, Threshold
from web.charts import Chart, Mark, Series

__all__ = [
    "KEPT_RATE",
    "Moved",
    "cmc_chart",
    "filling_charts",
    "moved",
    "overlap_chart",
    "score_charts",
    "stages",
    "way",
]

KEPT_RATE = 0.01
"""The false match rate whose threshold is drawn."""

_LOOKS = {"today": 1, "upgraded": 2, "backfilled": 3}
_ORDERS = {"uncertainty": ("worst served first", 4), "random": ("random order", 5)}


@dataclass(frozen=True, slots=True)
class Moved:
    """At one false match rate: the threshold of each stage, today's first, which is the one that is kept or moved."""

    rate: float
    at: Mapping[str, Threshold]

    @property
    def today(self) -> Threshold:
        """The one that is in use."""
        return self.at["today"]


def stages(study: Study) -> list[str]:
    """The stages that the study measured, in order."""
    return [stage for stage in STAGES if stage in study.cmc]


def way(study: Study) -> str:
    """The path that `upgraded` goes by, in words, as `Evaluation.way` says it."""
    return " + ".join(study.kinds).replace("relative + relative", "relative anchors") or "own space"


def cmc_chart(study: Study) -> Chart:
    """CMC at each stage over the rank."""
    shown = stages(study)
    ranks = study.cmc[shown[0]].at
    series = [
        Series(stage, c.values, c.low, c.high, look=_LOOKS[stage]) for stage in shown for c in (study.cmc[stage],)
    ]
    return Chart(
        "Is an item of the right class among the first k? Higher is better", ranks, series, "k", "CMC", log=True, name="cmc",
        note="Share of queries, with 95 % bootstrap intervals. The horizontal axis goes by powers of ten.",
    )  # fmt: skip


def score_charts(study: Study) -> list[Chart]:
    """How scores of one class and of two classes are distributed, a chart for each stage."""
    pairs = {
        "today": f"today: {study.old} on {study.old}",
        "upgraded": f"upgraded: {study.new} on {study.old}",
        "backfilled": f"backfilled: {study.new} on {study.new}",
    }
    at = {(t.stage, t.false_match_rate): t.threshold for t in study.thresholds}
    today = at.get(("today", KEPT_RATE))
    return [_scores(study.scores[s], pairs[s], s, at.get((s, KEPT_RATE)), today) for s in STAGES if s in study.scores]


def _scores(scores: Scores, title: str, stage: str, own: float | None, today: float | None) -> Chart:
    low, high = scores.edges[0], scores.edges[-1]
    wanted = [(today, "today’s threshold", 1)]
    if stage != "today":
        wanted.append((own, f"keeps {100 * KEPT_RATE:g} %", _LOOKS[stage]))
    marks = [Mark(round(at, 4), label, look) for at, label, look in wanted if at is not None and low <= at <= high]
    series = [
        Series("one class", _shares(scores.positives), look=2),
        Series("two classes", _shares(scores.negatives), look=3),
    ]
    outside = stage != "today" and today is not None and not low <= today <= high
    return Chart(
        title, scores.edges, series, "score", "pairs of their kind", kind="steps", marks=marks, name=f"scores-{stage}",
        note=f"Today’s threshold, {today:.3g}, lies outside." if outside else "",
    )  # fmt: skip


def _shares(counts: Sequence[int]) -> list[float]:
    """Of many more pairs are of two classes than of one, so that counts would hide the latter."""
    whole = sum(counts) or 1
    return [count / whole for count in counts]


def moved(study: Study) -> list[Moved]:
    """The thresholds by false match rate, the largest rate first; only where today's is known."""
    rates = sorted({t.false_match_rate for t in study.thresholds}, reverse=True)
    found = [Moved(r, {t.stage: t for t in study.thresholds if t.false_match_rate == r}) for r in rates]
    return [m for m in found if "today" in m.at]


def overlap_chart(study: Study) -> Chart:
    """How many items keep how many of their nearest neighbours."""
    overlap = study.overlap
    return Chart(
        "How many of its nearest neighbours does an item keep?", range(len(overlap.counts)),
        [Series("items", overlap.counts, look=2)], f"of {overlap.k} neighbours that both versions agree on", "items",
        y_unit="count", kind="bars", name="overlap",
        note=f"On average {100 * overlap.mean:.1f} %. Few kept neighbours are no fault by themselves: better ones may have come.",
    )  # fmt: skip


def filling_charts(study: Study, today: Mapping[str, float]) -> list[Chart]:
    """Quality by the share that is stored anew, a chart for each metric, with today's and the last level as lines."""
    return [
        _filling(study, metric, today.get(metric)) for metric in sorted({f.metric for f in study.filling}, reverse=True)
    ]


def _filling(study: Study, metric: str, today: float | None) -> Chart:
    curves = {f.order: f.curve for f in study.filling if f.metric == metric}
    first = next(iter(curves.values()))
    levels = [
        ("today", today),
        ("upgraded", first.values[0] if study.has_path else None),
        ("backfilled", first.values[-1]),
    ]
    series = [Series(_ORDERS[o][0], c.values, c.low, c.high, look=_ORDERS[o][1]) for o, c in curves.items()]
    raw = next((f.raw for f in study.filling if f.metric == metric and f.order == "random"), None)
    if raw is not None:
        series.append(Series("random order, not calibrated", raw.values, look=6))
    series += [
        Series(stage, [value] * len(first.at), look=_LOOKS[stage], level=True)
        for stage, value in levels
        if value is not None
    ]
    return Chart(
        f"{METRIC_NAMES[metric]} by the share that is embedded anew; higher is better", first.at, series,
        "share re-embedded", METRIC_NAMES[metric], x_unit="percent", name=f"filling-{metric.replace('@', '-')}",
    )  # fmt: skip
