"""Running a backfill: read, encode, store, until all is done or somebody says stop.

It asks a registry for each step, embedded or a server's, so that the encoder is called where the command is, and never by
a server. A step is stored whole or not at all, and again does nothing: whoever is killed between two loses a batch's work.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from registry.backfill import encoders
from registry.backfill.inputs import Read, opened
from registry.backfill.leases import Lease, held
from registry.backfill.pacing import Pace
from registry.backfill.wishes import target
from registry.encoding import Encoder, Inputs
from registry.errors import Incompatible, InvalidInput, NotFound, SamespaceError, Unavailable
from registry.types import Backfill, Portion, Version

__all__ = ["Progress", "Steps", "is_reached", "run", "timed"]

Progress = Callable[[int, int], None]
"""Told how many items are done, of how many."""

Elsewhere = Callable[[str | Callable[[Any], Any], str | None], Encoder]
"""Opens the encoder that is named, or a function, and MLflow's store, for other processes to encode with."""

T = TypeVar("T")

_STORING_TRIES = 5
_TENTHS = 10


class Steps(Protocol):
    """What of a registry a run needs."""

    def version(self, ref: str) -> Version:
        """See `Registry.version`."""

    def previews(self, gallery: str, ids: Any) -> Any:
        """See `Registry.previews`."""

    def canaries(self, ref: str) -> Any:
        """See `Registry.canaries`."""

    def verify_encoder(self, ref: str, encode: Any, *, tolerance: float = 0.01, record: bool = False) -> Any:
        """See `Registry.verify_encoder`."""

    def backfill(self, id: str) -> Backfill:
        """See `Registry.backfill`."""

    def hold_backfill(self, id: str, *, runner: str) -> Backfill:
        """See `Registry.hold_backfill`."""

    def next_portion(self, id: str, *, runner: str, most: int | None = None) -> Portion | None:
        """See `Registry.next_portion`."""

    def store_portion(
        self, id: str, *, runner: str, portion: Portion, vectors: Any, pace: float | None = None
    ) -> Backfill:
        """See `Registry.store_portion`."""

    def measure_backfill(self, id: str, *, runner: str) -> Backfill:
        """See `Registry.measure_backfill`."""

    def leave_backfill(
        self, id: str, *, runner: str, error: str | None = None, pause: bool = False, reached: bool = False
    ) -> Backfill:
        """See `Registry.leave_backfill`."""


def run(
    registry: Steps,
    id: str,
    *,
    encode: Callable[[Any], Any] | None = None,
    trust: str | None = None,
    is_own: bool = True,
    allow_drift: bool = False,
    progress: Progress | None = None,
    tracking_uri: str | None = None,
    elsewhere: Elsewhere | None = None,
) -> Backfill:
    """Run a backfill to its end, or until it is paused; see `Registry.run_backfill`. Encoded is here, or `elsewhere`.

    `is_own` is whether whoever runs it trusts all that is planned: a server's plan may be anybody's, so that its encoder is
    called only if `trust` names it.

    Whatever goes wrong is kept with it, which is then paused; so it is where somebody interrupts this.
    """
    me, place = _name(), encoders.chosen(registry.backfill(id), encode, trust, is_own=is_own)
    found = registry.hold_backfill(id, runner=me)
    try:
        with held(registry, id, me) as lease:
            encoder = _opened(place, tracking_uri, elsewhere)
            version = registry.version(found.version)
            _verify(registry, version, encoder, allow_drift=allow_drift)
            with opened(registry, found.gallery, found.inputs) as read:
                found = _Run(registry, found, version, encoder, read, me, lease, progress).to_the_end()
    except SamespaceError as error:
        _leave(registry, id, me, error=str(error))
        raise
    except BaseException as error:  # Ctrl-C, or a fault of ours: nothing that is stored is lost
        _leave(registry, id, me, error=None if isinstance(error, KeyboardInterrupt) else repr(error))
        raise
    return registry.leave_backfill(id, runner=me)


def timed(
    registry: Steps, id: str, *, encode: Callable[[Any], Any] | None = None, trust: str | None = None,
    is_own: bool = True, tracking_uri: str | None = None,
) -> float:  # fmt: skip
    """How many items per second the encoder does, by the first batch; nothing is stored. See `run`."""
    me, place = _name(), encoders.chosen(registry.backfill(id), encode, trust, is_own=is_own)
    found = registry.hold_backfill(id, runner=me)
    try:
        with held(registry, id, me):
            encoder = _opened(place, tracking_uri)
            version, portion = registry.version(found.version), registry.next_portion(id, runner=me)
            if portion is None or not portion.ids:
                raise InvalidInput(f"{id} has no item left that could be timed")
            with opened(registry, found.gallery, found.inputs) as read:
                inputs, begun = read(portion.ids), time.perf_counter()
                encoders.encode(encoder, inputs, ids=portion.ids, version=version.ref, dim=version.dim)
                return len(portion.ids) / (time.perf_counter() - begun)
    finally:
        registry.leave_backfill(id, runner=me)


