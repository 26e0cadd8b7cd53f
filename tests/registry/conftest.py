"""A local server that speaks S3, for galleries in an object store."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import contextmanager
from itertools import count

import httpx
import numpy as np
import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from registry import connect, doctor, stores
from registry.checking import check
from registry.database import Database, address_in
from registry.layout import Layout
from tests.registry.test_processes import vector

_NUMBERS = count(1)
SECRET = "sekret-of-the-store"  # noqa: S105 - a test's


class _Store:
    """What is asked of the server, and what it answers.

    moto looks whether an object is there and then puts it, which two threads may do at once; so here puts wait for one
    another, as if it were one step. Any store that knows conditional puts does that.
    """

    def __init__(self, app):
        self.asked, self.status, self._app, self._lock = [], None, app, threading.Lock()

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.asked.append((method, path, environ.get("HTTP_RANGE"), environ.get("HTTP_IF_NONE_MATCH")))
        if self.status:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(f"{self.status} No", [("Content-Type", "application/xml")])
            code = "AccessDenied" if self.status == 403 else "SlowDown"
            return [f"<Error><Code>{code}</Code><AWSAccessKeyId>{SECRET}</AWSAccessKeyId></Error>".encode()]
        if method == "PUT":
            with self._lock:
                return list(self._app(environ, start_response))
        return self._app(environ, start_response)

    @contextmanager
    def answering(self, status):
        """Let the server answer every request with this status while the block runs."""
        self.status = status
        try:
            yield
        finally:
            self.status = None

    @contextmanager
    def asking(self):
        """What is asked while the block runs."""
        self.asked.clear()
        yield self.asked


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_):
        pass


@pytest.fixture(scope="session")
def store():
    """A server with the bucket `bucket`, which the variables of this process name."""
    from moto.server import DomainDispatcherApplication, create_backend_app

    app = _Store(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in (("ENDPOINT_URL", url), ("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", SECRET)):
            patch.setenv(f"AWS_{name}", value)
        httpx.put(f"{url}/bucket").raise_for_status()
        yield app
    server.shutdown()
    server.server_close()


@pytest.fixture
def address(store):
    """An address that holds nothing."""
    return f"s3://bucket/galleries/{next(_NUMBERS)}"


@pytest.fixture(scope="session")
def undecided(tmp_path_factory):
    """A home with a database that nobody opened yet; to copy it is faster than to migrate one."""
    home = tmp_path_factory.mktemp("undecided") / "home"
    home.mkdir()
    database = Database(address_in(home / "registry.db"))
    database.ensure()
    database.close()
    return home


@pytest.fixture
def far(home, address, undecided):
    """An empty registry whose galleries are in the store, with a version and a gallery."""
    shutil.copytree(undecided, home)
    with connect(home, galleries=address) as reg:
        reg.register_version("m", dim=4)
        reg.create_gallery("g")
        yield reg


def put(reg, ids):
    return reg.append("g", version="m/1", ids=ids, vectors=np.stack([vector(id) for id in ids]))


def opened(home):
    """The layout and the database of a home."""
    database = Database(address_in(home / "registry.db"))
    return Layout(home, stores.remembered(database, home, None)), database


def problems(home):
    layout, database = opened(home)
    found = [*check(database, layout), *doctor.examine(layout, database)[0]]
    database.close()
    return [f"{f.what}: {f.found}" for f in found if f.level == "problem"]
