"""What to do next on an upgrade, by its advice: sentences, with the command or the code that does it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from registry.types import Study
from web.comparisons import Answer

__all__ = ["Step", "Stored", "next_steps"]

_DIP = 0.01
"""A fall of mAP that a mixed gallery is warned of."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do; `transforms` are registered maps that it is about, `link` is a part of this page that tells more, and its words."""

    says: str
    code: str | None = None
    transforms: Sequence[str] = ()
    link: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the two versions stored vectors: gallery -> rows of the old one, and the galleries that hold rows of both.

    Benchmarks are left out. `aliases` are what services call the old version by.
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    both: Sequence[str] = ()
    aliases: Sequence[str] = ()

    @property
    def largest(self) -> str:
        """The gallery where the old version stored most; a word in its place where it stored nothing."""
        return max(self.rows, key=lambda name: self.rows[name], default="GALLERY")


def next_steps(answer: Answer, stored: Stored, study: Study | None) -> list[Step]:
    """What to do, first things first; with a study they lead to its parts of the page."""
    advice = answer.comparison.advice
    if advice == "stay":
        return list(_stay(answer, stored))
    ahead = _backfill if advice == "backfill" else _go
    return list(ahead(answer, stored, study))


def _go(answer: Answer, stored: Stored, study: Study | None) -> Iterator[Step]:
    old, new = answer.comparison.old, answer.comparison.new
    e = next(iter(answer.way.values()))
    if answer.comparison.advice == "bridge with a transform":
        yield Step(
            f"The bridge is registered and measured: {e.way}. Every search of {new} goes over it by itself.",
            transforms=(*e.query_path, *e.gallery_path),
        )
    side = ", side={" + f'"{old}": old_queries' + "}" if "slerp" in e.kinds else ""
    yield Step(
        f"Search with {new} now; the vectors that {old} stored stay as they are.",
        f'reg.search("{stored.largest}", queries, version="{new}"{side})',
    )
    yield from _aliases(old, new, stored)
    if study:
        yield Step("Where a score decides whether items match, set its threshold anew:", link=("scores", "thresholds"))
    yield _new_items(old, new, stored, study)


def _new_items(old: str, new: str, stored: Stored, study: Study | None) -> Step:
    """Which version embeds what comes from now on: where scores of both mix badly, that costs quality."""
    if study is None:
        return Step(
            f"Before new items are written with {new}, see what a gallery with vectors of both is worth:",
            link=("study", "needs a study"),
        )
    if (dip := _dip(study)) is not None:
        share, before, after = (f"{100 * x:.0f}" for x in dip)
        how = (
            "even calibrated, scores of both versions mix badly"
            if _calibrated(study)
            else (
                "the study merged scores of both versions as they are (evaluations measure a calibration now: evaluate and "
                "study anew)"
            )
        )
        return Step(
            f"Write new items with {old} still, or re-embed all: {how}, and with "
            f"{share} % of a gallery written by {new}, mAP was {after} % instead of {before}.",
            link=("planner", "the planner below"),
        )
    return Step(
        f"Write new items with {new} from now on: a gallery may hold vectors of both.",
        f'reg.append("{stored.largest}", version="{new}", ids=ids, vectors=vectors)',
    )


def _calibrated(study: Study) -> bool:
    """Whether the study's curves are of calibrated scores."""
    return any(f.raw is not None for f in study.filling)


def _dip(study: Study) -> tuple[float, float, float] | None:
    """Where mAP is lowest while a gallery is mixed in random order: the share, mAP before and there; None where it holds."""
    curve = next((f.curve for f in study.filling if f.order == "random" and f.metric == "map"), None)
    if curve is None:
        return None
    value, share = min(zip(curve.values, curve.at, strict=True))
    return (share, curve.values[0], value) if curve.values[0] - value > _DIP else None


def _aliases(old: str, new: str, stored: Stored) -> Iterator[Step]:
    model, _, number = new.partition("/")
    if old.partition("/")[0] != model:
        return
    for alias in stored.aliases or ("champion",):
        yield Step(
            f"Let {model}@{alias} mean {new}, so that services take it up.",
            _run("model", "alias", model, alias, number),
        )


def _backfill(answer: Answer, stored: Stored, study: Study | None) -> Iterator[Step]:
    old, new = answer.comparison.old, answer.comparison.new
    yield Step(
        f"Keep searching with {old} until enough is stored anew. What that costs, and what a part of it brings:",
        link=("planner", "the planner below") if study else ("study", "needs a study"),
    )
    others = len(stored.rows) - 1
    yield Step(
        f"Embed the items with {new} and store them beside the old vectors, a batch at a time"
        + (f"; the same for {others} more {'gallery' if others == 1 else 'galleries'}." if others > 0 else "."),
        _run("backfill", "plan", stored.largest, "--into", new, "--encoder", "ENCODER"),
    )
    if answer.way:
        yield from _better_bridge(answer, stored)
    else:
        yield from _bridge(answer, stored)


def _bridge(answer: Answer, stored: Stored) -> Iterator[Step]:
    """There is no path: a map may make one."""
    new = answer.comparison.new
    yield Step(
        f"Or see whether a map leads from {new} to what is stored; it needs items that both embedded.",
        _fit(answer, stored, "auto"),
    )
    yield _measure(answer)


def _better_bridge(answer: Answer, stored: Stored) -> Iterator[Step]:
    yield Step("Or try a richer map than those that were measured.", _fit(answer, stored, "mlp"))
    yield _measure(answer)


def _stay(answer: Answer, stored: Stored) -> Iterator[Step]:
    old, new = answer.comparison.old, answer.comparison.new
    yield Step(f"Leave {old} in place. That is the measured answer, and nothing has to be run.")
    if not answer.way:
        yield from _bridge(answer, stored)
    elif any(line.state == "inconclusive" for line in answer.lines):
        more = (
            "Some verdicts are open: append more labelled items to the benchmark, embedded by both, and measure again."
        )
        yield _measure(answer, more)
    model = new.partition("/")[0]
    yield Step(
        "For the next version, train one that is made to read what is stored.",
        _run("train", "oca", "--model", model, "--data", "DATA", "--old", old),
    )


def _fit(answer: Answer, stored: Stored, method: str) -> str:
    c = answer.comparison
    pairs = next(iter(stored.both), "GALLERY")
    return _run("fit", method, "--source", c.new, "--target", c.old, "--gallery", pairs)


def _measure(answer: Answer, says: str = "Then measure what it brings.") -> Step:
    c = answer.comparison
    which = ("--label", answer.label, "--version", c.old, "--version", c.new)
    return Step(says, _run("evaluate", c.benchmark, *which))


def _run(*words: str) -> str:
    """A command line for a shell, whatever is in the names."""
    return shlex.join(("samespace", *words))
