"""The real server: it answers, stops gracefully, and opens nothing to the network."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from registry.errors import InvalidInput, Unavailable
from web.serving import serve

ROOT = Path(__file__).parents[2]
START_S, STOP_S = 60, 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(home, port, *, workers=2):
    code = f"from web.serving import serve; serve({str(home)!r}, port={port}, workers={workers})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for(port, server):
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
                return answer.status, json.load(answer)
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no answer: {server.communicate(timeout=STOP_S)[1] if server.poll() is not None else ''}")


def test_answers_and_stops_gracefully(tmp_path):
    home, port = tmp_path / "home", free_port()
    server = start(home, port)  # a home that is not there yet: both workers make it at once
    try:
        status, body = wait_for(port, server)
        assert (status, body["status"]) == (200, "ok")
        server.send_signal(signal.SIGTERM)
        log = server.communicate(timeout=STOP_S)[1]
    finally:
        server.kill()
    assert server.returncode == 0, log
    assert "Traceback" not in log


def test_a_worker_gives_its_connections_back(tmp_path):
    home, port = tmp_path / "home", free_port()
    # One worker: where two close at the same moment, SQLite may leave the empty log to whoever opens the file next.
    server = start(home, port, workers=1)
    try:
        wait_for(port, server)
        server.send_signal(signal.SIGTERM)
        log = server.communicate(timeout=STOP_S)[1]
    finally:
        server.kill()
    assert server.returncode == 0, log
    assert not (home / "registry.db-wal").exists()


def test_a_home_that_cannot_be_opened_is_told_in_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    server = start(tmp_path / "file", free_port(), workers=1)
    try:
        log = server.communicate(timeout=START_S)[1]
    finally:
        server.kill()
    assert server.returncode
    assert "choose a writable folder" in log
    assert "Traceback" not in log


def test_serving_loads_neither_mlflow_nor_torch(tmp_path):
    code = (
        "import sys; from web import create_app, serving; "
        f"create_app({str(tmp_path / 'home')!r}).test_client().get('/'); "
        "print([m for m in ('torch', 'mlflow', 'align') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])  # noqa: S104
def test_other_hosts_are_refused(tmp_path, host):
    with pytest.raises(InvalidInput, match="no tokens"):
        serve(str(tmp_path / "home"), host=host)
    assert not (tmp_path / "home").exists()


def test_bad_numbers_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="port must be"):
        serve(str(tmp_path), port=0)
    with pytest.raises(InvalidInput, match="workers"):
        serve(str(tmp_path), workers=0)


def test_a_taken_port_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unavailable, match="choose another port"):
            serve(str(tmp_path), port=taken.getsockname()[1])