def _leave(registry: Steps, id: str, me: str, *, error: str | None) -> None:
    try:
        registry.leave_backfill(id, runner=me, error=error, pause=True)
    except SamespaceError:  # the lease ends by itself, and the first error is the one to tell of
        return


def _name() -> str:
    """Whose run it is, and which: no two have one name."""
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or f"user-{os.getuid()}"
    return f"{user:.60}@{socket.gethostname():.80}, process {os.getpid()}, {uuid4().hex[:8]}"


def _opened(place: str | Callable[[Any], Any], tracking_uri: str | None, elsewhere: Elsewhere | None = None) -> Encoder:
    if elsewhere is not None:
        return elsewhere(place, tracking_uri)
    token = os.environ.get(encoders.TOKEN)
    return encoders.opened(place, tracking_uri=tracking_uri, token=token)


def _verify(registry: Steps, version: Version, encoder: Encoder, *, allow_drift: bool) -> None:
    """Hold the encoder to the canaries of the version, if it has some."""
    try:
        registry.canaries(version.ref)
    except NotFound:
        return  # its width is checked with each batch
    try:
        check = registry.verify_encoder(version.ref, encoders.canary_encoder(encoder), record=True)
        if not allow_drift:
            check.raise_for_drift()
    except (InvalidInput, Incompatible, NotFound) as error:  # it cannot encode them, or does so otherwise
        if not allow_drift:
            raise type(error)(
                f"{error}; nothing was encoded: mend the encoder, or give --allow-drift to run with it all the same"
            ) from error


class _Run:
    """One run, from where the last one ended."""

    def __init__(
        self, registry: Steps, found: Backfill, version: Version, encoder: Encoder, read: Read, me: str, lease: Lease,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self._registry, self._found, self._version, self._encoder = registry, found, version, encoder
        self._read, self._me, self._lease, self._progress = read, me, lease, progress
        self._pace = Pace(found.rate)

    def to_the_end(self) -> Backfill:
        """Portion by portion."""
        self._tell()
        if not self._found.measured:
            self._measure()
        while self._found.status == "running":
            portion = self._again(self._portion)
            if portion is None:
                return self._found
            self._pace.wait(len(portion.ids), self._lease.is_wanted)
            if not self._lease.is_wanted():
                break
            vectors = self._vectors(portion)
            pace = self._pace.done(len(portion.ids)) if portion.ids else self._pace.measured
            before = self._found
            self._found = self._again(partial(self._store, portion, vectors, pace))
            self._tell()
            if _tenth(self._found) > _tenth(before):
                self._measure()
                if is_reached(self._found):
                    return self._again(self._end)
        return self._found

    def _portion(self) -> Portion | None:
        most = self._pace.most(self._found.batch)
        return self._registry.next_portion(self._found.id, runner=self._me, most=most)

    def _store(self, portion: Portion, vectors: Any, pace: float | None) -> Backfill:
        return self._registry.store_portion(
            self._found.id, runner=self._me, portion=portion, vectors=vectors, pace=pace
        )

    def _end(self) -> Backfill:
        return self._registry.leave_backfill(self._found.id, runner=self._me, reached=True)

    def _vectors(self, portion: Portion) -> Any:
        if not portion.ids:
            return None
        ids: Sequence[Any] = portion.ids
        inputs: Inputs = self._read(ids)
        return encoders.encode(self._encoder, inputs, ids=ids, version=self._version.ref, dim=self._version.dim)

    def _measure(self) -> None:
        if self._found.benchmark is not None:
            self._found = self._again(lambda: self._registry.measure_backfill(self._found.id, runner=self._me))

    def _again(self, step: Callable[[], T]) -> T:
        """A step, again while the registry is busy: each does nothing the second time."""
        for left in range(_STORING_TRIES - 1, -1, -1):
            try:
                return step()
            except Unavailable:
                if not left:
                    raise
                time.sleep(2.0 ** (_STORING_TRIES - 1 - left) / 4)
        raise AssertionError  # the loop returns or raises

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._found.done, self._found.total)


def _tenth(found: Backfill) -> int:
    return int(_TENTHS * found.share + 1e-9)


def is_reached(found: Backfill) -> bool:
    """Whether what was measured last is as good as is asked for."""
    wanted = target(found.stop_at)
    curve = found.measured.get(wanted.metric) if wanted else None
    return bool(wanted and curve and curve.values[-1] >= wanted.value)
