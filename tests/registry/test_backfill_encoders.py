"""Encoders of backfills: addresses that fail and come back, previews and Parquet files, models, and the pace."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.backfill import encoders
from registry.backfill.inputs import opened
from registry.backfill.pacing import Pace
from registry.errors import BadVector, Incompatible, InvalidInput, NotFound, Unavailable
from tests.web.mapping import PIXEL

IDS = [f"i{n}" for n in range(12)]


class Encoder(ThreadingHTTPServer):
    """Answers as `answers` says, one after the other, then with vectors of the lengths of what it is sent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked = [], []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/encode"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((body, self.headers.get("Authorization")))
        status, headers, answer = self.server.answers.pop(0) if self.server.answers else (200, {}, None)
        ((_, given),) = body.items()
        data = json.dumps({"vectors": [[len(str(v)), 1.0] for v in given]} if answer is None else answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def encoder():
    server = Encoder()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def shelf(lite):
    for width in (3, 2):
        lite.register_version("m", dim=width)
    lite.create_gallery("shelf")
    lite.append("shelf", version="m/1", ids=IDS, vectors=np.ones((len(IDS), 3)))
    return lite


def run(reg, place, **more):
    found = reg.plan_backfill("shelf", into="m/2", encoder=place, batch=4, **more)
    try:
        return reg.run_backfill(found.id)
    finally:
        run.last = reg.backfill(found.id)


def test_an_address_that_fails_for_a_while_is_asked_again(shelf, encoder, monkeypatch):
    monkeypatch.setattr(encoders, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setenv(encoders.TOKEN, "hush")
    encoder.answers = [(503, {}, "down"), (429, {"Retry-After": "0"}, "slower"), (500, {}, "no")]
    assert run(shelf, encoder.address).written == len(IDS)
    assert len(encoder.asked) == 3 + 3
    assert {token for _, token in encoder.asked} == {"Bearer hush"}
    assert sorted(id for body, _ in encoder.asked[3:] for id in body["ids"]) == sorted(IDS)
    assert "hush" not in str(shelf.backfills()) + str(shelf.changes())


def test_an_address_that_stays_down_pauses_it_with_what_is_done_kept(shelf, encoder, monkeypatch):
    monkeypatch.setattr(encoders, "_FIRST_WAIT_S", 0.001)
    encoder.answers = [(200, {}, None), *[(503, {}, "down")] * encoders.TRIES]
    with pytest.raises(Unavailable, match=f"answered 503, {encoders.TRIES} times"):
        run(shelf, encoder.address)
    assert (run.last.status, run.last.done, run.last.written) == ("paused", 4, 4)
    assert "503" in run.last.error
    shelf.resume_backfill(run.last.id)
    assert shelf.run_backfill(run.last.id).written == len(IDS)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ((400, {}, "what"), InvalidInput, "answered 400"),
        ((200, {}, {"vectors": [[1.0, None]] * 4}), InvalidInput, "numbers"),
        ((200, {}, {"vectors": [[0.0, 0.0]] * 4}), BadVector, "only zeros"),
        ((200, {}, {"vectors": [[1.0]] * 4}), ValueError, "1 dimensions, m/2 has 2"),
        ((200, {}, {"numbers": []}), Unavailable, "did not answer with vectors"),
    ],
)
def test_what_is_no_answer_is_not_stored(shelf, encoder, answer, error, says):
    encoder.answers = [answer] * 8
    with pytest.raises(error, match=says):
        run(shelf, encoder.address)
    assert (run.last.status, run.last.done) == ("paused", 0)
    assert [s.version for s in shelf.gallery("shelf").segments] == ["m/1"]


@pytest.mark.parametrize("status", [302, 401, 403, 404, 405])
def test_a_wrong_address_or_token_is_said_at_once_and_no_item_is_blamed(shelf, encoder, status):
    encoder.answers = [(status, {"Location": "http://127.0.0.1:1/"}, "no")] * 9
    with pytest.raises(Unavailable, match=f"answered {status}: check its address and SAMESPACE_ENCODER_TOKEN"):
        run(shelf, encoder.address)
    assert len(encoder.asked) == 1
    assert "item" not in run.last.error


