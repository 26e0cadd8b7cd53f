"""What a page may load: nothing but what this server sends, and pictures that its text holds."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Response

__all__ = ["allow_pictures", "policy", "sandboxed"]


def policy(pictures: str = "") -> str:
    """The Content-Security-Policy of a page; `pictures` are more places where pictures may come from."""
    return "; ".join(
        (
            "default-src 'none'",
            "style-src 'self'",
            "script-src 'self'",
            f"img-src 'self' data: {pictures}".rstrip(),
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def allow_pictures(response: Response, *templates: str | None) -> Response:
    """Let this one page load pictures from where the templates of galleries say, and from nowhere else."""
    parts = [urlsplit(t) for t in templates if t is not None]  # checked when set: hosts of plain characters, no names
    if parts:
        origins = dict.fromkeys(f"{p.scheme}://{p.netloc}" for p in parts)
        response.headers["Content-Security-Policy"] = policy(" ".join(origins))
    return response


def sandboxed(response: Response) -> Response:
    """Let what somebody stored be looked at, and do nothing, whatever a browser takes it for."""
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
