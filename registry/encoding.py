"""Encoders that an operator configures: a function of this Python, or an address that is asked; called alike.

    SAMESPACE_ENCODERS="products/2=http://127.0.0.1:9000/encode,products/1=package.module:function"

A function takes a list of texts, or an array (n, h, w[, c]) of uint8 pictures, and gives (n, d). An address gets the same as
POST of JSON, {"texts": [...]} or {"pictures": [...]} with PNG, JPEG, WebP or GIF files in base64, and answers {"vectors": [[...]]}.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import httpx

from registry.addresses import parse
from registry.errors import InvalidInput, MissingExtra, Unavailable
from registry.refs import parse_version
from registry.vectors import Array, as_rows, check_finite

__all__ = ["Encoder", "Inputs", "encoded", "encoder", "encoders"]

Inputs = Mapping[str, Sequence[str] | Sequence[bytes]]
"""What is encoded: `texts`, or `pictures` as files; one of the two."""

Encoder = Callable[[Inputs], Any]
"""Inputs to vectors (n, d)."""

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
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


@cache
def encoder(where: str) -> Encoder:
    """The encoder that is there. A function is imported now; an address is asked with each call.

    Raises:
        InvalidInput: there is no such function.
    """
    return _asking(where) if where.startswith(("http://", "https://")) else _calling(where)


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


def _calling(where: str) -> Encoder:
    module, _, name = where.partition(":")
    try:
        function: Any = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except Exception as error:  # whatever the module does when it is imported
        raise InvalidInput(f"the encoder {where} cannot be imported: {error}; is it on this server's path?") from error
    if not callable(function):
        raise InvalidInput(f"the encoder {where} is no function: name one")

    def call(inputs: Inputs) -> Any:
        given = list(inputs["texts"]) if "texts" in inputs else _pixels(inputs["pictures"])
        try:
            return function(given)
        except Exception as error:  # whatever the operator's function raises
            _LOG.warning("the encoder %s failed", where, exc_info=error)
            raise Unavailable("the encoder failed: look into this server's log") from error

    return call


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


def _asking(where: str) -> Encoder:
    def ask(inputs: Inputs) -> Any:
        if "texts" in inputs:
            body: dict[str, Any] = {"texts": list(inputs["texts"])}
        else:
            body = {"pictures": [b64encode(bytes(p)).decode() for p in inputs["pictures"]]}  # type: ignore[arg-type]  # files
        try:
            found = json.loads(_answer(where, body))["vectors"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Unavailable(f"the encoder at {_shown(where)} did not answer with vectors: look at its log") from error
        return found

    return ask


def _answer(where: str, body: Mapping[str, Any]) -> bytes:
    """The answer, up to so many bytes; by no proxy and no redirect: the address is the operator's own."""
    held = bytearray()
    try:
        with (
            httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
            client.stream("POST", where, json=body) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise Unavailable(f"the encoder at {_shown(where)} answered {answer.status_code}: look at its log")
            for piece in answer.iter_bytes(_AT_ONCE):
                held += piece
                if len(held) > _MOST_BYTES:
                    raise Unavailable(f"the encoder at {_shown(where)} answered with more than {_MOST_BYTES} bytes")
    except httpx.HTTPError as error:
        raise Unavailable(f"the encoder at {_shown(where)} cannot be reached: {type(error).__name__}") from error
    return bytes(held)


def _shown(where: str) -> str:
    """The address without what may be secret in it: its host alone."""
    return httpx.URL(where).host
