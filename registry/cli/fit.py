"""`samespace fit`: a bridge between two spaces from stored pairs, or a way into a relative space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from registry.cli.context import Context, pass_context
from registry.cli.fitted import advice, candidate_table, held_out_table, numbers, tracked
from registry.cli.methods import METHODS, parsed, taken
from registry.cli.relative import anchors, relative
from registry.errors import InvalidInput, NotWorthIt

if TYPE_CHECKING:
    from align.bridges import Hub
    from align.tracking import Tracker
    from registry.connecting import Connection
    from registry.transforms import Transform
    from registry.types import TransformInfo, Version


@dataclass(frozen=True)
class _Request:
    """What was asked for, and by whom."""

    context: Context
    method: str
    gallery: str
    label: str | None
    holdout: float
    seed: int
    options: dict[str, Any]
    dry_run: bool


@click.group("fit")
def command() -> None:
    """Fit a bridge between two spaces, or a way into a relative one.

    A tenth of the pairs is held out and never fitted to: the report says what the map finds among them, beside what the
    old version finds alone, and calibrates the map's scores on them, for galleries that hold vectors of several versions.
    Begin with auto, which compares the closed forms and says so where none is worth it.
    """


_holdout = click.option(
    "--holdout",
    type=click.FloatRange(0.01, 0.5),
    default=0.1,
    show_default=True,
    help="Share of the pairs to hold out.",
)
_seed = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Picks the held-out pairs.")
_dry_run = click.option("--dry-run", is_flag=True, help="Fit and report, but register and track nothing.")


def _bridge(method: str, summary: str) -> None:
    @command.command(method, help=summary, short_help=summary)
    @click.option("--source", required=True, help="The version whose vectors are to be mapped, usually the new one.")
    @click.option("--target", required=True, help="The version whose space they are to reach, usually the old one.")
    @click.option("--gallery", required=True, help="A gallery that holds vectors of the same items by both.")
    @click.option(
        "--benchmark-label",
        "label",
        help="Its label column, if it has one: CMC@1 and mAP by it are reported; slerp and lambda-orthogonal also learn from it.",
    )
    @_holdout
    @_seed
    @click.option("--option", "-o", "options", multiple=True, metavar="NAME=VALUE", help=taken(method))
    @_dry_run
    @pass_context
    def run(
        context: Context, source: str, target: str, gallery: str, label: str | None, holdout: float, seed: int,
        options: tuple[str, ...], dry_run: bool,
    ) -> None:  # fmt: skip
        given = parsed(method, options)
        request = _Request(context, method, gallery, label, holdout, seed, given, dry_run)
        with context.open() as reg:
            ends = reg.version(source), reg.version(target)
            if ends[0] == ends[1]:
                raise InvalidInput(f"a bridge leads from one version to another, got {ends[0].ref} twice")
            _fit(request, reg, *ends)


def _fit(request: _Request, reg: Connection, source: Version, target: Version) -> None:
    """Fit one map, register it, and report."""
    context, old = request.context, source.ref if request.method == "fct" else target.ref
    with _run(request, f"{source.ref} to {target.ref}", {"source": source.ref, "target": target.ref}) as tracker:
        try:
            fitted = _fitted(request, reg, source, target)
        except NotWorthIt as error:
            if tracker is not None:
                tracker.log_metrics(tracked(error.report))
            if not context.report(error.report):
                _show(context, error.report, old)
            raise
        info = _register(reg, fitted, source, target, tracker)
    if not context.report(info or {"method": request.method, "report": fitted.report}):
        _say(context, fitted, info, source.ref, target.ref, old)


def _say(context: Context, fitted: Transform, info: TransformInfo | None, source: str, target: str, old: str) -> None:
    """What the map finds, and what became of it."""
    _show(context, fitted.report, old)
    done = f"would register {fitted.kind}" if info is None else f"registered {info.id}"
    click.echo(f"{done}: {source} -> {target}, {numbers(fitted.report)}")
    if info is not None:
        click.echo("nobody measured it on a benchmark yet: run 'samespace evaluate BENCHMARK'")


def _register(
    reg: Connection, fitted: Transform, source: Version, target: Version, tracker: Tracker | None
) -> TransformInfo | None:
    """Track and register a map; not so in a dry run."""
    if tracker is None:
        return None
    from align import publish

    tracker.log_metrics(tracked({name: part for name, part in fitted.report.items() if isinstance(part, Mapping)}))
    return publish.add_fit(reg, fitted, source=source.ref, target=target.ref, tracker=tracker)


def _fitted(request: _Request, reg: Connection, source: Version, target: Version) -> Transform:
    from align.bridges import fit

    shared = reg.shared(request.gallery, versions=[source.ref, target.ref], label=request.label)
    method: Any = request.method  # `auto` and others give a transform; only `gpa`, a command of its own, a hub
    with request.context.progress() as bars:
        task = bars.add_task(f"fitting {method}", total=len(shared))
        fitted: Transform = fit(
            ((x, y) for x, y in shared), method=method, metrics=(source.metric, target.metric), holdout=request.holdout,
            normalize=source.metric == target.metric == "cosine", labels=shared.labels, seed=request.seed,
            progress=lambda done, total: bars.update(task, completed=done, total=total or len(shared)), **request.options,
        )  # fmt: skip
    return fitted


@contextmanager
def _run(request: _Request, what: str, params: Mapping[str, Any]) -> Iterator[Tracker | None]:
    """An MLflow run, or none for a dry run."""
    if request.dry_run:
        yield None
        return
    from align import tracking

    name = f"{request.method} {what}"
    with tracking.start(home=request.context.home, experiment="bridges", run_name=name) as tracker:
        shared = {
            "method": request.method,
            "gallery": request.gallery,
            "holdout": request.holdout,
            "seed": request.seed,
        }
        tracker.log_params({**shared, **params, **request.options})
        yield tracker


def _show(context: Context, report: Mapping[str, Any], old: str) -> None:
    for table in (candidate_table(report), held_out_table(report, old=old)):
        if table is not None:
            context.out.print(table)
    if "best" not in report:
        click.echo(advice(report, old=old))


for _method, _summary in METHODS.items():
    _bridge(_method, _summary)


@command.command("gpa", short_help="A hub for three versions or more: one map for each instead of one for each pair.")
@click.option(
    "--version", "versions", multiple=True, required=True, help="A version of the hub; give each, the oldest first."
)
@click.option("--gallery", required=True, help="A gallery that holds vectors of the same items by all of them.")
@click.option("--reference", help="The version whose space the others are led into; by default the widest.")
@_holdout
@_seed
@_dry_run
@pass_context
def gpa(
    context: Context, versions: tuple[str, ...], gallery: str, reference: str | None, holdout: float, seed: int,
    dry_run: bool,
) -> None:  # fmt: skip
    """Lead three versions or more into the space of one of them (generalised Procrustes).

    Each gets one map, fitted to the consensus of all instead of to the reference alone, and any two of them then compare
    by two maps. GCPA's correction has no place here, since it moves the reference's own vectors as well: it belongs to a
    space of its own, which the registry does not have. In Python, align.bridges.fit_gpa(..., correct=True) fits it.
    """
    request = _Request(context, "gpa", gallery, None, holdout, seed, {}, dry_run)
    with context.open() as reg:
        found = [reg.version(ref) for ref in versions]
        refs = [version.ref for version in found]
        if len(set(refs)) < max(2, len(refs)) or len({version.metric for version in found}) > 1:
            raise InvalidInput(
                f"a hub joins two versions or more, each once and all of one metric, got {', '.join(refs)}"
            )
        place = refs.index(reg.version(reference).ref) if reference and reg.version(reference).ref in refs else None
        if reference and place is None:
            raise InvalidInput(f"{reference} is none of the hub's versions: name one of {', '.join(refs)}")
        hub = _hub(request, reg, found, place)
        infos = []
        target = found[hub.reference]
        for i, (version, fitted) in enumerate(zip(found, hub.maps, strict=True)):
            if i == hub.reference:
                continue
            with _run(request, f"{version.ref} to {target.ref}", {"versions": ", ".join(refs)}) as tracker:
                infos.append(_register(reg, fitted, version, target, tracker))
            if not context.as_json:
                old = version if i < hub.reference else target
                _say(context, fitted, infos[-1], version.ref, target.ref, old.ref)
    context.report([info for info in infos if info] or [fitted.report for fitted in hub.maps])


def _hub(request: _Request, reg: Connection, versions: list[Version], reference: int | None) -> Hub:
    from align.bridges import fit_gpa

    shared = reg.shared(request.gallery, versions=[version.ref for version in versions])
    metric = versions[0].metric
    with request.context.progress() as bars:
        task = bars.add_task("fitting gpa", total=len(shared))
        return fit_gpa(
            iter(shared), normalize=metric == "cosine", metrics=(metric, metric), reference=reference,
            holdout=request.holdout, seed=request.seed,
            progress=lambda done, _: bars.update(task, completed=done),
        )  # fmt: skip


command.add_command(anchors)
command.add_command(relative)
