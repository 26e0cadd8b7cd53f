"""Runs: parameters, metrics per epoch, code, data and environment, and the files that a run made, kept by MLflow.

MLflow is imported only where a run is started or an artifact fetched. A client object is used, never the global active
run, so that two runs of one process cannot mix.
"""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import InvalidInput, MissingExtra, NotFound, Unavailable

if TYPE_CHECKING:
    from align.config import TrainConfig
    from align.data import Dataset
    from align.encoders import Encoder

__all__ = ["Tracker", "default_uri", "fetch", "start"]

ENCODER_FILE = "encoder.safetensors"


def default_uri(home: str | os.PathLike[str]) -> str:
    """The tracking address inside the folder `home`: `sqlite:///<home>/mlflow.db`."""
    return f"sqlite:///{Path(home).resolve() / 'mlflow.db'}"


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

    def log_encoder(self, encoder: Encoder, *, name: str = ENCODER_FILE) -> str:
        """Keep the encoder's file, and return its address."""
        with tempfile.TemporaryDirectory() as folder:
            encoder.save(Path(folder) / name)
            return self.log_artifact(Path(folder) / name)

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
    client = _client(str(tracking_uri))
    try:
        experiment_id = _experiment(client, experiment, artifacts)
        run = client.create_run(experiment_id, run_name=run_name, tags=_environment())
    except Exception as error:  # MLflow raises whatever its store does
        raise Unavailable(f"the tracking store {tracking_uri} cannot be used: {_first_line(error)}") from error
    tracker = Tracker(run.info.run_id, experiment, str(tracking_uri), client)
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    finally:
        client.set_terminated(tracker.run_id, status)


def fetch(uri: str, folder: str | os.PathLike[str], *, tracking_uri: str) -> Path:
    """Copy an artifact such as `runs:/<run id>/encoder.safetensors` into `folder`, and return its path.

    Raises:
        InvalidInput: not a `runs:/` address.
        NotFound: no such run or artifact.
        MissingExtra: MLflow is not installed.
    """
    run_id, _, path = uri.removeprefix("runs:/").partition("/")
    if not uri.startswith("runs:/") or not run_id or not path:
        raise InvalidInput(f"artifact address {uri!r} does not parse: write runs:/<run id>/<file>")
    client = _client(tracking_uri)
    Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        return Path(client.download_artifacts(run_id, path, str(folder)))
    except Exception as error:  # MLflow raises OSError or its own, by the kind of store
        raise NotFound(f"{uri} is not in {tracking_uri}: {_first_line(error)}") from error


def _client(tracking_uri: str) -> Any:
    # MLflow reads this when it is imported, and would report each use to its makers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise MissingExtra("tracking needs MLflow: pip install 'samespace[tracking]'") from error
    # A fresh store announces each of its migrations.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return MlflowClient(tracking_uri=tracking_uri)
    except Exception as error:  # whatever the store's driver raises
        raise Unavailable(f"the tracking store {tracking_uri} cannot be opened: {_first_line(error)}") from error


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


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0]
