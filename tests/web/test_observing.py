"""Ids, log lines and metrics of requests."""

from __future__ import annotations

import json
import logging

import pytest
from flask import Response, g

from web import create_app
from web.access import Caller
from web.logs import JsonLines
from web.observing import count_rows
from web.transfers import stream


@pytest.fixture
def app(registry):
    app = create_app(registry)

    @app.get("/api/rows")
    def rows():
        g.caller = Caller("reader-1", "reader")

        def pieces():
            for n in range(3):
                count_rows(fetched=10)
                logging.getLogger("web").warning("piece %d", n)
                yield b"1234"

        return Response(stream(pieces()))

    @app.get("/api/fails")
    def fails():
        def pieces():
            yield b"1234"
            raise RuntimeError("half way")

        return Response(stream(pieces()))

    return app


@pytest.fixture
def log(caplog):
    """What is logged, as the server would write it; each line is made at once, within its request."""
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(json.loads(JsonLines().format(record)))

    handler, logger = Lines(), logging.getLogger("web")
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    yield lines
    logger.removeHandler(handler)
    logger.setLevel("NOTSET")


def read(app, path, **headers):
    """All of an answer, and its end."""
    with app.test_client().get(path, headers=headers) as answer:
        return answer, answer.data


def metrics(app):
    return read(app, "/metrics")[1].decode()


@pytest.mark.parametrize("given", ["a", "A-b.c_9", "x" * 64])
def test_an_id_is_taken_over(app, given):
    assert read(app, "/healthz", **{"X-Request-ID": given})[0].headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "ä", "a\tb", '"', None])
def test_other_ids_are_made_here(app, given):
    made = [read(app, "/healthz", **({"X-Request-ID": given} if given is not None else {})) for _ in range(2)]
    one, other = (answer.headers["X-Request-ID"] for answer, _ in made)
    assert one != other
    assert given not in (one, other)
    assert len(one) == 16


@pytest.mark.parametrize("path", ["/api/v1/models/nothing/versions", "/api/v1/nothing", "/"])
def test_an_error_has_the_id(app, path):
    answer, body = read(app, path, **{"X-Request-ID": "mine", "Host": "evil.example" if path == "/" else "localhost"})
    assert answer.headers["X-Request-ID"] == "mine"
    if path != "/":
        assert json.loads(body)["error"]["request_id"] == "mine"


def test_every_line_of_a_request_has_its_id(app, log):
    read(app, "/api/rows?token=hidden", **{"X-Request-ID": "mine"})
    assert [line["message"] for line in log] == ["piece 0", "piece 1", "piece 2", "GET /api/rows 200"]
    assert {line["request_id"] for line in log} == {"mine"}
    last = log[-1]
    assert (last["method"], last["route"], last["status"], last["bytes"], last["caller"]) == (
        "GET", "/api/rows", 200, 12, "reader-1",
    )  # fmt: skip
    assert "error" not in last
    assert "hidden" not in json.dumps(log)
    log.clear()
    logging.getLogger("web").warning("between")
    assert "request_id" not in log[0]


def test_a_failure_is_logged_with_its_code(app, log):
    read(app, "/api/v1/models/nothing/versions")
    assert (log[-1]["status"], log[-1]["error"], log[-1]["level"]) == (404, "not_found", "info")


def test_probes_are_logged_only_where_everything_is(app, log):
    read(app, "/healthz")
    assert log[-1]["level"] == "debug"


def test_an_answer_that_is_not_read_to_its_end(app, log):
    answer = app.test_client().get("/api/rows")
    answer.close()
    assert log[-1]["error"] == "cut_off"
    assert 'samespace_errors_total{code="cut_off"} 1.0' in metrics(app)


def test_an_answer_that_fails_half_way(app, log):
    answer = app.test_client().get("/api/fails")
    with pytest.raises(RuntimeError):
        _ = answer.data
    answer.close()
    assert (log[-1]["status"], log[-1]["error"]) == (200, "internal_error")


def test_metrics(app):
    read(app, "/api/rows")
    for name in ("one", "two"):
        read(app, f"/api/v1/models/{name}/versions")
    read(app, "/no/such/page")
    app.test_client().open("/healthz", method="BREW").close()
    text = metrics(app)
    for line in (
        'samespace_requests_total{method="GET",route="/api/rows",status="200"} 1.0',
        'samespace_requests_total{method="GET",route="/api/v1/models/<model>/versions",status="404"} 2.0',
        'samespace_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'samespace_requests_total{method="other",route="unmatched",status="405"} 1.0',
        'samespace_request_seconds_count{route="/api/rows"} 1.0',
        'samespace_errors_total{code="not_found"} 3.0',
        "samespace_fetched_rows_total 30.0",
        "samespace_running_transfers 0.0",
    ):
        assert line in text
    assert "no/such" not in text


def test_bytes_are_counted(app):
    app.post("/api/count")(lambda: str(count()))

    def count():
        from web.limits import vectors

        count_rows(appended=5)
        return len(vectors().read())

    with app.test_client().post("/api/count", data=b"a" * 100_000) as answer:
        assert answer.data == b"100000"
    text = metrics(app)
    assert "samespace_received_bytes_total 100000.0" in text
    assert "samespace_appended_rows_total 5.0" in text
    assert "samespace_sent_bytes_total 6.0" in text
