"""Long work that a form asks for: told line by line to `static/js/work.js`, or done before the answer where nothing reads on."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from web import lines, transfers

__all__ = ["working"]


def working(work: Callable[[lines.Progress], object], *, what: str, done: str) -> BaseResponse:
    """Answer a form by doing `work`; `done` is the address that shows what came of it, `what` names it in the log.

    A script that asks for lines of JSON gets {"progress": [done, all]} …, and last {"done": address} or {"error": …}.
    There, work that has begun goes on to its end whether the page stays open or not; the registry stores what it finds
    whole or not at all. A browser without scripts is sent to the address when all is done.

    Raises:
        Unavailable: as many transfers run as the server allows.
    """
    if lines.LINES in request.accept_mimetypes.values():

        def tell(progress: lines.Progress) -> dict[str, str]:
            work(progress)
            return {"done": done}

        return Response(transfers.stream(lines.told(tell, what)), mimetype=lines.LINES)
    with transfers.transfer():
        work(lambda *_: None)
    return redirect(done, 303)
