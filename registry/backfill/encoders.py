"""The encoder of a backfill: called as it was named, tried again where that is safe, and held to the version."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from registry import encoding
from registry.encoding import Encoder, Inputs
from registry.errors import BadVector, DimensionMismatch, InvalidInput, SamespaceError, Unavailable
from registry.types import Backfill
from registry.vectors import Array, as_rows, check_finite

__all__ = ["TOKEN", "canary_encoder", "chosen", "encode", "opened"]

TOKEN = "SAMESPACE_ENCODER_TOKEN"  # noqa: S105 - the name of a variable
"""The variable whose text is sent to an address as a bearer token."""

TRIES = 6
TIMEOUT_S = 120.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 60.0
_TOO_MANY = 429
_NOBODY = (401, 403, 404, 405)  # as a redirection: of the address or the token, so of no item

Function = Callable[[Any], Any]


def chosen(
    found: Backfill, encode: Callable[[Any], Any] | None, trust: str | None, *, is_own: bool
) -> str | Callable[[Any], Any]:
    """The encoder that is called: the one that is given, or the planned one if that may be called here.

    That is so where the plan `is_own`, as trusted as whoever runs it, or `trust` names it.

    Raises:
        InvalidInput: there is none, or it is not trusted.
    """
    if encode is not None:
        return encode
    if found.encoder is None:
        raise InvalidInput(f"{found.id} was planned without an encoder: give one, as run_backfill(id, encode=function)")
    if trust is None and not is_own:
        raise InvalidInput(
            f"{found.id} asks to call the encoder {found.encoder!r:.520} here, and a server's plan may be anybody's: if you "
            "trust it, name it with --trust, or trust= in Python"
        )
    if trust is not None and trust != found.encoder:
        raise InvalidInput(
            f"{found.id} asks for the encoder {found.encoder!r:.520}, what you trust is {trust!r:.520}: name that one, or plan another"
        )
    return found.encoder


def opened(place: str | Function, *, tracking_uri: str | None, token: str | None) -> Encoder:
    """The encoder at `place`, or a function itself.

    An address is asked up to `TRIES` times, with growing pauses, while it cannot be reached, answers 5xx or asks to wait.
    What a function raises is raised at once: nobody knows whether it is safe to repeat.

    Raises:
        InvalidInput: there is no such function or model.
        MissingExtra: a model of MLflow, which is not installed.
    """
    if callable(place):
        return _calling(place, getattr(place, "__name__", "the encoder"))
    encoding.check_place(place)
    if place.startswith(("http://", "https://")):
        return encoding.asking(place, lambda where, body: _asked(where, body, token))
    if place.startswith(("models:/", "runs:/")):
        from registry.tracking import load_function

        return _calling(load_function(place, tracking_uri), place)
    return _calling(encoding.imported(place), place)


def _calling(function: Function, name: str) -> Encoder:
    def call(inputs: Inputs) -> Any:
        given = encoding.plain(inputs)
        try:
            return function(given)
        except SamespaceError:
            raise
        except Exception as error:  # whatever the function raises
            said = (str(error).splitlines() or ["no reason given"])[0]
            raise InvalidInput(f"the encoder {name} fails with {type(error).__name__}: {said:.200}") from error

    return call


def _asked(where: str, body: Mapping[str, Any], token: str | None) -> bytes:
    """What an address answers, asked again where it may answer otherwise."""
    wait = _FIRST_WAIT_S
    for left in range(TRIES - 1, -1, -1):
        pause = None
        try:
            answer = encoding.posted(where, body, timeout=TIMEOUT_S, token=token)
        except Unavailable:
            if not left:
                raise
        else:
            if answer.status == 200:
                return answer.content
            if answer.status < 400 or answer.status in _NOBODY:
                raise Unavailable(
                    f"the encoder at {encoding.shown(where)} answered {answer.status}: check its address and {TOKEN}"
                )
            if answer.status != _TOO_MANY and answer.status < 500:
                raise InvalidInput(f"the encoder at {encoding.shown(where)} answered {answer.status}: look at its log")
            if not left:
                raise Unavailable(
                    f"the encoder at {encoding.shown(where)} answered {answer.status}, {TRIES} times: look at its log"
                )
            pause = answer.retry_after
        time.sleep(min(pause if pause is not None else wait * random.uniform(0.5, 1.5), _LONGEST_WAIT_S))  # noqa: S311 - jitter
        wait *= 2
    raise AssertionError  # the loop returns or raises


def encode(encoder: Encoder, inputs: Inputs, *, ids: Sequence[Any], version: str, dim: int) -> Array:
    """The vectors (n, dim) that the encoder gives of the inputs (n,) of items `ids`; what fails is named.

    Raises:
        Unavailable: an address did not answer.
        DimensionMismatch: vectors of another width than the version's.
        InvalidInput, BadVector: an item cannot be encoded, or its vector is none.
    """
    try:
        return _rows(encoder, inputs, version, dim)
    except BadVector as error:
        id = ids[error.row or 0]
        raise BadVector(f"the encoder gave no vector of item {id!r:.80} that can be compared: {error}") from error
    except (Unavailable, DimensionMismatch):
        raise
    except InvalidInput as error:
        at = _first_that_fails(encoder, inputs, version, dim)
        if at is None:
            raise InvalidInput(
                f"{len(ids)} items from {ids[0]!r:.80} on cannot be encoded together: {error}"
            ) from error
        raise InvalidInput(f"item {ids[at]!r:.80} cannot be encoded: {error}") from error


def _rows(encoder: Encoder, inputs: Inputs, version: str, dim: int) -> Array:
    (given,) = inputs.values()
    what = f"what the encoder of {version} gave"
    rows = as_rows(encoder(inputs), what=what)
    if rows.shape[1] != dim:
        raise DimensionMismatch(f"{what} has {rows.shape[1]} dimensions, {version} has {dim}: is it another version's?")
    if len(rows) != len(given):
        raise InvalidInput(f"{what} has {len(rows)} vectors for {len(given)} inputs: it must give one for each")
    return check_finite(rows, what=what)


def _first_that_fails(encoder: Encoder, inputs: Inputs, version: str, dim: int) -> int | None:
    """The first input that fails by itself, found by halves; None where all of a half do well alone."""
    ((kind, values),) = inputs.items()
    start, stop = 0, len(values)

    def fails(first: int, last: int) -> bool:
        try:
            _rows(encoder, {kind: values[first:last]}, version, dim)
        except InvalidInput:
            return True
        return False

    while stop - start > 1:
        middle = (start + stop) // 2
        if fails(start, middle):
            stop = middle
        else:
            start = middle
    return start if fails(start, stop) else None


def canary_encoder(encoder: Encoder) -> Function:
    """The encoder as `Registry.verify_encoder` calls it: with texts, or an array of numbers."""

    def call(inputs: Any) -> Any:
        return encoder({"numbers" if isinstance(inputs, np.ndarray) else "texts": inputs})

    return call
