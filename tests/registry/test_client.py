"""The client against servers that are broken, slow or hostile: clear errors, no wrong vectors, no token that leaks."""

from __future__ import annotations

import json
import logging
import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pytest

from registry import wire
from registry.client import Client
from registry.errors import InvalidInput, NotFound, SamespaceError, TooMany, Unavailable
from registry.transport import Transport

TOKEN = "sst_this-must-stay-secret"  # noqa: S105
JSON = {"Content-Type": "application/json"}
VERSION = {
    "model": "m", "number": 1, "dim": 2, "metric": "cosine", "normalized": True, "dtype": "float32", "method": "independent",
    "fingerprint": "f", "created_at": "2026-01-01T00:00:00Z", "aliases": [], "tags": {}, "parent": None, "source": None, "run_id": None,
}  # fmt: skip
GALLERY = {
    "name": "g",
    "id_type": "string",
    "labels": [],
    "items": 1,
    "segments": [],
    "created_at": "2026-01-01T00:00:00Z",
}
SPACE = {"name": "m/1", "dim": 2, "metric": "cosine"}
PATH = {"space": "m/1", "query": [], "gallery": [], "evidence": None}


@dataclass
class Asked:
    """One request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Said:
    """One answer; `cut` leaves out so many bytes of the body that it promised."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    cut: int = 0


class Server(ThreadingHTTPServer):
    """Answers by `say`, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.say: Callable[[Asked], Said] = lambda asked: Said(404)
        self.stall = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """A client that goes away is part of the test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: otherwise each waits for the other side's acknowledgement

    def answer(self):
        self.server.asked.append(Asked(self.command, self.path, dict(self.headers.items()), self._body()))
        said = self.server.say(self.server.asked[-1])
        self.send_response(said.status)
        for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said.body[: len(said.body) - said.cut])
        if said.cut:
            self.wfile.flush()
            self.close_connection = True

    def _body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    found = Server()
    thread = threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield found
    found.stall.set()
    found.shutdown()
    found.server_close()


@pytest.fixture
def pauses():
    """How long the client waited, without waiting."""
    return []


@pytest.fixture
def client(server, pauses):
    with Client(server.url, token=TOKEN, timeout=5) as found:
        found._server._sleep = pauses.append
        yield found


def told(value, status=200, **headers):
    return Said(status, json.dumps(value).encode(), {**JSON, **headers})


def problem(status, code, **headers):
    return told({"error": {"code": code, "message": "because", "request_id": "r"}}, status, **headers)


def facts(asked):
    """A server that knows the version m/1 and the gallery g."""
    place = asked.path.partition("?")[0].removeprefix("/api/v1")
    known = {"/version": VERSION, "/galleries/g": GALLERY, "/space": SPACE}
    return told(known[place]) if place in known else Said(500, b"<html>")


def stream(ids=("a",), rows=((1.0, 2.0),), about=None):
    """An answer of embeddings."""
    vectors = wire.vectors(np.array(rows, dtype=np.float32))
    batch = pa.record_batch({"id": pa.array(list(ids)), "vector": vectors})
    said = {"space": "m/1", "path": {"m/1": PATH}} if about is None else about
    return b"".join(wire.write(batch.schema, [(batch, said)]))


def hits(ids=(("a",),), scores=((1.0,),), about=None):
    kind = pa.list_(pa.string(), len(ids[0]))
    scored = pa.array([list(row) for row in scores], pa.list_(pa.float32(), len(scores[0])))
    batch = pa.record_batch({"ids": pa.array([list(row) for row in ids], kind), "scores": scored})
    return b"".join(wire.write(batch.schema, [(batch, {"path": {"m/1": PATH}} if about is None else about)]))


