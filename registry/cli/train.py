"""`samespace train`: an encoder from data, tracked by MLflow and registered as a version."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import click

from registry.cli.context import Context, pass_context
from registry.cli.files import pairs
from registry.cli.train_anchors import command as anchors
from registry.errors import InvalidInput
from registry.refs import check_name

if TYPE_CHECKING:
    from align.config import TrainConfig

_OWN_OPTION = {"method": "the subcommand", "dim": "--dim", "epochs": "--epochs", "seed": "--seed"}
_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_WIDER = ("oca", "bt2")
"""Methods that learn their extra dimensions: half as wide again as the old model, where no width is given."""


@click.group("train")
def command() -> None:
    """Train an encoder, log the run and register it as a version; or learn the anchors of a relative space."""


command.add_command(anchors)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--model", required=True, help="The model of which the encoder becomes the next version."),
    click.option(
        "--data", required=True, metavar="SET", help="'digits', an .npz file (arrays or JPEG sheets), or a folder of images by class."
    ),
    click.option("--classes", help="Train on these classes only, such as 0-4; on all by default."),
    click.option("--dim", type=click.IntRange(min=1), help="Width of the embedding; by default it follows the old one."),
    click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training data."),
    click.option("--seed", type=int, default=0, show_default=True),
    click.option("--preset", type=click.Choice(["tuned", "published"]), default="tuned", show_default=True,
                 help="Our defaults, or the recipe of the published OCA code."),
    click.option("--checkpoint", type=click.Path(dir_okay=False), metavar="FILE",
                 help="Written after each epoch; a run that finds it goes on from there."),
    click.option("--trust", multiple=True, metavar="MODULE:FACTORY",
                 help="A backbone of yours that an older version's encoder may import."),
    click.option("--option", "-o", "options", multiple=True, metavar="NAME=VALUE",
                 help="Any other option of align.train.TrainConfig; may be repeated."),
)  # fmt: skip
_OLD = click.option(
    "--old", multiple=True, help="The version to stay compatible with; in a chain several, the newest first."
)
_REFERENCE = click.option(
    "--reference", required=True, help="An independent version of the same classes to learn from."
)


def _method(name: str, summary: str, *more: Callable[[Any], Any]) -> None:
    def run(context: Context, **given: Any) -> None:
        _train(context, name, **given)

    for option in reversed((*_OPTIONS, *more)):
        run = option(run)
    command.command(name, help=summary)(pass_context(run))


_method("independent", "No constraint: the best of its own space, and unreadable to every other.")
_method("bct", "Backward-compatible training: the frozen old classifier must classify the new embedding too.", _OLD)
_method("lce", "As bct, and each class must stay within its old boundary.", _OLD)
_method("oca", "Extra dimensions and an orthogonal layer beside the alignment: the one to try first.", _OLD)
_method("bt2", "As oca, and learns from an independently trained version.", _OLD, _REFERENCE)
_method("dsimplex", "A fixed simplex as classifier, the same in every version; with --old, contrasted with it.", _OLD)


def _train(
    context: Context, method: str, *, model: str, data: str, classes: str | None, dim: int | None, epochs: int | None,
    seed: int, preset: str, checkpoint: str | None, options: tuple[str, ...], old: tuple[str, ...] = (),
    reference: str | None = None,
    trust: tuple[str, ...] = (),
) -> None:  # fmt: skip
    from align import publish, reporting, tracking, train
    from align.config import ALIGNED
    from align.data import load

    if method in ALIGNED and not old:
        raise click.UsageError(f"{method} needs --old, such as --old {model}/1")
    check_name(model, "model")
    dataset = load(data)
    with context.open(create=True) as reg:
        olds = [reg.version(ref) for ref in old]
        taught = reg.version(reference) if reference else None
        width = dim or _width(method, [v.dim for v in olds], len(dataset.class_names))
        config = _config(method, preset, options, dim=width, epochs=epochs, seed=seed)
        before = [publish.encoder_of(v, tracking_uri=context.tracking_uri, trust=trust) for v in olds]
        teacher = publish.encoder_of(taught, tracking_uri=context.tracking_uri, trust=trust) if taught else None
        work = {"classes": classes, "old": before, "reference": teacher, "checkpoint": checkpoint}
        if int(os.environ.get("RANK", "0")):  # one of the helpers that torchrun started: the first one reports
            train.run(config, dataset, **work)  # type: ignore[arg-type]
            return
        with (
            tracking.start(home=context.home, experiment=model, run_name=f"{model} {method}") as tracker,
            context.progress() as bars,
        ):
            task = bars.add_task(f"training {method}", total=config.epochs)
            result = train.run(config, dataset, **work, tracker=tracker, progress=lambda _: bars.advance(task))  # type: ignore[arg-type]
            bars.update(task, description="measuring on the test part")
            reporting.log_report(tracker, result, dataset, old=before, reference=teacher)
            version = publish.add_encoder(
                reg, result.encoder, model=model, method=method, olds=[v.ref for v in olds], tracker=tracker,
                pixels=str(dataset.x_train.dtype),  # type: ignore[arg-type]
            )  # fmt: skip
    if not context.report(version):
        click.echo(f"trained {version.ref}: {version.dim}-d, {method}, run {version.run_id}")
        for v in olds:
            click.echo(f"its first {v.dim} dimensions read as {v.ref}; measure it with 'samespace evaluate BENCHMARK'")


def _width(method: str, olds: list[int], classes: int) -> int | None:
    """The width of the embedding where none is given; None leaves it to TrainConfig."""
    if method == "dsimplex":
        return max([*olds, classes - 1, 32])
    if not olds:
        return None
    return max(olds) * 3 // 2 if method in _WIDER else max(olds)


def _config(
    method: str, preset: str, options: tuple[str, ...], *, dim: int | None, epochs: int | None, seed: int
) -> TrainConfig:
    from align.config import TrainConfig

    chosen: dict[str, Any] = {"dim": dim, "epochs": epochs}
    given = {name: value for name, value in chosen.items() if value is not None}
    given |= _parsed(TrainConfig, options)
    if preset == "published":
        dim = given.pop("dim", 160)
        return replace(TrainConfig.published(method, dim=dim, seed=seed), **given)  # type: ignore[arg-type]
    return TrainConfig(method=method, seed=seed, **given)  # type: ignore[arg-type]


def _parsed(config: type[TrainConfig], options: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE with the type that the option's default has."""
    defaults: dict[str, Any] = {f.name: f.default for f in fields(config) if f.name not in _OWN_OPTION}
    parsed: dict[str, Any] = {}
    for name, text in pairs(options, "--option").items():
        if name in _OWN_OPTION:
            raise InvalidInput(f"{name} is not set by --option: use {_OWN_OPTION[name]}")
        if name not in defaults:
            raise InvalidInput(f"--option knows no {name!r:.80}: it takes {', '.join(defaults)}")
        parsed[name] = _value(name, text, type(defaults[name]))
    return parsed


def _value(name: str, text: str, kind: Any) -> Any:
    if kind is bool and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    try:
        if kind is tuple:
            return tuple(int(item) for item in text.split(","))
        if kind is not bool:
            return text if kind in (str, type(None)) else kind(text)
    except ValueError:
        pass
    wanted = {bool: "true or false", int: "a whole number", float: "a number", tuple: "whole numbers such as 16,32"}
    raise InvalidInput(f"--option {name} takes {wanted[kind]}, got {text!r:.80}")
