"""Sessions of the pages: a signed cookie that names a token by its digest, and says since when."""

from __future__ import annotations

import time

from flask import Flask, Request, current_app, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_wtf.csrf import CSRFError, CSRFProtect

from registry.errors import NotAllowed
from web.current import registry_of, settings_of
from web.secret import secret_key

__all__ = ["LONGEST_S", "begin", "check_form", "end", "install", "token_digest"]

LONGEST_S = 12 * 3600
"""How long a session lasts at most."""

_TOKEN, _SINCE = "token", "since"

_csrf = CSRFProtect()


class _Sessions(SecureCookieSessionInterface):
    """Flask's cookies; the key is read when one is first needed, since programs need none."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if self.get_cookie_name(app) in request.cookies:
            _use_key(app)
            return super().open_session(app, request)
        return self.session_class()

    def get_cookie_secure(self, app: Flask) -> bool:
        # A proxy's word is enough here: a lie costs the liar their own session.
        return request.is_secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"


def install(app: Flask) -> None:
    """Give `app` sessions, and `csrf_token()` to its templates."""
    app.session_interface = _Sessions()
    app.config.update(
        SESSION_COOKIE_NAME="samespace",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=LONGEST_S,
        WTF_CSRF_CHECK_DEFAULT=False,  # `check_form` is called for pages alone: programs send tokens, which no form can
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session
        WTF_CSRF_SSL_STRICT=False,  # it wants a Referer, which our pages let no browser send
    )
    _csrf.init_app(app)


def check_form() -> None:
    """Refuse a form that none of our pages sent.

    Raises:
        NotAllowed: the form lacks the token that our page had put into it, or the session is over.
    """
    _use_key(current_app)
    try:
        _csrf.protect()
    except CSRFError as error:
        raise NotAllowed(
            "this form came from another site, or from a page that is too old: open the page again, then send it"
        ) from error


def begin(digest: str) -> None:
    """Begin a session with a token, in place of any other."""
    session.clear()
    session.update({_TOKEN: digest, _SINCE: int(time.time())})


def token_digest() -> str | None:
    """The digest of the token that this session is of; None if there is none, or it is over."""
    digest, since = session.get(_TOKEN), session.get(_SINCE)
    if not isinstance(digest, str) or not isinstance(since, int) or time.time() - since >= LONGEST_S:
        return None
    return digest


def end() -> None:
    """End the session."""
    session.clear()


def _use_key(app: Flask) -> None:
    if not app.secret_key:
        app.secret_key = settings_of(app).secret_key or secret_key(registry_of(app).home)
