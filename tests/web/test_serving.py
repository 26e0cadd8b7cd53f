"""The real server: it answers, stops gracefully, and opens nothing to the network."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from registry.errors import InvalidInput, Unavailable
from registry.settings import Settings
from web.serving import serve

ROOT = Path(__file__).parents[2]


def test_answers_and_stops_gracefully(serving, tmp_path):
    server = serving(tmp_path / "home")  # a home that is not there yet: both workers make it at once
    status, _, body = server.get("/healthz")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    assert server.stop() == 0
    assert server.log.read_text() == ""
    assert server.process.stdout.read() == f"samespace is at http://127.0.0.1:{server.port}  (Ctrl-C stops it)\n"


def test_a_worker_gives_its_connections_back(serving, tmp_path):
    # One worker: where two close at the same moment, SQLite may leave the empty log to whoever opens the file next.
    server = serving(tmp_path / "home", workers=1)
    assert server.get("/readyz")[0] == 200
    assert server.stop() == 0
    assert not (tmp_path / "home" / "registry.db-wal").exists()


def test_a_home_that_cannot_be_opened_is_told_in_a_line(serving, tmp_path):
    (tmp_path / "file").write_text("")
    server = serving(tmp_path / "file", wait=False, workers=1)
    assert server.process.wait(60)
    log = server.log.read_text()
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


def test_nothing_that_a_fork_breaks_is_loaded_before_it():
    code = (
        "import sys; import web.serving; "
        "print([m for m in ('lance', 'faiss', 'prometheus_client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])  # noqa: S104
def test_other_hosts_are_refused(tmp_path, host):
    with pytest.raises(InvalidInput, match="no tokens"):
        serve(str(tmp_path / "home"), Settings(host=host))
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"port": 0}, "port must be 1 to 65535, got 0"),
        ({"workers": 0}, "workers must be 1 to 64, got 0"),
        ({"threads": 1}, "threads must be 2"),
        ({"threads": 4, "transfers": 4}, "transfers must be 1 to 3, fewer than the 4 threads, got 4"),
        ({"body_mb": 0}, "body_mb must be"),
        ({"log_level": "loud"}, "log_level must be one of debug, info, warning, error, got 'loud'"),
        ({"encoders": "products/1=os.system"}, "give package.module:function, or an http address"),
        ({"rate_limit": "many"}, "rate_limit must be like '600 per minute', got 'many'"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, given, said):
    with pytest.raises(InvalidInput, match=said):
        serve(str(tmp_path), Settings(**given))


def test_a_taken_port_is_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unavailable, match="choose another port"):
            serve(str(tmp_path), Settings(port=taken.getsockname()[1]))
