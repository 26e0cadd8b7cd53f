"""Runs: parameters, metrics per epoch, code, data and environment, and the files that a run made, kept by MLflow.

MLflow is imported only where a run is started or an artifact fetched. A client object is used, never the global active
run or the global tracking address, so that two runs of one process cannot mix.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import InvalidInput, NotFound, Unavailable
from registry.tracking import default_uri, first_line, open_client, require

if TYPE_CHECKING:
    from align.config import TrainConfig
    from align.data import Dataset
    from align.encoders import Encoder
    from align.flavor import Pixels
    from registry.transforms import Transform

__all__ = ["Tracker", "default_uri", "fetch", "first_line", "open_client", "require", "start"]


@dataclass(frozen=True, eq=False)
class Tracker:
    """One run that is being written; made by `start`."""

    run_id: str
    experiment: str
    tracking_uri: str
    _client: Any = field(repr=False)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; each may be written once. None is written as `None`."""
        from mlflow.entities import Param

        self._client.log_batch(self.run_id, params=[Param(name, str(value)) for name, value in params.items()])

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log numbers of one step, such as an epoch."""
        import time

        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        rows = [Metric(name, float(value), now_ms, step) for name, value in metrics.items()]
        self._client.log_batch(self.run_id, metrics=rows)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; a later value replaces an earlier one."""
        for name, value in tags.items():
            self._client.set_tag(self.run_id, name, value)

    def log_artifact(self, path: str | os.PathLike[str], *, folder: str | None = None) -> str:
        """Copy a file into the run, and return its address, `runs:/<run id>/<name>`.

        Raises:
            NotFound: no such file.
        """
        source = Path(path)
        if not source.is_file():
            raise NotFound(f"no file {source} to log to run {self.run_id}")
        self._client.log_artifact(self.run_id, str(source), artifact_path=folder)
        return f"runs:/{self.run_id}/{f'{folder}/' if folder else ''}{source.name}"

    def log_text(self, text: str, name: str) -> None:
        """Keep `text` as the artifact `name`, such as a table in Markdown or a figure in SVG."""
        self._client.log_text(self.run_id, text, name)

    def log_figure(self, figure: Any, name: str) -> None:
        """Keep a Matplotlib or Plotly figure as the artifact `name` (.png, .svg or .html)."""
        self._client.log_figure(self.run_id, figure, name)

    def log_model(
        self,
        thing: Encoder | Transform,
        *,
        name: str,
        registered_model: str | None = None,
        alias: str | None = None,
        pixels: Pixels = "uint8",
    ) -> str:
        """Keep an encoder or a transform as a model of the `samespace` flavour, and return its address.

        Only this run's own client is used: neither MLflow's active run nor its tracking address is read or set.

        Args:
            thing: what to keep.
            name: the model's name in the run.
            registered_model: also make it the next version of this registered model, which is made on first use.
            alias: point this alias of the registered model at the new version.
            pixels: of an encoder, the type of images that its signature admits: that of the training images.

        Returns:
            `models:/<id>`, or `models:/<registered model>/<version>`.

        Raises:
            InvalidInput: a name that MLflow does not take, an alias without a model, or what `flavor.save_model` refuses.
        """
        from align import logged

        logged.check_names(name, registered_model, alias)
        model = logged.log(self._client, self.run_id, thing, name=name, pixels=pixels)
        if registered_model is None:
            return f"models:/{model.model_id}"
        version = logged.register(self._client, model, name=registered_model, alias=alias)
        return f"models:/{registered_model}/{version}"

    def log_training(self, config: TrainConfig, data: Dataset, *, old: Encoder | None = None) -> None:
        """Log all options, the data's digest and size, and the old encoder's weights digest."""
        facts = {"data": data.name, "data_digest": data.digest(), "train_items": len(data.x_train)}
        if old is not None:
            facts["old_weights"] = old.fingerprint()["weights"]
        self.log_params({**asdict(config), **facts})


@contextmanager
def start(
    tracking_uri: str | None = None,
    experiment: str = "samespace",
    run_name: str | None = None,
    *,
    home: str | os.PathLike[str] | None = None,
) -> Iterator[Tracker]:
    """Open a run, and end it as FINISHED, or FAILED where the block raises.

    Args:
        tracking_uri: where runs are kept; by default `default_uri(home)`, with artifacts in `<home>/mlruns`.
        experiment: the experiment's name, made on first use.
        run_name: a name for people; MLflow makes one up by default.
        home: the folder of the registry, for the default address.

    Raises:
        InvalidInput: neither a tracking address nor a home.
        MissingExtra: MLflow is not installed.
        Unavailable: the tracking store cannot be reached.
    """
    if tracking_uri is None and home is None:
        raise InvalidInput("tracking needs an address or a home folder, got neither: pass home= or tracking_uri=")
    artifacts = None
    if tracking_uri is None and home is not None:
        Path(home).mkdir(parents=True, exist_ok=True)
        tracking_uri = default_uri(home)
        artifacts = (Path(home).resolve() / "mlruns").as_uri()
    client = open_client(str(tracking_uri))
    try:
        experiment_id = _experiment(client, experiment, artifacts)
        run = client.create_run(experiment_id, run_name=run_name, tags=_environment())
    except Exception as error:  # MLflow raises whatever its store does
        raise Unavailable(f"the tracking store {tracking_uri} cannot be used: {first_line(error)}") from error
    tracker = Tracker(run.info.run_id, experiment, str(tracking_uri), client)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    finally:
        client.set_terminated(tracker.run_id, status)


def fetch(uri: str, folder: str | os.PathLike[str], *, tracking_uri: str | None) -> Path:
    """Copy what a run or the model registry keeps into `folder`, and return the path of the copy.

    Args:
        uri: `runs:/<run id>/<file or folder>`; or a model's folder by `models:/<id>`, `models:/<name>/<version>` or
            `models:/<name>@<alias>`.
        folder: where to.
        tracking_uri: the store; None is MLflow's current tracking address.

    Raises:
        InvalidInput: an address that does not parse.
        NotFound: no such run, artifact, model, version or alias.
        MissingExtra: MLflow is not installed.
    """
    from align import logged

    address = logged.parse(uri)
    client = open_client(tracking_uri)
    Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        if address.run_id is not None:
            return Path(client.download_artifacts(address.run_id, address.path, str(folder)))
        return logged.download(client, address, Path(folder))
    except Exception as error:  # MLflow raises OSError or its own, by the kind of store
        raise NotFound(f"{uri} is not in {tracking_uri or 'the tracking store'}: {first_line(error)}") from error


def _experiment(client: Any, name: str, artifacts: str | None) -> str:
    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except Exception:
            # Another process may have made it since we looked.
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
    return str(known.experiment_id)


def _environment() -> dict[str, str]:
    """Tags that say which code and machine a run is of."""
    from align.encoders import library_versions

    tags = {f"env.{name}": value for name, value in library_versions().items()}
    tags |= {"env.platform": platform.platform(), "env.cpus": str(os.cpu_count())}
    commit = _commit()
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def _commit() -> str | None:
    """The commit of the working directory, if it is in a repository, marked if it was changed since."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
