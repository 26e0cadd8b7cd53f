"""`samespace train`: an encoder from data, tracked by MLflow and registered as a version."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from registry.cli.context import Context, pass_context
from registry.cli.files import pairs
from registry.errors import InvalidInput
from registry.refs import check_name

if TYPE_CHECKING:
    from align.config import TrainConfig

_OWN_OPTION = {"method": "the argument METHOD", "dim": "--dim", "epochs": "--epochs", "seed": "--seed"}
_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@click.command("train")
@click.argument("method", type=click.Choice(["independent", "oca"]))
@click.option("--model", required=True, help="The model of which the encoder becomes the next version.")
@click.option(
    "--data", required=True, metavar="SET", help="'digits', or an .npz file with x_train, y_train, x_test, y_test."
)
@click.option("--classes", help="Train on these classes only, such as 0-4; on all by default.")
@click.option(
    "--dim",
    type=click.IntRange(min=1),
    help="Width of the embedding; by default 32, or for oca the old width and a half.",
)
@click.option("--old", help="The version to stay compatible with (oca), such as products/1.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training data.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--option",
    "-o",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other option of align.train.TrainConfig; may be repeated.",
)
@pass_context
def command(
    context: Context, method: str, model: str, data: str, classes: str | None, dim: int | None, old: str | None,
    epochs: int | None, seed: int, options: tuple[str, ...],
) -> None:  # fmt: skip
    """Train an encoder by METHOD, log the run to MLflow, and register the encoder as the next version of MODEL."""
    from align import publish, tracking, train
    from align.config import TrainConfig
    from align.data import load

    if (method == "independent") == bool(old):
        hint = "independent uses no --old: leave it out" if old else f"{method} needs --old, such as --old {model}/1"
        raise click.UsageError(hint)
    check_name(model, "model")
    dataset = load(data)
    with context.open(create=True) as reg:
        parent = reg.version(old) if old else None
        chosen: dict[str, Any] = {"dim": dim or (parent.dim * 3 // 2 if parent else None), "epochs": epochs}
        given = {name: value for name, value in chosen.items() if value is not None}
        config = TrainConfig(method=method, seed=seed, **given, **_parsed(TrainConfig, options))  # type: ignore[arg-type]
        before = publish.encoder_of(parent, tracking_uri=context.tracking_uri) if parent else None
        with (
            tracking.start(home=context.home, experiment=model, run_name=f"{model} {method}") as tracker,
            context.progress() as bars,
        ):
            task = bars.add_task(f"training {method}", total=config.epochs)
            result = train.run(
                config, dataset, classes=classes, old=before, tracker=tracker, progress=lambda _: bars.advance(task)
            )
        version = publish.add_encoder(
            reg,
            result.encoder,
            model=model,
            method=method,
            parent=parent.ref if parent else None,
            run_id=tracker.run_id,
        )
    if not context.report(version):
        click.echo(f"trained {version.ref}: {version.dim}-d, {method}, run {version.run_id}")
        if parent:
            click.echo(
                f"its first {parent.dim} dimensions read as {parent.ref}; measure it with 'samespace evaluate BENCHMARK'"
            )


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
        if kind is not bool:
            return text if kind in (str, type(None)) else kind(text)
    except ValueError:
        pass
    wanted = "true or false" if kind is bool else {int: "a whole number", float: "a number"}[kind]
    raise InvalidInput(f"--option {name} takes {wanted}, got {text!r:.80}")
