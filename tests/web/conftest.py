"""A small real registry: four versions of a model, a benchmark, a trained prefix, a fitted map, and evidence."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from registry import connect
from registry.transforms import Orthogonal, Prefix
from tests.web.browsing import ARGS, CHROMIUM, require, served
from web import create_app

ROOT = Path(__file__).parents[2]
BENCHMARK = "digits-bench"
HOSTILE = "<script>alert(1)</script>\"'&"
ITEMS, CLASSES, OLD_DIM, NEW_DIM = 300, 6, 16, 32


def vectors(rng: np.random.Generator, labels: np.ndarray) -> dict[int, np.ndarray]:
    """Encoders of the same items: a noisy one, a compatible successor, a rotated one, and one that nothing leads to."""
    centres = rng.normal(size=(CLASSES, NEW_DIM))
    clean = centres[labels]
    old = clean[:, :OLD_DIM] + rng.normal(size=(len(labels), OLD_DIM)) * 1.6
    new = clean + rng.normal(size=(len(labels), NEW_DIM)) * 0.9
    new[:, :OLD_DIM] = 0.5 * new[:, :OLD_DIM] + 0.5 * clean[:, :OLD_DIM]
    rotation = np.linalg.qr(rng.normal(size=(NEW_DIM, NEW_DIM)))[0]
    other = (clean + rng.normal(size=(len(labels), NEW_DIM)) * 1.1) @ rotation
    last = (clean + rng.normal(size=(len(labels), NEW_DIM)) * 0.8) @ rotation.T
    return {1: old, 2: new, 3: other, 4: last}


def fitted(source: np.ndarray, target: np.ndarray) -> Orthogonal:
    """The semi-orthogonal map from `source` rows to `target` rows (Procrustes)."""
    u, _, vt = np.linalg.svd(source.T @ target, full_matrices=False)
    return Orthogonal(weight=u @ vt, bias=np.zeros(target.shape[1]), report={"rows": len(source)})


def fill(registry) -> None:
    """Everything that the pages show."""
    rng = np.random.default_rng(7)
    labels = rng.integers(CLASSES, size=ITEMS)
    made = vectors(rng, labels)
    registry.register_version(
        "products",
        dim=OLD_DIM,
        source="models:/products/1",
        run_id="8f1c2d3e4a5b6c7d8e9f00112233",
        tags={"team": "search"},
    )
    registry.register_version("products", dim=NEW_DIM, parent="products/1", method="oca", tags={"note": HOSTILE})
    registry.register_version("products", dim=NEW_DIM, parent="products/2", source=HOSTILE)
    registry.register_version("products", dim=NEW_DIM, parent="products/2")
    registry.set_alias("products", "champion", 2)
    registry.create_gallery(BENCHMARK, labels=["class"])
    registry.create_gallery("catalog", id_type="int")
    ids = [f"item-{i}" for i in range(ITEMS)]
    for number, x in made.items():
        registry.append(
            BENCHMARK, version=f"products/{number}", ids=ids, vectors=x, labels={"class": labels.astype(str)}
        )
    registry.append("catalog", version="products/1", ids=list(range(50)), vectors=made[1][:50])
    registry.add_transform(Prefix(from_dim=NEW_DIM, to_dim=OLD_DIM), source="products/2", target="products/1")
    registry.add_transform(fitted(made[3], made[1]), source="products/3", target="products/1")
    registry.add_anchors("landmarks", gallery=BENCHMARK, ids=ids[:10])
    registry.evaluate(BENCHMARK)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """The folder of a filled registry, which tests only read."""
    folder = tmp_path_factory.mktemp("web") / "home"
    with connect(folder) as registry:
        fill(registry)
    return folder


@pytest.fixture(scope="session")
def registry(home):
    """The filled registry, open."""
    with connect(home) as registry:
        yield registry


@pytest.fixture(scope="session")
def _app(registry):
    return create_app(registry)


@pytest.fixture
def client(_app):
    """A client of the pages and the API over the filled registry."""
    return _app.test_client()


@pytest.fixture
def as_token(home, tmp_path):
    """`as_token(role="reader", models=…, galleries=…)`: a client of a copy of the filled registry, signed in so."""
    with connect(shutil.copytree(home, tmp_path / "guarded")) as registry:
        app = create_app(registry)

        def signed_in(role="reader", **scope):
            name = f"ci-{len(registry.tokens())}"
            return sign_in(app.test_client(), registry.create_token(name, role=role, **scope)[1])

        yield signed_in


def sign_in(client, secret):
    """The client, signed in with a token."""
    form = client.get("/login")
    assert client.post("/login", data={"token": secret, "csrf_token": csrf_of(form)}).status_code == 303
    return client


def csrf_of(page):
    """What a form of this page has to send along."""
    return re.search(r'name="csrf_token" value="([^"]+)"', page.text)[1]


@pytest.fixture
def empty(tmp_path):
    """A client over a registry that holds nothing."""
    with connect(tmp_path / "home") as registry:
        yield create_app(registry).test_client()


class Server:
    """`serve` in a process of its own, on a free port of this machine; its standard error is kept in a file."""

    def __init__(self, home, log, before="", **settings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = log
        code = (
            f"from registry.settings import Settings\nfrom web import serving\n{before}\n"
            f"serving.serve({str(home)!r}, Settings(port={self.port}, **{settings!r}))"
        )
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(log.parent)},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def get(self, path, timeout=10, **headers):
        """The answer to a request on a connection of its own: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def ask(self, path):
        """A connection that has sent a request and reads nothing."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return connection

    def wait(self, seconds=60):
        """Wait until it answers."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                return self.get("/healthz")
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"no answer: {self.log.read_text()}")

    def stop(self, seconds=60):
        """Tell it to stop, as a service manager does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def lines(self):
        """The log so far, each line parsed."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """`serving(home, **settings)`: a running `Server`, ended with the module; `before` is Python that runs first."""
    started = []

    def start(home=None, *, wait=True, **given):
        folder = tmp_path_factory.mktemp("server")
        started.append(Server(home or folder / "home", folder / "log", **given))
        if wait:
            started[-1].wait()
        return started[-1]

    yield start
    for server in started:
        server.process.terminate()
        try:
            server.process.wait(5)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()


@pytest.fixture(scope="session")
def browser():
    """A real Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    require(sync_playwright is not None, "playwright is not installed: pip install 'samespace[dev]'")
    require(Path(CHROMIUM).is_file(), f"there is no Chromium at {CHROMIUM}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def address(home):
    """Where the filled registry is served for browsers; tests only read it."""
    with connect(home) as registry, served(registry) as at:
        yield at


@pytest.fixture
def said():
    """What the browser complained about; a page must leave it empty."""
    return []


def failed(request) -> list[str]:
    """A request that came to nothing, unless it is one for the icon, which a browser that moves on lets go of."""
    return [] if request.url.endswith("/mark.svg") and request.failure == "net::ERR_ABORTED" else [request.url]


@pytest.fixture
def page(browser, address, said):
    """An empty page of the browser; paths lead to the filled registry."""
    with_size = browser.new_page(viewport={"width": 1280, "height": 900}, base_url=address)
    with_size.on("console", lambda message: said.append(message.text))
    with_size.on("pageerror", lambda error: said.append(str(error)))
    with_size.on("requestfailed", lambda request: said.extend(failed(request)))
    yield with_size
    with_size.close()