CALLS = {
    "models": lambda c: c.models(),
    "version": lambda c: c.version("m/1"),
    "space": lambda c: c.space("m/1"),
    "register": lambda c: c.register_version("m", dim=2),
    "create": lambda c: c.create_gallery("g"),
    "gallery": lambda c: c.gallery("g"),
    "append": lambda c: c.append("g", version="m/1", ids=["a"], vectors=[[1.0, 2]]),
    "delete": lambda c: c.delete("g", ["a"]),
    "fetch": lambda c: c.fetch("g", ids=["a"], into="m/1"),
    "scan": lambda c: list(c.scan("g", into="m/1")),
    "search": lambda c: c.search("g", [[1.0, 2]], version="m/1"),
    "convert": lambda c: c.convert([[1.0, 2]], source="m/1", into="m/2"),
    "shared": lambda c: list(c.shared("g", versions=["m/1"])),
    "transform": lambda c: c.transform("x"),
    "canaries": lambda c: c.canaries("m/1"),
    "matrix": lambda c: c.matrix("b"),
    "compare": lambda c: c.compare("m/1", "m/2"),
    "evaluate": lambda c: c.evaluate("b"),
    "study": lambda c: c.study("m/1", "m/2"),
    "studies": lambda c: c.studies(),
    "stored_study": lambda c: c.stored_study("study-1"),
    "study_items": lambda c: c.study_items("study-1"),
    "changes": lambda c: c.changes(),
    "counts": lambda c: c.counts(),
    "decisions": lambda c: c.decisions(),
    "encoder_checks": lambda c: c.encoder_checks(),
    "record_check": lambda c: c.record_check("m/1", 0.5, tolerance=0.1, worst="x"),
    "tokens": lambda c: c.tokens(),
    "webhooks": lambda c: c.webhooks(),
    "deliveries": lambda c: c.deliveries(),
    "create_token": lambda c: c.create_token("t"),
    "revision": lambda c: c.revision(),
}

NONSENSE = {
    "nothing": b"", "a page": b"<!doctype html><title>Sign in</title>", "null": b"null", "a list": b"[]", "a number": b"5", "no fields": b"{}",
    "fields of other kinds": b'{"models": 5, "changes": "x", "tokens": null, "next": [], "items": {}, "path": 3, "segments": 7}',
    "items of other kinds": b'{"models": [{}], "changes": [5], "tokens": ["x"], "webhooks": [null], "deliveries": [[]]}',
    "100,000 deep": b"[" * 100_000, "no text": b"\xff\xfe\x00", "all bits": b"\xff" * 4096, "a huge number": b"9" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("body", NONSENSE.values(), ids=list(NONSENSE))
def test_nonsense_is_a_clear_error(server, client, body, status):
    server.say = lambda asked: Said(status, body)
    for name, call in CALLS.items():
        try:
            call(client)
        except SamespaceError as error:
            assert TOKEN not in str(error)  # noqa: PT017
        else:
            assert status == 200 and name in ("scan", "shared", "fetch"), name


@pytest.mark.parametrize(
    "answer",
    [
        stream(rows=((1.0,),)), stream(rows=((1.0, 2.0, 3.0),)), stream(ids=(), rows=np.empty((0, 2))), stream(ids="ab", rows=((1.0, 2),) * 2),
        stream(about={}), stream(about={"space": "m/1", "path": 5}), stream()[:-20], stream()[:100], b"",
        b"".join(wire.write(pa.schema([("x", pa.int64())]), [(pa.record_batch({"x": [1]}), {"space": "", "path": {}})])),
    ],
)  # fmt: skip
def test_vectors_that_are_not_what_was_asked_for(server, client, answer):
    """Other numbers of rows or columns, which NumPy would broadcast or leave unset."""

    def say(asked):
        return Said(200, answer, {"Content-Type": wire.ARROW}) if asked.path.startswith(VECTORS) else facts(asked)

    server.say = say
    with pytest.raises(SamespaceError):
        client.fetch("g", ids=["a"], into="m/1")
    if answer not in (stream(about={}), stream(about={"space": "m/1", "path": 5})):  # a conversion says no path
        with pytest.raises(SamespaceError):
            client.convert([[1.0, 2.0]], source="m/1", into="m/1")


VECTORS = ("/api/v1/galleries/g/fetch", "/api/v1/convert", "/api/v1/galleries/g/search")


@pytest.mark.parametrize(
    "answer", [hits(ids=(("a",),) * 2, scores=((1.0,),) * 2), hits(scores=((1.0, 2.0),)), hits(about={}), hits()[:-30]]
)
def test_hits_that_are_not_what_was_asked_for(server, client, answer):
    server.say = lambda asked: (
        Said(200, answer, {"Content-Type": wire.ARROW}) if asked.path.startswith(VECTORS) else facts(asked)
    )
    with pytest.raises(SamespaceError):
        client.search("g", [[1.0, 2.0]], version="m/1", k=1)


def test_an_answer_that_breaks_off(server, client):
    body = json.dumps(VERSION).encode()
    server.say = lambda asked: Said(200, body, cut=10)
    with pytest.raises(Unavailable, match="cannot reach"):
        client.version("m/1")
    server.say = lambda asked: Said(200, stream(), {"Content-Type": wire.ARROW}, cut=50)
    with pytest.raises(Unavailable):
        list(client.scan("g", into="m/1"))


def test_unknown_fields_of_a_newer_server_are_ignored(server, client):
    server.say = lambda asked: told({**VERSION, "colour": "red", "nested": {"a": [1]}})
    assert client.version("m/1").ref == "m/1"


def test_unknown_errors_of_a_newer_server_are_ours(server, client):
    server.say = lambda asked: told(
        {"error": {"code": "from_the_future", "message": "no luck", "row": "x", "more": 1}}, 409
    )
    with pytest.raises(SamespaceError, match="no luck") as caught:
        client.version("m/1")
    assert type(caught.value) is SamespaceError


def test_a_redirect_is_not_followed_and_the_token_stays(server, client):
    other = Server()
    threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True).start()
    server.say = lambda asked: Said(307, b"", {"Location": f"{other.url}/api/v1/version"})
    for call in CALLS.values():
        with pytest.raises(Unavailable, match=r"redirect|is this the address"):
            call(client)
    other.shutdown()
    other.server_close()
    assert other.asked == []
    assert {asked.headers["Authorization"] for asked in server.asked} == {f"Bearer {TOKEN}"}


