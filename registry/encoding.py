"""Encoders that somebody names: a function of this Python, an address that is asked, or a model of MLflow; called alike.

    SAMESPACE_ENCODERS="products/2=http://127.0.0.1:9000/encode,products/1=package.module:function"

A function takes a list of texts or of ids, or an array (n, h, w[, c]) of uint8 pictures, and gives (n, d). An address gets the
same as POST of JSON, {"texts": [...]}, {"ids": [...]} or {"pictures": [...]} with PNG, JPEG, WebP or GIF files in base64, and
answers {"vectors": [[...]]}. A server configures functions and addresses alone; models are for whoever runs a backfill.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from registry.addresses import parse
from registry.errors import InvalidInput, MissingExtra, SamespaceError, Unavailable
from registry.refs import parse_version
from registry.vectors import Array, as_rows, check_finite

__all__ = [
    "Answer", "Encoder", "Inputs", "asking", "check_place", "encoded", "encoder", "encoders", "imported", "plain", "posted",
    "shown",
]  # fmt: skip

Inputs = Mapping[str, Sequence[Any]]
"""What is encoded: `texts`, `ids`, `pictures` as files, or `numbers` as an array; one of them."""

Encoder = Callable[[Inputs], Any]
"""Inputs to vectors (n, d)."""

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_MODEL = re.compile(r"(models|runs):/[^\s?#]{1,500}")
_TIMEOUT_S = 10.0
_LOG = logging.getLogger(__name__)
_MOST_BYTES = 64 << 20
_MOST_PIXELS = 1 << 24
_AT_ONCE = 64 << 10


def encoders(text: str) -> Mapping[str, str]:
    """Version -> where its encoder is, from `version=where` with commas between.

    Raises:
        InvalidInput: what is no such list.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        ref, _, where = part.partition("=")
        if parse_version(ref).number is None:
            raise InvalidInput(f"encoders names {ref!r:.80}: name a version by its number, such as products/2")
        if ref in found:
            raise InvalidInput(f"encoders names {ref} twice: give it one encoder")
        if not _FUNCTION.fullmatch(where):
            _check_address(ref, where)
        found[ref] = where
    return found


def _check_address(ref: str, where: str) -> None:
    if not where.startswith(("http://", "https://")):
        raise InvalidInput(f"the encoder of {ref} is {where!r:.120}: give package.module:function, or an http address")
    parse(where)


def check_place(where: object) -> None:
    """Refuse what names no encoder: `models:/NAME/VERSION`, `package.module:function`, or an address without secrets in it.

    The name is kept and shown, so that an address with a user, a password or a query is refused.

    Raises:
        InvalidInput: what is wrong with it; an address is never repeated.
    """
    text = where if isinstance(where, str) else ""
    if text.startswith(("http://", "https://")):
        if parse(text).query or parse(text).fragment:
            raise InvalidInput(
                f"the address of the encoder at {shown(text)} has a query, which may hold a key: leave it out; a token is "
                "taken from SAMESPACE_ENCODER_TOKEN"
            )
    elif not (_MODEL.fullmatch(text) or _FUNCTION.fullmatch(text)) or len(text) > 500:
        raise InvalidInput(
            f"an encoder is models:/NAME/VERSION, package.module:function or an http address, got {where!r:.120}"
        )


@cache
def encoder(where: str) -> Encoder:
    """The encoder that is there. A function is imported now; an address is asked with each call.

    Raises:
        InvalidInput: there is no such function.
    """
    return asking(where, _answer) if where.startswith(("http://", "https://")) else _calling(where)


def encoded(where: str, inputs: Inputs, *, version: str, dim: int) -> Array:
    """The vectors (n, dim) float32 that the encoder of `version` gives of n inputs.

    Raises:
        InvalidInput, BadVector: inputs that cannot be encoded, or an answer that is no vectors of them.
        DimensionMismatch: vectors of another width than the version's.
        Unavailable: an address that does not answer as it should.
    """
    (given,) = inputs.values()
    what = f"what the encoder of {version} gave"
    rows = check_finite(as_rows(encoder(where)(inputs), dim=dim, what=what), what=what)
    if len(rows) != len(given):
        raise InvalidInput(f"{what} has {len(rows)} vectors for {len(given)} inputs: it must give one for each")
    return rows


