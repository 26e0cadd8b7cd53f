"""What a failure looks like from outside: the one place where errors become HTTP statuses."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, jsonify, make_response, render_template, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wrappers import Response as BaseResponse

from registry import errors, wire
from web.observing import note_error, request_id

__all__ = ["STATUS", "for_programs", "install", "status_of"]

STATUS: dict[type[errors.SamespaceError], HTTPStatus] = {
    errors.SamespaceError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidInput: HTTPStatus.BAD_REQUEST,
    errors.BadVector: HTTPStatus.BAD_REQUEST,
    errors.DimensionMismatch: HTTPStatus.BAD_REQUEST,
    errors.DuplicateId: HTTPStatus.BAD_REQUEST,
    errors.BadName: HTTPStatus.BAD_REQUEST,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.AlreadyExists: HTTPStatus.CONFLICT,
    errors.Incompatible: HTTPStatus.CONFLICT,
    errors.Unmeasured: HTTPStatus.CONFLICT,
    errors.NotWorthIt: HTTPStatus.CONFLICT,
    errors.NotSignedIn: HTTPStatus.UNAUTHORIZED,
    errors.NotAllowed: HTTPStatus.FORBIDDEN,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    errors.CorruptFile: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.MigrationNeeded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.MissingExtra: HTTPStatus.NOT_IMPLEMENTED,
}
"""Every class of `registry.errors`; a test holds it complete."""

_RETRY_AFTER_S = "2"


def install(app: Flask) -> None:
    """Let `app` answer every failure in the form that the caller reads."""
    app.register_error_handler(errors.SamespaceError, _on_known)
    app.register_error_handler(HTTPException, _on_http)
    app.register_error_handler(Exception, _on_unexpected)


def status_of(error: errors.SamespaceError) -> HTTPStatus:
    """The status of an error: its class's, or that of the nearest class above it."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def for_programs() -> bool:
    """Whether programs ask for this address, and want JSON and no page."""
    return request.path.startswith("/api/") or request.path in ("/api", "/healthz", "/readyz", "/metrics")


def _on_known(error: errors.SamespaceError) -> Response:
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        current_app.logger.error("%s %s: %s", request.method, request.path, error)
    response = _answer(status, **wire.said(error))
    if isinstance(error, errors.Unavailable):
        response.headers["Retry-After"] = _RETRY_AFTER_S
    if isinstance(error, errors.TooMany):
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.NotSignedIn):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _on_http(error: HTTPException) -> BaseResponse:
    if isinstance(error, RequestEntityTooLarge):
        return _on_known(
            errors.TooLarge(
                f"the body is larger than the {request.max_content_length} bytes that are taken here: shorten it"
            )
        )
    plain = error.get_response()
    if plain.status_code < HTTPStatus.BAD_REQUEST:  # a redirect is no failure
        return plain
    status = HTTPStatus(plain.status_code)
    response = _answer(status, status.phrase.lower().replace(" ", "_"), error.description or status.phrase)
    if "Allow" in plain.headers:
        response.headers["Allow"] = plain.headers["Allow"]
    return response


def _on_unexpected(error: Exception) -> Response:
    current_app.logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return _answer(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "something went wrong here: the server's log says what"
    )


def _answer(status: HTTPStatus, code: str, message: str, **more: Any) -> Response:
    """JSON for programs, a small page for people."""
    note_error(code)
    if for_programs():
        error = {"code": code, "message": message, **more, "request_id": request_id()}
        return make_response(jsonify(error=error), status)
    return make_response(render_template("error.html", status=status, code=code, message=message), status)