# What is repeated


def test_reads_are_repeated_with_growing_pauses(server, client, pauses):
    server.say = lambda asked: problem(503, "unavailable") if len(server.asked) < 4 else told(VERSION)
    assert client.version("m/1").dim == 2
    assert len(server.asked) == 4
    assert len(pauses) == 3 and all(0.1 <= pause <= 10 for pause in pauses)
    assert pauses[2] > pauses[0]


def test_it_gives_up(server, client, pauses):
    server.say = lambda asked: problem(503, "unavailable")
    with pytest.raises(Unavailable, match="because"):
        client.version("m/1")
    assert (len(server.asked), len(pauses)) == (5, 4)


@pytest.mark.parametrize(
    ("given", "waited"), [("2", 2), ("0", None), ("99999", 10), ("9" * 5000, None), ("soon", None)]
)
def test_retry_after_is_kept_within_reason(server, client, pauses, given, waited):
    server.say = lambda asked: (
        problem(429, "too_many", **{"Retry-After": given}) if len(server.asked) < 2 else told(VERSION)
    )
    client.version("m/1")
    assert pauses == [waited] or (waited is None and 0 <= pauses[0] <= 60)


@pytest.mark.parametrize("name", ["register", "create", "delete", "append"])
def test_writes_are_repeated_under_one_key(server, client, name):
    def say(asked):
        if asked.method == "GET":
            return facts(asked)
        tried = [a for a in server.asked if a.method == "POST"]
        return problem(502, "unavailable") if len(tried) < 3 else told({**VERSION, **GALLERY, "rows": 1, "items": 1})

    server.say = say
    CALLS[name](client)
    tried = [asked for asked in server.asked if asked.method == "POST"]
    assert len(tried) == 3
    assert len({asked.headers["Idempotency-Key"] for asked in tried}) == 1
    assert len({asked.body for asked in tried}) == 1
    CALLS[name](client)
    assert server.asked[-1].headers["Idempotency-Key"] != tried[0].headers["Idempotency-Key"]


