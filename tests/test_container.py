"""Containerfile and compose.yaml: well formed, and true of the service. No container is built here."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from compose_spec import PyCompose

from registry.settings import Settings, variable
from web.serving import GRACE_S

ROOT = Path(__file__).parents[1]
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
KNOWN = {variable(setting.name) for setting in fields(Settings)} | {"SAMESPACE_HOME", "SAMESPACE_DATABASE"}


def instructions(name):
    """What follows `name` in each such instruction; lines that go on are joined."""
    whole = CONTAINERFILE.replace("\\\n", " ")
    return [" ".join(line.split()[1:]) for line in whole.splitlines() if line.startswith(f"{name} ")]


@pytest.fixture(scope="module")
def services():
    return PyCompose.from_yaml(COMPOSE).to_dict()["services"]


def variables():
    return dict(pair.split("=", 1) for line in instructions("ENV") for pair in line.split())


def test_the_linter_finds_nothing():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, ROOT / "Containerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_copied_exists_and_reaches_the_build():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [path for line in instructions("COPY") if "--from" not in line for path in line.split()[:-1]]
    assert {"registry", "web", "migrations", "constraints.txt"} <= set(copied)
    for path in copied:
        assert (ROOT / path).exists(), path
        assert f"!{path}" in ignored, path


def test_the_packages_of_the_wheel_are_all_copied():
    wheel = re.search(r"^packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    copied = " ".join(instructions("COPY")).split()
    assert all(package in copied for package in re.findall(r'"(\w+)"', wheel[1]))


def test_variables_are_settings():
    assert {name for name in variables() if name.startswith("SAMESPACE_")} <= KNOWN
    assert set(re.findall(r"SAMESPACE_\w+", CONTAINERFILE + COMPOSE)) <= KNOWN


def test_ports_and_folders_agree(services):
    port = str(Settings().port)
    assert variables()["SAMESPACE_PORT"] == port
    assert instructions("EXPOSE") == [port]
    assert services["samespace"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    home = variables()["SAMESPACE_HOME"]
    assert instructions("VOLUME") == [home]
    assert services["samespace"]["volumes"] == [f"home:{home}"]
    assert variables()["PYTHONPATH"] == "/app"
    assert "web /app/web" in instructions("COPY")


def test_nobody_is_root_and_nothing_is_written_but_the_volumes(services):
    assert instructions("USER") == ["10001:10001"]
    service = services["samespace"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


def test_the_container_may_stop_gracefully(services):
    assert int(services["samespace"]["stop_grace_period"].rstrip("s")) > GRACE_S


def test_the_database_is_ready_before_the_service_starts(services):
    assert services["samespace"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert "pg_isready" in services["database"]["healthcheck"]["test"]


def test_no_secret_is_written_down(services):
    assert services["database"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    assert "${POSTGRES_PASSWORD}" in services["samespace"]["environment"]["SAMESPACE_DATABASE"]
    assert not re.search(r"PASSWORD|SECRET|TOKEN", CONTAINERFILE)


def test_the_health_check_runs(tmp_path):
    check = re.search(r'CMD \["python", "-c", "(.*)"\]', CONTAINERFILE)[1]
    compile(check, "HEALTHCHECK", "exec")
    assert "/healthz" in check
    environment = {"SAMESPACE_PORT": "1"}  # where nobody listens
    assert subprocess.run([sys.executable, "-c", check], env=environment, capture_output=True).returncode == 1
