"""A real server under clients that are slow, silent or many, and while it stops."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

STREAMS = """
import time, web
from flask import Response, request
from web import limits, transfers
made = web.create_app

def slowly():
    for n in range(10):
        yield b"%d\\n" % n
        time.sleep(0.15)

def endlessly():
    while True:
        yield bytes(1 << 16)

def create_app(*args, **given):
    app = made(*args, **given)
    app.add_url_rule("/api/slow", "slow", lambda: Response(transfers.stream(slowly())))
    app.add_url_rule("/api/endless", "endless", lambda: Response(transfers.stream(endlessly())))
    app.add_url_rule("/api/taken", "taken", lambda: str(len(limits.vectors().read())), methods=["POST"])
    return app

web.create_app = create_app
"""
STALL_2_S = f"{STREAMS}\nfrom web import workers\nworkers.STALL_S = 2\n"


@pytest.fixture(scope="module")
def server(serving):
    """One process of few threads, two of which may be held; a client may stand still for 2 s."""
    return serving(before=STALL_2_S, workers=1, threads=4, transfers=2)


def quickly(server):
    begun = time.monotonic()
    status, _, _ = server.get("/api/v1/models")
    assert status == 200
    assert time.monotonic() - begun < 1


def metric(server, name):
    """The sum of a metric over its labels."""
    text = server.get("/metrics")[2].decode()
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


def cut_off(server):
    """How many endless answers ended, none of which is a failure of the server."""
    assert "Traceback" not in server.log.read_text()
    return sum(line.get("error") == "cut_off" and line["route"] == "/api/endless" for line in server.lines())


def until(true, seconds=15):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_stream_ends_before_the_server_does(serving):
    server = serving(before=STREAMS, workers=1)
    idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    idle.request("GET", "/healthz")
    idle.getresponse().read()  # and the connection stays open, as those of pooled clients do
    running = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    running.request("GET", "/api/slow")
    answer = running.getresponse()
    got = answer.readline()
    server.process.send_signal(signal.SIGTERM)
    until(lambda: not accepts(server))
    got += answer.read()
    assert got == b"".join(b"%d\n" % n for n in range(10))
    begun = time.monotonic()
    assert server.process.wait(60) == 0
    assert time.monotonic() - begun < 20  # the idle connection does not keep it waiting for all of its 30 s
    idle.close()
    running.close()


def accepts(server):
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
    except OSError:
        return False
    return True


def test_clients_that_read_nothing_do_not_block_the_others(server):
    before = cut_off(server)
    readers = [server.ask("/api/endless") for _ in range(10)]
    heads = [reader.recv(4096).partition(b"\r\n\r\n")[0] for reader in readers]
    assert sorted(head.split(b" ")[1] for head in heads) == [b"200"] * 2 + [b"503"] * 8
    assert all(b"Retry-After: 2" in head for head in heads if b" 503 " in head)
    for _ in range(5):
        quickly(server)
    assert metric(server, "samespace_running_transfers") == 2
    for reader in readers:
        reader.close()
    until(lambda: metric(server, "samespace_running_transfers") == 0)
    assert server.get("/api/slow")[0] == 200
    until(lambda: cut_off(server) == before + 2)


def test_clients_that_say_nothing_do_not_block_the_others(server):
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10)]
    quickly(server)
    for connection in silent:
        connection.close()


def test_clients_that_stand_still_are_dropped(server):
    before = cut_off(server)
    readers = [server.ask("/api/endless") for _ in range(2)]
    sender = socket.create_connection(("127.0.0.1", server.port))
    sender.sendall(b"POST /api/taken HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nfew")
    stuck = socket.create_connection(("127.0.0.1", server.port))
    stuck.sendall(b"GET /healthz HT")
    sender.settimeout(10)
    assert b" 400 " in sender.recv(4096)
    until(lambda: metric(server, "samespace_running_transfers") == 0)
    stuck.settimeout(10)
    assert stuck.recv(10) == b""
    until(lambda: cut_off(server) == before + 2)
    for reader in readers:
        reader.close()


def test_a_slow_reader_that_reads_is_served(server):
    reader = server.ask("/api/endless")
    for _ in range(12):  # for longer than a client may stand still
        assert reader.recv(1 << 16)
        time.sleep(0.25)
    reader.close()


def test_a_body_without_a_length_arrives(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("POST", "/api/taken", body=iter([b"a" * 70_000] * 30), encode_chunked=True)
    assert connection.getresponse().read() == b"2100000"
    connection.request("POST", "/api/taken", headers={"Transfer-Encoding": "chunked"}, body=b"no chunk\r\n")
    assert connection.getresponse().status == 400
    connection.close()
    assert "Traceback" not in server.log.read_text()


def test_all_processes_count_together_and_what_one_counted_outlives_it(serving):
    server = serving(workers=2)
    before = metric(server, "samespace_requests_total")
    asking = [threading.Thread(target=server.get, args=(f"/api/v1/models/none-{n}/versions",)) for n in range(20)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    # Each counts itself at its end, a moment after its client has it all; so does the question before.
    until(lambda: metric(server, "samespace_errors_total") == 20)
    assert metric(server, "samespace_requests_total") - before >= 21
    text = server.get("/metrics")[2].decode()
    assert 'samespace_errors_total{code="not_found"} 20.0' in text
    assert 'route="/api/v1/models/<model>/versions",status="404"} 20.0' in text
    assert "none-" not in text
    for worker in workers(server):
        os.kill(worker, signal.SIGKILL)
        until(lambda worker=worker: not Path(f"/proc/{worker}").exists())
    server.wait()
    assert 'samespace_errors_total{code="not_found"} 20.0' in server.get("/metrics")[2].decode()
    assert len(list(server.log.parent.glob("samespace-metrics-*"))) == 1
    server.stop()
    assert not list(server.log.parent.glob("samespace-metrics-*"))


def workers(server):
    master = server.process.pid
    return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]


def mine(server):
    return [line for line in server.lines() if line["request_id"].startswith("mine-")]


def test_the_log_is_lines_of_json(server):
    server.get("/api/v1/models?secret=hidden", X_Request_ID="mine-1")
    server.get("/nothing", X_Request_ID="mine-2")
    until(lambda: len(mine(server)) == 2)
    known, unknown = mine(server)
    assert {name: known[name] for name in ("level", "request_id", "method", "status", "error")} == {
        "level": "info", "request_id": "mine-1", "method": "GET", "status": 400, "error": "invalid_input",
    }  # fmt: skip
    assert known["route"] == "/api/v1/models"
    assert known["ms"] > 0 and known["bytes"] > 0 and known["time"].endswith("+00:00")
    assert unknown["route"] == "unmatched" and unknown["status"] == 404
    assert "hidden" not in server.log.read_text()


def test_long_heads_are_refused(server):
    for head in ("GET /" + "a" * 9000, "GET / HTTP/1.1\r\nX: " + "a" * 9000, "GET / HTTP/1.1" + "\r\nX: 1" * 70):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(f"{head}\r\nHost: localhost\r\n\r\n".encode())
            assert connection.recv(4096).split(b" ")[1] in (b"400", b"414", b"431")
    assert json.loads(server.get("/healthz")[2])["status"] == "ok"


@pytest.mark.parametrize("refused", [True, False], ids=["its body unread", "its body read"])
def test_a_request_that_comes_with_the_end_of_the_last_one_is_answered(server, refused):
    path = "/api/v1/models" if refused else "/api/taken"  # 405 before a body is looked at, or taken
    first = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    second = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall((first + second).encode())
        answers = b""
        while piece := connection.recv(1 << 16):
            answers += piece
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"405" if refused else b"200", b"200"]
