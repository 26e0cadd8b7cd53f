"""How much a request may hold, and how many there may be."""

from __future__ import annotations

import io

import pytest
from flask import request

from registry.settings import Settings
from web import assets, create_app
from web.limits import JSON_BYTES, vectors


class Unread(io.RawIOBase):
    """A body that must not be read."""

    def readable(self):
        return True

    def readinto(self, buffer):
        raise AssertionError("the body was read")


def pieces():
    body = vectors()
    return iter(lambda: body.read(100_000), b"")


@pytest.fixture
def client(registry):
    app = create_app(registry, settings=Settings(body_mb=2))
    app.add_url_rule("/api/json", "json", lambda: str(len(request.get_json())), methods=["POST"])
    app.add_url_rule("/api/vectors", "vectors", lambda: str(sum(map(len, pieces()))), methods=["POST"])
    return app.test_client()


def refused(answer, said):
    assert (answer.status_code, answer.json["error"]["code"]) == (413, "too_large")
    assert said in answer.json["error"]["message"]


def test_json_up_to_a_mebibyte(client):
    assert client.post("/api/json", json=["a" * 1000] * 1000).text == "1000"
    length = {"CONTENT_LENGTH": str(JSON_BYTES + 1), "wsgi.input": Unread()}
    refused(client.post("/api/json", content_type="application/json", environ_overrides=length), "1048576 bytes")


def test_vectors_up_to_the_setting(client):
    assert client.post("/api/vectors", data=b"a" * (2 << 20)).text == str(2 << 20)
    length = {"CONTENT_LENGTH": str((2 << 20) + 1), "wsgi.input": Unread()}
    refused(client.post("/api/vectors", environ_overrides=length), "2 MiB")


def test_a_body_without_a_length_is_cut(client):
    endless = {
        "wsgi.input": io.BytesIO(b"a" * (3 << 20)),
        "wsgi.input_terminated": True,
        "HTTP_TRANSFER_ENCODING": "chunked",
    }
    refused(client.post("/api/vectors", environ_overrides=endless), "2097152 bytes")


def test_a_body_that_ends_early_is_refused(client):
    early = {"wsgi.input": io.BytesIO(b"a" * 10), "CONTENT_LENGTH": "11", "wsgi.input_terminated": True}
    answer = client.post("/api/vectors", environ_overrides=early)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "bad_request")


def test_a_rate(registry):
    client = create_app(registry, settings=Settings(rate_limit="3 per minute")).test_client()
    for _ in range(3):
        assert client.get("/api/v1/models").status_code == 200
    answer = client.get("/api/v1/galleries")
    assert (answer.status_code, answer.json["error"]["code"]) == (429, "too_many")
    assert "3 per 1 minute" in answer.json["error"]["message"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert client.get("/healthz").status_code == 200
    assert client.get(f"{assets.prefix()}/css/base.css").status_code == 200
    other = client.get("/api/v1/models", headers={"Authorization": "Bearer other"})
    assert other.status_code != 429
    assert client.get("/api/v1/models", environ_overrides={"REMOTE_ADDR": "127.0.0.2"}).status_code == 200


def test_no_rate_unless_it_is_set(client):
    assert {client.get("/api/v1/models").status_code for _ in range(50)} == {200}
