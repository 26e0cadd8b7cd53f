"""The store of runs: MLflow, imported only where it is asked."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from registry.errors import InvalidInput, MissingExtra, Unavailable

__all__ = ["default_uri", "first_line", "load_function", "open_client", "require", "shown"]


def default_uri(home: str | os.PathLike[str]) -> str:
    """The tracking address inside the folder `home`: `sqlite:///<home>/mlflow.db`."""
    return f"sqlite:///{Path(home).resolve() / 'mlflow.db'}"


def require() -> None:
    """Make MLflow ready to be imported, with its reports to its makers switched off and its chatter too.

    Raises:
        MissingExtra: MLflow is not installed.
    """
    # MLflow reads this when it is imported, and would report each use to its makers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow  # noqa: F401
    except ImportError as error:
        raise MissingExtra("tracking needs MLflow: pip install 'samespace[tracking]'") from error
    # A fresh store announces each of its migrations.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def open_client(tracking_uri: str | None) -> Any:
    """MLflow's client of a store; None is MLflow's current tracking address.

    Raises:
        MissingExtra: MLflow is not installed.
        Unavailable: the store cannot be opened.
    """
    require()
    from mlflow import MlflowClient

    try:
        return MlflowClient(tracking_uri=tracking_uri)
    except Exception as error:  # whatever the store's driver raises
        raise Unavailable(
            f"the tracking store {shown(tracking_uri)} cannot be opened: {shown(first_line(error))}"
        ) from error


def load_function(uri: str, tracking_uri: str | None) -> Callable[[Any], Any]:
    """The `predict` of the model at `uri`, such as `models:/products/7`, by its python_function flavour.

    Loading a model runs code of whoever logged it: it is for whoever names the model, never for a server.

    Raises:
        MissingExtra: MLflow is not installed.
        InvalidInput: there is no such model, or it cannot be loaded.
    """
    require()
    import mlflow

    try:
        if tracking_uri is not None:
            mlflow.set_tracking_uri(tracking_uri)
        loaded = mlflow.pyfunc.load_model(uri)
    except Exception as error:  # whatever MLflow, or the model, raises
        raise InvalidInput(f"the encoder {uri} cannot be loaded: {shown(first_line(error))}") from error
    schema = loaded.metadata.get_input_schema()
    wanted = schema.inputs[0] if schema is not None and schema.is_tensor_spec() else None

    def predict(given: Any) -> Any:
        if wanted is not None and hasattr(given, "shape") and not _fits(given.shape, wanted.shape):
            names = ["n" if size < 0 else str(size) for size in wanted.shape]
            raise InvalidInput(
                f"{uri} takes ({', '.join(names)}) {wanted.type}, got {given.shape} {given.dtype}: name a package.module:function "
                "that makes the one of the other and calls the model"
            )
        return loaded.predict(given)

    return predict


def _fits(given: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(given) == len(wanted) and all(w < 0 or g == w for g, w in zip(given, wanted, strict=True))


def first_line(error: Exception) -> str:
    """What an error of MLflow says, in one line."""
    return (str(error) or repr(error)).splitlines()[0]


def shown(text: str | None) -> str:
    """Text that may hold an address, without the name and password in it."""
    return re.sub(r"//[^/@\s]*@", "//***@", text or "of MLflow's own settings")
