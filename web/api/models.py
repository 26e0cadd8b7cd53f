"""Routes of models, versions, aliases, tags and canaries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from flask import Response, request
from flask_openapi3.models import RawModel
from pydantic import BaseModel, Field

from registry import canaries
from registry.errors import CorruptFile, InvalidInput, TooLarge
from registry.types import Check, Model, Space, Version
from web import visible
from web.access import caller
from web.api.base import (
    BYTES_ANSWER,
    Body,
    File,
    Paging,
    Query,
    answer,
    blueprint,
    covers,
    idempotency_key,
    json_answer,
    listed,
    model_of,
    page,
    tag,
)
from web.current import current_registry

TAG = tag("models", "Models, their immutable versions, and the aliases and tags that move")

_LARGEST_CANARIES = 128 << 20

T = TypeVar("T")


class ModelPath(BaseModel):
    """A model in the address."""

    model: str


class VersionPath(ModelPath):
    """A version in the address."""

    number: int


class AliasPath(ModelPath):
    """An alias in the address."""

    alias: str


class Ref(Query):
    """Which version."""

    ref: str = Field(description="such as products/2 or products@champion")


class SpaceName(Query):
    """Which space."""

    name: str


class Versions(Paging):
    """Versions of one model, or of all."""

    model: str | None = None


class NewVersion(Body):
    """What a version is registered with."""

    dim: int
    metric: str = "cosine"
    normalized: bool | None = None
    dtype: str = "float32"
    source: str | None = None
    parent: str | None = None
    method: str = "independent"
    run_id: str | None = None
    fingerprint: dict[str, Any] | None = None
    tags: dict[str, str] | None = None


class NewCheck(Body):
    """What a check of an encoder found."""

    deviation: float = Field(ge=0, description="the largest, as a share of a vector's length")
    tolerance: float = Field(gt=0, le=1)
    worst: str = Field(description="the canary that deviated the most; its first 300 characters are kept")


class Checks(Paging):
    """Checks of one version's encoder, or the newest of each."""

    ref: str | None = Field(None, description="such as products/2 or products@champion")


class Alias(Body):
    """Which version an alias means."""

    number: int


class NewTag(Body):
    """A note on a version."""

    key: str
    value: str


@blueprint.get("/models", tags=TAG, responses={200: listed("models", Model)})
def models(query: Paging) -> Response:
    """All models by name."""
    return page("models", query, partial(visible.models, caller()), among=caller().models)


@blueprint.get("/versions", tags=TAG, responses={200: listed("versions", Version)})
def versions(query: Versions) -> Response:
    """The versions of a model, oldest first; of all models if none is named."""
    caller().require("reader", models=[query.model] if query.model else [])
    return page("versions", query, partial(visible.versions, caller()), among=caller().models, model=query.model)


@blueprint.get("/models/<model>/versions", tags=TAG, responses={200: listed("versions", Version)})
def versions_of(path: ModelPath, query: Paging) -> Response:
    """The versions of a model, oldest first."""
    caller().require("reader", models=[path.model])
    return page("versions", query, partial(visible.versions, caller()), among=caller().models, model=path.model)


@blueprint.post("/models/<model>/versions", tags=TAG, responses={201: answer(Version)})
def register_version(path: ModelPath, body: NewVersion) -> Response:
    """Register the next version of a model, which is created with its first one."""
    caller().require("writer", models=[path.model])
    covers(*([body.parent] if body.parent else []))
    made = current_registry().register_version(path.model, **body.model_dump(), key=idempotency_key())
    return json_answer(made, 201)


@blueprint.get("/versions/<model>/<int:number>", tags=TAG, responses={200: answer(Version)})
def numbered(path: VersionPath) -> Response:
    """One version by its number."""
    caller().require("reader", models=[path.model])
    return json_answer(visible.version(caller(), current_registry().version(f"{path.model}/{path.number}")))


@blueprint.get("/version", tags=TAG, responses={200: answer(Version)})
def version(query: Ref) -> Response:
    """One version by number or alias."""
    caller().require("reader", models=model_of(query.ref))
    return json_answer(visible.version(caller(), current_registry().version(query.ref)))


@blueprint.get("/space", tags=TAG, responses={200: answer(Space)})
def space(query: SpaceName) -> Response:
    """One space: a version's own, a prefix of it, or a relative one."""
    covers(query.name)
    return json_answer(current_registry().space(query.name))


@blueprint.put("/models/<model>/aliases/<alias>", tags=TAG, responses={204: None})
def set_alias(path: AliasPath, body: Alias) -> tuple[str, int]:
    """Let an alias mean a version; it moves if it exists."""
    caller().require("writer", models=[path.model])
    current_registry().set_alias(path.model, path.alias, body.number)
    return "", 204


@blueprint.put("/version/tags", tags=TAG, responses={204: None})
def set_tag(query: Ref, body: NewTag) -> tuple[str, int]:
    """Note something on a version, replacing what was noted under this key."""
    caller().require("writer", models=model_of(query.ref))
    current_registry().set_tag(query.ref, body.key, body.value)
    return "", 204


@blueprint.put("/version/canaries", tags=TAG, responses={204: None})
def add_canaries(query: Ref, raw: File) -> tuple[str, int]:
    """Keep inputs and their vectors, as a file of canaries (safetensors). They never change."""
    caller().require("writer", models=model_of(query.ref))
    found = parsed(partial(canaries.loads, whole(raw, _LARGEST_CANARIES), name="the body"))
    current_registry().add_canaries(query.ref, found.inputs, found.vectors, key=idempotency_key())
    return "", 204


@blueprint.post("/version/checks", tags=TAG, responses={201: answer(Check)})
def record_check(query: Ref, body: NewCheck) -> Response:
    """Keep what a check of a version's encoder against its canaries found."""
    caller().require("writer", models=model_of(query.ref))
    return json_answer(current_registry().record_check(query.ref, **body.model_dump()), 201)


@blueprint.get("/encoder-checks", tags=TAG, responses={200: listed("encoder_checks", Check)})
def encoder_checks(query: Checks) -> Response:
    """The newest kept check of each version's encoder; every one of the version that is named."""
    who = caller()
    who.require("reader", models=model_of(query.ref) if query.ref else ())
    return page("encoder_checks", query, partial(visible.encoder_checks, who), among=who.models, ref=query.ref)


@blueprint.get("/version/canaries", tags=TAG, responses={200: BYTES_ANSWER})
def get_canaries(query: Ref) -> Response:
    """The canaries of a version, as a file (safetensors)."""
    caller().require("reader", models=model_of(query.ref))
    return Response(canaries.dumps(current_registry().canaries(query.ref)), mimetype="application/octet-stream")


def parsed(load: Callable[[], T]) -> T:
    """What `load` reads from a body; a damaged one is the caller's mistake, not a damaged file of ours."""
    try:
        return load()
    except CorruptFile as error:
        raise InvalidInput(f"{error}") from error


def whole(raw: RawModel, most: int) -> bytes:
    """A body that is held in memory."""
    request.max_content_length = most
    if (request.content_length or 0) > most:
        raise TooLarge(f"the body is larger than the {most} bytes that are taken here: shorten it")
    data: bytes = request.get_data(cache=False)
    return data
