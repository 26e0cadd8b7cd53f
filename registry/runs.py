"""Runs of training and fitting, as MLflow keeps them: read, never written. MLflow is imported by the first question."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry.errors import InvalidInput, NotFound, SamespaceError, Unavailable
from registry.tracking import default_uri, first_line, open_client, shown
from registry.types import Page

__all__ = ["STATUSES", "Measured", "Run", "Runs"]

STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
"""What a run can be, in MLflow's words."""

_CURVES = 24  # each is a question of its own
_POINTS = 2000  # of a curve that are shown
_OPENING_S = 10  # importing MLflow takes some of it
_RUN_TAG = "mlflow.runName"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: `metrics` are the newest values, `tags` those that people and samespace set."""

    id: str
    name: str
    experiment: str
    experiment_id: str
    status: str
    started_at: datetime
    ended_at: datetime | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def is_live(self) -> bool:
        """Whether more may come."""
        return self.status in ("RUNNING", "SCHEDULED")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a metric was at each step, rising."""

    metric: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


class Runs:
    """The runs in one store. Safe to share between threads."""

    def __init__(self, home: str, tracking_uri: str = "") -> None:
        """Args: the registry's folder, and the store; empty is `mlflow.db` in that folder."""
        self.uri = tracking_uri or default_uri(home)
        self._file = None if tracking_uri else Path(home) / "mlflow.db"
        self._opening: Future[Any] | None = None
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def exist(self) -> bool:
        """Whether there is a store; asking MLflow for one that is not there would make it."""
        return self._file is None or self._file.exists()

    def experiments(self) -> Mapping[str, str]:
        """Id -> name of all experiments that are not deleted."""
        if not self.exist():
            return {}
        with self._asking() as client:
            self._names = {str(e.experiment_id): str(e.name) for e in client.search_experiments()}
        return self._names

    def page(
        self,
        *,
        experiment: str | None = None,
        status: str | None = None,
        ids: Sequence[str] | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[Run]:
        """Runs, the newest first; of an experiment (its id), of a status, or among `ids` alone.

        Raises:
            InvalidInput: an unknown status, or a cursor that is none.
            NotFound: no such experiment.
        """
        if status is not None and status not in STATUSES:
            raise InvalidInput(f"there is no status {status!r:.80}: use one of {', '.join(STATUSES)}")
        _check_cursor(after)
        known = self.experiments()
        if experiment is not None and experiment not in known:
            raise NotFound(f"there is no experiment {experiment!r:.80}: choose one of those that are listed")
        if not known or (ids is not None and not ids):
            return Page((), None)
        conditions = [f"attributes.status = '{status}'"] if status else []
        if ids is not None:
            listed = ", ".join(f"'{id}'" for id in ids if id.isalnum())
            if not listed:
                return Page((), None)
            conditions.append(f"attributes.run_id IN ({listed})")
        with self._asking(cursor=after) as client:
            found = client.search_runs(
                [experiment] if experiment else list(known), filter_string=" AND ".join(conditions),
                max_results=limit, order_by=["attributes.start_time DESC"], page_token=after,
            )  # fmt: skip
        return Page(tuple(self._run(run) for run in found), found.token or None)

    def run(self, id: str) -> Run:
        """One run. NotFound if there is none."""
        if not self.exist() or not id.isalnum():
            raise _no_run(id)
        with self._asking(missing=_no_run(id)) as client:
            found = client.get_run(id)
        if found.info.experiment_id not in self._names:
            self.experiments()
        return self._run(found)

    def curves(self, run: Run) -> list[Measured]:
        """How the run's metrics went, step by step; those of one step alone are left out, and so are results (`a/b`)."""
        wanted = sorted(name for name in run.metrics if "/" not in name)[:_CURVES]
        with self._asking() as client:
            found = [(name, client.get_metric_history(run.id, name)) for name in wanted]
        return [_measured(name, points) for name, points in found if len(points) > 1]

    def artifacts(self, run: Run) -> list[str]:
        """The names of files and folders that the run kept, at the top."""
        with self._asking() as client:
            return [str(artifact.path) for artifact in client.list_artifacts(run.id)]

    def _run(self, found: Any) -> Run:
        info, data = found.info, found.data
        tags = {key: value for key, value in data.tags.items() if not key.startswith("mlflow.")}
        return Run(
            id=info.run_id, name=data.tags.get(_RUN_TAG) or info.run_name or info.run_id, status=info.status,
            experiment=self._names.get(str(info.experiment_id), str(info.experiment_id)), experiment_id=str(info.experiment_id),
            started_at=_moment(info.start_time), ended_at=_moment(info.end_time) if info.end_time else None,
            params=dict(data.params), metrics=dict(data.metrics), tags=tags,
        )  # fmt: skip

    def _client(self) -> Any:
        """The store's client. MLflow tries for minutes to reach a store that is down; a page does not wait for that."""
        with self._lock:
            if self._opening is None:
                self._opening = Future()
                threading.Thread(target=_open, args=(self._opening, self.uri), daemon=True).start()
            opening = self._opening
        try:
            return opening.result(_OPENING_S)
        except TimeoutError as error:
            _LOG.warning("the tracking store %s does not answer", shown(self.uri))
            raise _silent() from error
        except Exception:
            with self._lock:
                if self._opening is opening:
                    self._opening = None  # the next question tries again
            raise

    @contextmanager
    def _asking(self, *, missing: NotFound | None = None, cursor: str | None = None) -> Iterator[Any]:
        """The store's client; its errors become ours. Where the store is, and what it said, is for the log alone."""
        client = self._client()
        try:
            yield client
        except SamespaceError:
            raise
        except Exception as error:  # whatever MLflow's store raises
            if missing is not None and getattr(error, "error_code", "") in (
                "RESOURCE_DOES_NOT_EXIST",
                "INVALID_PARAMETER_VALUE",
            ):
                raise missing from error
            if cursor is not None and getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE":
                raise _no_cursor(cursor) from error
            _LOG.warning("the tracking store %s does not answer: %s", shown(self.uri), shown(first_line(error)))
            raise _silent() from error


def _check_cursor(cursor: str | None) -> None:
    """Refuse a cursor at which MLflow fails. Its own are base64 of {"offset": rows}; those of other stores it judges itself."""
    if cursor is None:
        return
    if not cursor.isascii():
        raise _no_cursor(cursor)
    try:
        found = json.loads(base64.b64decode(cursor))
    except (ValueError, RecursionError):
        return
    offset = found.get("offset") if isinstance(found, dict) else None
    if not isinstance(offset, int) or not 0 <= offset < 1 << 31:
        raise _no_cursor(cursor)


def _no_cursor(cursor: str) -> InvalidInput:
    return InvalidInput(f"{cursor!r:.80} is no cursor of runs: give `next` of a page as it came")


def _no_run(id: str) -> NotFound:
    return NotFound(f"there is no run {id!r:.80} in the store that is read here: see /runs for those there are")


def _silent() -> Unavailable:
    return Unavailable("the tracking store does not answer: look whether it runs, and into this server's log")


def _open(opened: Future[Any], uri: str) -> None:
    try:
        opened.set_result(open_client(uri))
    except BaseException as error:
        opened.set_exception(error)


def _measured(name: str, points: Sequence[Any]) -> Measured:
    """The last value of each step; of very long curves every so many."""
    last = {int(point.step): float(point.value) for point in sorted(points, key=_when)}
    steps = sorted(last)
    every = -(-len(steps) // _POINTS)
    kept = steps[::every] if steps[-1] in steps[::every] else [*steps[::every], steps[-1]]
    return Measured(name, tuple(kept), tuple(last[step] for step in kept))


def _when(point: Any) -> int:
    return int(point.timestamp)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
