"""Models that an MLflow store keeps, written and found by a client alone.

MLflow's own functions for this, `Model.log` and the `models:/` addresses of `mlflow.artifacts`, read the process's one
tracking address and active run; two runs of one process, or two stores, would mix.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import InvalidInput

if TYPE_CHECKING:
    from align.encoders import Encoder
    from align.flavor import Pixels
    from registry.transforms import Transform

__all__ = ["Address", "check_names", "download", "log", "parse", "register"]

_ADDRESS = re.compile(
    r"runs:/(?P<run_id>[^/]+)/(?P<path>.+)|models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[\w-]+))?"
)
_NAME = re.compile(r"[\w-]{1,250}")  # of a logged model, and of an alias
_REGISTERED = re.compile(r"[\w.-]{1,250}")
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)  # aliases that MLflow keeps for itself


@dataclass(frozen=True, slots=True)
class Address:
    """What an address says: a run and a path in it; or a model, whose `name` is an id if it has no version or alias."""

    run_id: str | None
    path: str | None
    name: str | None
    version: str | None
    alias: str | None


def parse(uri: str) -> Address:
    """Read `runs:/<run id>/<path>`, `models:/<id>`, `models:/<name>/<version>` or `models:/<name>@<alias>`.

    >>> parse("models:/digits@champion").alias
    'champion'

    Raises:
        InvalidInput: anything else.
    """
    match = _ADDRESS.fullmatch(uri)
    if match is None:
        raise InvalidInput(
            f"artifact address {uri!r:.200} does not parse: write runs:/<run id>/<file>, models:/<name>/<version> or models:/<name>@<alias>"
        )
    return Address(**match.groupdict())


def check_names(name: str, registered_model: str | None, alias: str | None) -> None:
    """Refuse, before anything is written, the names that MLflow would refuse half way.

    Raises:
        InvalidInput: such a name, or an alias without a registered model.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"a logged model's name is 1 to 250 letters, digits, '_' or '-', got {name!r:.300}")
    if registered_model is not None and not (_REGISTERED.fullmatch(registered_model) and registered_model.strip(".")):
        raise InvalidInput(
            f"a registered model's name is 1 to 250 letters, digits, '.', '_' or '-', got {registered_model!r:.300}"
        )
    if alias is None:
        return
    if registered_model is None:
        raise InvalidInput(f"alias {alias!r:.300} needs a registered model to point into: pass registered_model=")
    if not _NAME.fullmatch(alias) or _RESERVED.fullmatch(alias):
        raise InvalidInput(
            f"an alias is 1 to 250 letters, digits, '_' or '-', but not 'latest' or 'v1', got {alias!r:.300}"
        )


def log(client: Any, run_id: str, thing: Encoder | Transform, *, name: str, pixels: Pixels) -> Any:
    """Keep an encoder or a transform as a model that a run made. Returns MLflow's `LoggedModel`."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    from align import flavor

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "model"
        mlmodel = Model(run_id=run_id)
        flavor.save_model(thing, plain, mlmodel, pixels=pixels)  # first, so that what it refuses leaves no trace
        run = client.get_run(run_id)
        model = client.create_logged_model(run.info.experiment_id, name, run_id, params=run.data.params)
        status = "FAILED"
        try:
            mlmodel.artifact_path = model.artifact_location
            mlmodel.model_id = mlmodel.model_uuid = model.model_id
            mlmodel.save(str(plain / "MLmodel"))
            client.log_model_artifacts(model.model_id, str(plain))
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            status = "READY"
        finally:
            client.finalize_logged_model(model.model_id, status)
    return model


def register(client: Any, model: Any, *, name: str, alias: str | None) -> str:
    """Make a `LoggedModel` the next version of a registered model, let `alias` point at it, and return its number."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # By its location: a source of `models:/<id>` would be looked up by the global tracking address.
    made = client.create_model_version(
        name, source=model.artifact_location, run_id=model.source_run_id, model_id=model.model_id
    )
    # What MLflow's pages follow from the run's model to the registered version.
    links = json.dumps([{"name": name, "version": made.version}])
    client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": links})
    if alias is not None:
        client.set_registered_model_alias(name, alias, made.version)
    return str(made.version)


def download(client: Any, address: Address, folder: Path) -> Path:
    """Copy the folder of a model into `folder`; whatever MLflow raises where there is none."""
    from mlflow import artifacts

    name, version = address.name, address.version
    if address.alias is not None:
        version = client.get_model_version_by_alias(name, address.alias).version
    if version is None:
        location = client.get_logged_model(name).artifact_location
    else:
        location = client.get_model_version_download_uri(name, str(version))
    copied = artifacts.download_artifacts(artifact_uri=location, dst_path=str(folder), tracking_uri=client.tracking_uri)
    return Path(copied)