@pytest.mark.parametrize("name", ["create_token", "evaluate", "study"])
def test_what_could_be_done_twice_is_not_repeated(server, client, pauses, name):
    server.say = lambda asked: problem(503, "unavailable")
    with pytest.raises(Unavailable):
        CALLS[name](client)
    assert (len(server.asked), pauses) == (1, [])


def test_parts_that_can_be_read_once_are_not_repeated(server, client):
    server.say = lambda asked: facts(asked) if asked.method == "GET" else problem(503, "unavailable")
    with pytest.raises(Unavailable):
        client.append_parts("g", version="m/1", parts=iter([(["a"], [[1.0, 2.0]], None)]))
    assert [asked.method for asked in server.asked].count("POST") == 1


@pytest.mark.parametrize(
    ("status", "code"), [(400, "invalid_input"), (404, "not_found"), (409, "already_exists"), (500, "internal_error")]
)
def test_an_answer_is_an_answer(server, client, pauses, status, code):
    server.say = lambda asked: problem(status, code)
    with pytest.raises(SamespaceError):
        client.register_version("m", dim=2)
    assert (len(server.asked), pauses) == (1, [])


def test_a_server_that_stays_silent(server, pauses):
    def say(asked):
        server.stall.wait(30)
        return told(VERSION)

    server.say = say
    with Client(server.url, token=TOKEN, timeout=0.1) as client:
        client._server._sleep = pauses.append
        with pytest.raises(Unavailable, match="did not answer in time") as caught:
            client.version("m/1")
        assert TOKEN not in str(caught.value)
    assert len(pauses) == 4


def test_a_stream_that_stands_still(server):
    whole = stream()

    def say(asked):
        return Said(200, whole[:-60], {"Content-Type": wire.ARROW, "Content-Length": str(len(whole))})

    server.say = say
    with Client(server.url, timeout=0.2) as client, pytest.raises(Unavailable, match=r"in time|broke off"):
        list(client.scan("g", into="m/1"))


def test_a_port_where_nobody_listens():
    closed = Server()
    closed.server_close()
    pauses = []
    with Client(closed.url, token=TOKEN) as client:
        client._server._sleep = pauses.append
        with pytest.raises(Unavailable, match="is the server up") as caught:
            client.models()
    assert TOKEN not in str(caught.value) and len(pauses) == 4


# Secrets


def test_no_token_in_what_people_see(server, client, caplog):
    caplog.set_level(logging.DEBUG)
    server.say = lambda asked: Said(500, b"<html>")
    with pytest.raises(SamespaceError) as caught:
        client.version("m/1")
    seen = [repr(client), str(client), repr(client._server), repr(vars(client)), str(caught.value), repr(caught.value)]
    chain = caught.value
    while chain := chain.__cause__:
        seen.append(repr(chain))
    assert all(TOKEN not in text for text in [*seen, caplog.text])
    with pytest.raises((TypeError, AttributeError)):
        pickle.dumps(client)


@pytest.mark.parametrize(
    "url", ["http://user:pass@host", "ftp://host", "http://", "http://host?token=x", "http://host#x", "//host", "http://[::1", "http://host:99999"]
)  # fmt: skip
def test_addresses_that_are_none(url):
    with pytest.raises(InvalidInput) as caught:
        Transport(url, TOKEN, timeout=1)
    assert "pass" not in str(caught.value).replace("password", "") and TOKEN not in str(caught.value)


@pytest.mark.parametrize("token", ["ü", "a\r\nX-Evil: 1", "a\0b", "\ud800"])
def test_tokens_that_cannot_be_sent(server, token):
    server.say = lambda asked: told(VERSION)
    with pytest.raises(SamespaceError) as caught, Client(server.url, token=token) as client:
        client.version("m/1")
    assert "X-Evil" not in str(caught.value) and ascii(token)[1:-1] not in str(caught.value)
    assert all("X-Evil" not in asked.headers for asked in server.asked)


def test_the_classes_of_the_server_come_back(server, client):
    for status, code, cls in (
        (404, "not_found", NotFound),
        (429, "too_many", TooMany),
        (400, "bad_vector", InvalidInput),
    ):
        server.say = lambda asked, status=status, code=code: problem(status, code)
        with pytest.raises(cls):
            client.version("m/1")
