"""Slots of long streams come back, however the stream ends."""

from __future__ import annotations

import gc

import pytest

from registry.errors import Unavailable
from registry.settings import Settings
from web import create_app
from web.transfers import stream, transfer


@pytest.fixture
def app(registry):
    app = create_app(registry, settings=Settings(transfers=1))
    with app.app_context():
        yield app


def free():
    with transfer():
        return True


def test_a_slot_is_held_while_a_block_runs(app):
    with transfer(), pytest.raises(Unavailable, match="1 transfers run already"):
        free()
    with pytest.raises(ZeroDivisionError), transfer():
        raise ZeroDivisionError
    assert free()


def test_a_slot_is_held_until_a_stream_is_closed(app):
    body = stream(iter([b"a", b"b"]))
    assert list(body) == [b"a", b"b"]
    with pytest.raises(Unavailable):
        free()
    body.close()
    body.close()
    assert free()
    with transfer(), pytest.raises(Unavailable):  # closing twice gave back one slot, not two
        free()


def test_closing_a_stream_closes_what_it_streams(app):
    closed = []

    def pieces():
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    body = stream(pieces())
    assert next(body) == b"a"
    body.close()
    assert closed == [True]


def test_a_stream_that_nobody_starts_or_closes_gives_its_slot_back(app):
    body = stream(iter([b"a"]))
    del body
    gc.collect()
    assert free()


def test_a_full_server_asks_to_come_back(app):
    @app.get("/api/vectors")
    def vectors():
        return app.response_class(stream([b"a"]))

    client = app.test_client()
    with transfer():
        answer = client.get("/api/vectors")
        assert (answer.status_code, answer.json["error"]["code"]) == (503, "unavailable")
        assert answer.headers["Retry-After"]
    assert client.get("/api/vectors").text == "a"
    assert client.head("/api/vectors").status_code == 200
    assert client.get("/api/vectors").status_code == 200
