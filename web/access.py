"""Who calls, and what they may do.

A registry without tokens is its user's: whoever uses this machine is an admin, and nobody else is answered. From its
first token on, programs send `Authorization: Bearer <token>`, and people sign in with a token.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app, g, redirect, request, url_for
from werkzeug.wrappers import Response

from registry.errors import NotAllowed, NotSignedIn
from registry.services.audit import act_as, actor
from registry.services.tokens import digest
from registry.types import TOKEN_ROLES, Token, TokenRole
from web import sessions
from web.contexts import EachInItsOwn
from web.current import current_settings, registry_of
from web.errors import for_programs
from web.known_tokens import KnownTokens
from web.loopback import refuse_other_hosts, refuse_strangers

__all__ = ["Caller", "caller", "install", "known_tokens"]

_KEY = "samespace.tokens"
_LARGEST_FORM_BYTES = 64 << 10
_SIGN_IN = "login.page"  # where pages send whoever is not signed in
_OPEN_PATHS = ("/healthz", "/readyz")  # asked by whatever looks after the server, under whatever name
_DESCRIPTIONS = ("/api/v1/", "/api/v1/openapi.json")  # which say nothing of what is stored


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request; `models` and `galleries` are None where it may use all of them."""

    name: str
    role: TokenRole
    models: frozenset[str] | None = None
    galleries: frozenset[str] | None = None

    @property
    def unlimited(self) -> bool:
        """Whether every model and gallery is covered; the audit log, which names them all, is for such callers."""
        return self.models is None and self.galleries is None

    def require(self, role: TokenRole, *, models: Iterable[str] = (), galleries: Iterable[str] = ()) -> None:
        """Go on only if the caller has at least this role, and covers the named models and galleries.

        Raises:
            NotAllowed: what is missing.
        """
        if TOKEN_ROLES.index(self.role) < TOKEN_ROLES.index(role):
            raise NotAllowed(f"this needs the role {role}, {self.name} is a {self.role}: ask for a token of that role")
        for what, wanted, sees in (("model", models, self.sees_model), ("gallery", galleries, self.sees_gallery)):
            for name in wanted:
                if not sees(name):
                    raise NotAllowed(f"{self.name} does not cover the {what} {name!r:.120}: ask for a token that does")

    def require_of(self, what: str, *, models: Iterable[str] = (), galleries: Iterable[str] = ()) -> None:
        """Go on only if all models and galleries that `what`, such as `the study a1`, is of are covered.

        Unlike `require`, it does not name them: who asked named `what` alone.

        Raises:
            NotAllowed: one is not.
        """
        if not (all(map(self.sees_model, models)) and all(map(self.sees_gallery, galleries))):
            raise NotAllowed(f"{self.name} does not cover all that {what:.160} is of: ask for a token that does")

    def sees_model(self, name: str) -> bool:
        """Whether this model is covered."""
        return self.models is None or name in self.models

    def sees_gallery(self, name: str) -> bool:
        """Whether this gallery is covered."""
        return self.galleries is None or name in self.galleries


def caller() -> Caller:
    """Who sent the request that is being answered.

    Raises:
        NotSignedIn: nobody was asked for: the address is open to all.
    """
    if "caller" not in g:
        raise NotSignedIn("nobody is signed in: send a token")
    return cast("Caller", g.caller)


def known_tokens() -> KnownTokens:
    """The tokens of the registry that is served."""
    return cast("KnownTokens", current_app.extensions[_KEY])


def install(app: Flask) -> None:
    """Let `app` know its callers, before anything else of a request is looked at."""
    app.extensions[_KEY] = KnownTokens(registry_of(app))
    sessions.install(app)
    app.before_request(_identify)
    app.context_processor(lambda: {"caller": g.get("caller"), "may_sign_out": g.get("may_sign_out", False)})
    app.wsgi_app = EachInItsOwn(app.wsgi_app)  # type: ignore[method-assign]  # as Flask's guide does it


def _identify() -> Response | None:
    if request.endpoint == "static" or request.path in _OPEN_PATHS:
        return None
    if request.path in _DESCRIPTIONS:
        _check_host()
        return None
    found = _caller()
    if found is not None:
        g.caller = found
        act_as(found.name)
    elif request.endpoint != _SIGN_IN:
        return _ask_to_sign_in()
    if not for_programs():
        request.max_content_length = _LARGEST_FORM_BYTES
        sessions.check_form()
    return None


def _caller() -> Caller | None:
    """Who calls; None is a person who has yet to sign in."""
    if _check_host():
        return Caller(actor(), "admin")
    return _of_token(known_tokens().of_digest(_bearer())) if for_programs() else _in_session()


def _check_host() -> bool:
    """Refuse who may not even ask; whether everybody else is the user of this machine, as there are no tokens."""
    if known_tokens().any():
        refuse_other_hosts(current_settings().host_names)
        return False
    refuse_strangers()
    return True


def _bearer() -> str:
    """The digest of the token that a program sent."""
    scheme, _, text = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise NotSignedIn("this server wants a token: send the header 'Authorization: Bearer <token>'")
    return digest(text.strip())


def _in_session() -> Caller | None:
    signed_in = sessions.token_digest()
    if signed_in is None:
        return None
    try:
        found = _of_token(known_tokens().of_digest(signed_in))
    except NotSignedIn:  # revoked or expired since
        sessions.end()
        return None
    g.may_sign_out = True
    return found


def _of_token(token: Token) -> Caller:
    models, galleries = (None if scope is None else frozenset(scope) for scope in (token.models, token.galleries))
    return Caller(token.name, token.role, models, galleries)


def _ask_to_sign_in() -> Response:
    wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for(_SIGN_IN, next=wanted if wanted != "/" else None), 303)