def imported(where: str) -> Callable[[Any], Any]:
    """The function `package.module:function`. InvalidInput if there is none."""
    module, _, name = where.partition(":")
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except Exception as error:  # whatever the module does when it is imported
        raise InvalidInput(f"the encoder {where} cannot be imported: {error}; is it on this server's path?") from error
    if not callable(function):
        raise InvalidInput(f"the encoder {where} is no function: name one")
    found: Callable[[Any], Any] = function
    return found


def _calling(where: str) -> Encoder:
    function = imported(where)

    def call(inputs: Inputs) -> Any:
        given = plain(inputs)
        try:
            return function(given)
        except Exception as error:  # whatever the operator's function raises
            _LOG.warning("the encoder %s failed", where, exc_info=error)
            raise Unavailable("the encoder failed: look into this server's log") from error

    return call


def plain(inputs: Inputs) -> Any:
    """Inputs as a function takes them: a list of texts or ids, or an array of pictures of one size."""
    ((kind, values),) = inputs.items()
    return _pixels(values) if kind == "pictures" else values if kind == "numbers" else list(values)


def _pixels(pictures: Sequence[Any]) -> Array:
    """Pictures (n, h, w[, c]) uint8 of one size, of their files."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("pictures for a function need Pillow: pip install pillow, or ask an address") from error
    import io

    import numpy as np

    found = []
    for picture in pictures:
        try:
            with Image.open(io.BytesIO(picture), formats=("PNG", "JPEG", "WEBP", "GIF")) as opened:
                if opened.width * opened.height > _MOST_PIXELS:
                    raise InvalidInput(f"the picture has {opened.width} x {opened.height} pixels: make it smaller")
                found.append(np.asarray(opened if opened.mode in ("L", "RGB") else opened.convert("RGB")))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput("the picture cannot be read: give a PNG, JPEG, WebP or GIF file") from error
    if len({picture.shape for picture in found}) > 1:
        raise InvalidInput("the pictures have several sizes: give pictures of one size")
    return np.stack(found)


def asking(where: str, post: Callable[[str, Mapping[str, Any]], bytes]) -> Encoder:
    """The encoder at an address, which `post` asks: it takes the address and a JSON body, and gives what was answered."""

    def ask(inputs: Inputs) -> Any:
        ((kind, values),) = inputs.items()
        listed = [b64encode(bytes(p)).decode() for p in values] if kind == "pictures" else _listed(values)
        try:
            found = json.loads(post(where, {kind: listed}))["vectors"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, SamespaceError):  # InvalidInput is a ValueError
                raise
            raise Unavailable(f"the encoder at {shown(where)} did not answer with vectors: look at its log") from error
        return found

    return ask


def _listed(values: Any) -> list[Any]:
    found: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What an address answered; `retry_after` is the seconds that it asks to wait, None where it says nothing."""

    status: int
    content: bytes
    retry_after: float | None


def posted(where: str, body: Mapping[str, Any], *, timeout: float = _TIMEOUT_S, token: str | None = None) -> Answer:
    """What an address answers, up to so many bytes; by no proxy and no redirect: the address is the operator's own.

    Raises:
        Unavailable: it cannot be reached, or answers with more.
    """
    held = bytearray()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with (
            httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False) as client,
            client.stream("POST", where, json=body, headers=headers) as answer,
        ):
            for piece in answer.iter_bytes(_AT_ONCE):
                held += piece
                if len(held) > _MOST_BYTES:
                    raise Unavailable(f"the encoder at {shown(where)} answered with more than {_MOST_BYTES} bytes")
            wait = answer.headers.get("Retry-After", "")
            return Answer(answer.status_code, bytes(held), float(wait) if wait.isdecimal() and len(wait) < 6 else None)
    except httpx.HTTPError as error:
        raise Unavailable(f"the encoder at {shown(where)} cannot be reached: {type(error).__name__}") from error


def _answer(where: str, body: Mapping[str, Any]) -> bytes:
    answer = posted(where, body)
    if answer.status != httpx.codes.OK:
        raise Unavailable(f"the encoder at {shown(where)} answered {answer.status}: look at its log")
    return answer.content


def shown(where: str) -> str:
    """The address without what may be secret in it: its host alone."""
    return httpx.URL(where).host