def test_an_address_is_held_to_the_canaries(shelf, encoder):
    shelf.add_canaries("m/2", ["a", "text"], [[1.0, 1.0], [4.0, 1.0]])
    assert run(shelf, encoder.address).status == "finished"
    assert encoder.asked[0][0] == {"texts": ["a", "text"]}
    shelf.roll_back_backfill(run.last.id)
    encoder.answers = [(200, {}, {"vectors": [[1.0, 9.0]] * 2})]
    with pytest.raises(Incompatible, match="not the registered one"):
        run(shelf, encoder.address)


def test_previews_are_encoded(shelf, encoder):
    shelf.add_previews("shelf", IDS[:-1], texts=[f"text {id}" for id in IDS[:-1]])
    with pytest.raises(NotFound, match=r"no preview of item 'i11'.*add it, then resume"):
        run(shelf, encoder.address, inputs="previews")
    shelf.add_previews("shelf", IDS[-1:], texts=["late"])
    shelf.resume_backfill(run.last.id)
    assert shelf.run_backfill(run.last.id).written == len(IDS)
    assert {text for body, _ in encoder.asked for text in body["texts"]} >= {"text i0", "late"}


def test_a_column_of_a_file_is_encoded(shelf, encoder, tmp_path):
    (tmp_path / "pixel.png").write_bytes(PIXEL)
    table = pa.table(
        {
            "id": IDS,
            "text": [f"about {id}" for id in IDS],
            "picture": pa.array([PIXEL] * len(IDS)),
            "path": ["pixel.png"] * len(IDS),
        }
    )
    pq.write_table(table, tmp_path / "items.parquet")
    picture = base64.b64encode(PIXEL).decode()
    for column, kind, value in (
        ("text", "texts", None),
        ("picture", "pictures", picture),
        ("path", "pictures", picture),
    ):
        encoder.asked.clear()
        run(shelf, encoder.address, inputs=f"{tmp_path / 'items.parquet'}:{column}")
        shelf.roll_back_backfill(run.last.id)
        sent = [v for body, _ in encoder.asked for v in body[kind]]
        assert sorted(sent) == sorted([value] * len(IDS) if value else [f"about {id}" for id in IDS])


def test_a_batch_of_a_large_file_takes_the_memory_of_its_own_rows(lite, tmp_path):
    n, text, file = 30_000, "x" * 1000, tmp_path / "items.parquet"
    pq.write_table(pa.table({"id": [f"i{i}" for i in range(n)], "text": [f"{text}{i}" for i in range(n)]}), file)
    usual = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(usual)
    with opened(lite, "shelf", f"{file}:text") as read:
        pa.set_memory_pool(counted)
        try:
            given = read([f"i{i}" for i in range(0, n, 1000)])
        finally:
            pa.set_memory_pool(usual)
    assert given["texts"] == [f"{text}{i}" for i in range(0, n, 1000)]
    assert counted.max_memory() < 1 << 20  # the column has 30 MB


def test_what_a_file_lacks_is_named(shelf, encoder, tmp_path):
    pq.write_table(pa.table({"id": IDS[1:], "text": ["x", None, *IDS[3:]]}), tmp_path / "items.parquet")
    for inputs, says in (
        (f"{tmp_path}/items.parquet:text", "has no row of item 'i0'|is empty for item 'i2'"),
        (f"{tmp_path}/items.parquet:words", "no column 'words': it has id, text"),
        (f"{tmp_path}/none.parquet:text", "no Parquet file"),
    ):
        with pytest.raises((NotFound, InvalidInput), match=says):
            run(shelf, encoder.address, inputs=inputs)
        shelf.roll_back_backfill(run.last.id)


def test_a_function_that_is_not_there_is_said(shelf):
    for place in ("no_such_module:encode", "numpy:no_such_function"):
        with pytest.raises(InvalidInput, match="cannot be imported"):
            run(shelf, place)
        shelf.roll_back_backfill(run.last.id)


def test_the_rate_is_kept_smoothly():
    now, slept = [100.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(10, clock=lambda: now[0], sleep=sleep)
    assert pace.most(256) == 10
    for _ in range(5):
        pace.wait(10, lambda: True)
        now[0] += 0.2  # what encoding takes
        pace.done(10)
    assert now[0] == pytest.approx(104.2)
    assert max(slept) <= 0.5
    assert pace.measured == pytest.approx(10, rel=0.6)
    assert Pace(None).most(256) == 256
    pace.wait(10, lambda: False)  # paused: nobody waits
