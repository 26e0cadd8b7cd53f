"""What all routes of the API share: their blueprint, how answers are made, and how requests are declared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import Any

from flask import Response, jsonify, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models import RawModel
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

from registry import wire
from registry.errors import InvalidInput
from registry.refs import prefix_of
from registry.services import lists
from registry.types import Page
from web.access import caller
from web.current import current_registry

__all__ = [
    "ARROW_ANSWER", "BYTES_ANSWER", "Arrow", "Body", "File", "Paging", "Query", "answer", "blueprint", "covers",
    "idempotency_key", "json_answer", "listed", "model_of", "page", "tag",
]  # fmt: skip

MOST_ITEMS = 1000


class SchemaOnce(BaseModel):
    """A model whose schema is made once: it is asked for by every route, or with every request."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The schema; whoever takes it leaves it as it is."""
        return _schema(cls, args, tuple(kwargs.items()))


@cache
def _schema(cls: type[SchemaOnce], args: tuple[Any, ...], kwargs: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    return super(SchemaOnce, cls).model_json_schema(*args, **dict(kwargs))


class Problem(SchemaOnce):
    """What went wrong: a stable code, one line for people, and the id under which the server's log has it."""

    class Error(BaseModel):
        """See Problem."""

        code: str
        message: str
        request_id: str | None = None
        row: int | None = None
        report: dict[str, Any] | None = None

    error: Error


blueprint = APIBlueprint(
    "api",
    __name__,
    url_prefix="/api/v1",
    abp_security=[{"token": []}],
    abp_responses=dict.fromkeys((400, 401, 403, 404, 409, 413, 415, 429, 500, 501, 503), Problem),
)


class Body(BaseModel):
    """JSON that a request brings: strictly typed, and without fields that nobody reads."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(SchemaOnce):
    """The parameters of an address."""

    model_config = ConfigDict(extra="forbid")


class Arrow(RawModel):
    """A body of vectors."""

    mimetypes = [wire.ARROW]  # noqa: RUF012 - flask-openapi3's form


class File(RawModel):
    """A body of bytes."""

    mimetypes = ["application/octet-stream"]  # noqa: RUF012 - flask-openapi3's form


class Paging(Query):
    """Which part of a list."""

    limit: int = Field(MOST_ITEMS, ge=1, le=MOST_ITEMS, description="the most items of a page")
    after: str | None = Field(None, max_length=2000, description="`next` of the page before")


def tag(name: str, description: str) -> list[Tag]:
    """The heading of some routes in the description."""
    return [Tag(name=name, description=description)]


def json_answer(value: Any, status: int = 200) -> Response:
    """A value of the registry as JSON."""
    response = jsonify(wire.to_json(value))
    response.status_code = status
    return response


def answer(cls: type[Any]) -> type[BaseModel]:
    """The description of an answer that is one dataclass."""
    return type(f"{cls.__name__}Answer", (RootModel[cls],), {"__module__": __name__, "__doc__": cls.__doc__})  # type: ignore[valid-type]


def listed(name: str, cls: type[Any]) -> type[BaseModel]:
    """The description of a page of a list."""
    fields: dict[str, Any] = {name: (list[cls], ...), "next": (str | None, None)}  # type: ignore[valid-type]
    return create_model(f"{cls.__name__}List", **fields)


def page(
    kind: Any,
    paging: Paging,
    visible: Callable[[Iterable[Any]], Sequence[Any]],
    name: str | None = None,
    among: Collection[str] | None = None,
    **filters: Any,
) -> Response:
    """A page of a list as the caller sees it; lists by name are read `among` what it sees: the cursor holds a name."""
    with current_registry().reading() as session:
        found: Page[Any] = lists.page(
            session, kind, after=paging.after, limit=paging.limit, filters=filters, among=among
        )
    return json_answer({name or kind: visible(found.items), "next": found.next})


def idempotency_key() -> str | None:
    """What the header Idempotency-Key holds."""
    return request.headers.get("Idempotency-Key")


def model_of(space: str) -> tuple[str, ...]:
    """The model that a reference or space belongs to, for the caller's scope; () for relative spaces."""
    if not isinstance(space, str):
        raise InvalidInput(f"a space is named by a string like 'products/2', got {space!r:.120}")
    cut = prefix_of(space)
    ref = cut[0] if cut else space
    return (ref.partition("/")[0].partition("@")[0],)


def covers(*spaces: str) -> None:
    """Refuse a caller whose token does not cover the models, or the anchors' galleries, of these spaces."""
    who = caller()
    if who.unlimited:
        return
    for space in spaces:
        if space.startswith("relative/"):
            found = {a.space: a.gallery for a in current_registry().anchor_sets()}
            who.require_of(space, galleries=[found[space]] if space in found else [])
        else:
            who.require("reader", models=model_of(space))


BYTES = {"type": "string", "format": "binary"}
ARROW_ANSWER = {"description": "an Arrow IPC stream", "content": {wire.ARROW: {"schema": BYTES}}}
BYTES_ANSWER = {"description": "the file", "content": {"application/octet-stream": {"schema": BYTES}}}
