"""`samespace db` and `samespace doctor`, as they are typed."""

from __future__ import annotations

import json
import os
import time

import pytest

from registry import connect


@pytest.fixture
def held(lite, home, rows):
    lite.register_version("m", dim=4)
    lite.create_gallery("g")
    lite.append("g", version="m/1", ids=["a", "b"], vectors=rows(2, 4))
    home.chmod(0o700)
    return home


def test_backup_and_restore(samespace, held, tmp_path, rows):
    said = samespace("--home", held, "db", "backup", tmp_path / "b").output
    assert f"backed {held} up into {tmp_path / 'b'}: 1 galleries, " in said
    summary = json.loads(samespace("--json", "db", "restore", tmp_path / "b", "--dry-run").stdout)
    assert summary["galleries"] == 1 and summary["files"] > 4 and summary["bytes"] > 10000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "home"]
    assert "restored" in samespace("db", "restore", tmp_path / "b", "--home", tmp_path / "new").output
    assert "holds something" in samespace("--home", held, "db", "restore", tmp_path / "b", code=1).output
    samespace("--home", tmp_path / "new", "db", "check")
    with connect(tmp_path / "new") as reg:
        assert reg.search("g", rows(2, 4), version="m/1", k=1).ids[:, 0].tolist() == ["a", "b"]


@pytest.mark.postgres
def test_restore_asks_before_it_fills_a_database(samespace, held, tmp_path, postgres_url):
    samespace("--home", held, "db", "backup", tmp_path / "b")
    arguments = ["--database", postgres_url, "db", "restore", tmp_path / "b", "--home", tmp_path / "new"]
    assert "Aborted" in samespace(*arguments, code=1).output
    assert not (tmp_path / "new").exists()
    samespace(*arguments, "--yes")
    samespace("--home", tmp_path / "new", "--database", postgres_url, "db", "check")


def test_check_says_what_is_wrong_and_how_to_mend_it(samespace, held):
    report = json.loads(samespace("--home", held, "--json", "db", "check").stdout)
    assert report["revision"] == report["wanted"]
    assert {f["level"] for f in report["findings"]} == {"ok"}
    for file in (held / "galleries" / "g" / "m-1.lance" / "data").iterdir():
        file.unlink()
    said = samespace("--home", held, "db", "check", code=1).output
    assert "problem" in said and "g/m-1.lance" in said and "db restore" in said


def test_commands_make_no_home(samespace, tmp_path):
    for command in (["check"], ["backup", tmp_path / "b"]):
        assert "there is no registry at" in samespace("--home", tmp_path / "none", "db", *command, code=1).output
    assert "is a server" in samespace("--home", "http://h", "db", "check", code=1).output
    said = samespace("--home", tmp_path / "none", "doctor", code=1).output
    assert "there is no registry at" in said and "SAMESPACE_PORT" in said
    assert list(tmp_path.iterdir()) == []


def test_doctor_lists_settings_without_secrets(samespace, held, monkeypatch):
    monkeypatch.setenv("SAMESPACE_SECRET_KEY", "sekret")
    monkeypatch.setenv("SAMESPACE_WORKERS", "5")
    monkeypatch.setenv("SAMESPACE_TOKEN", "sekret")
    report = json.loads(samespace("--home", held, "--json", "doctor").stdout)
    settings = {s["variable"]: (s["value"], s["origin"]) for s in report["settings"]}
    assert settings["SAMESPACE_HOME"] == (str(held), "flag")
    assert settings["SAMESPACE_DATABASE"] == ("", "default")
    assert settings["SAMESPACE_WORKERS"] == ("5", "variable")
    assert settings["SAMESPACE_TOKEN"] == ("(hidden)", "variable")
    assert {f["level"] for f in report["findings"]} == {"ok"}
    assert settings["SAMESPACE_SECRET_KEY"] == ("(hidden)", "variable")
    assert report["left_behind"] == report["removed"] == []
    said = samespace("--home", held, "--database", "postgresql://ann:sekret@127.0.0.1:1/db", "doctor", code=1).output
    assert "ann:***@127.0.0.1" in said and "sekret" not in said
    monkeypatch.setenv("SAMESPACE_WORKERS", "many")
    said = samespace("--home", held, "doctor", code=1).output
    assert "SAMESPACE_WORKERS must be a whole number" in said and "unset it" in said


def test_doctor_removes_what_was_left_behind(samespace, held):
    stray = held / "transforms" / "x.safetensors.part"
    stray.write_bytes(b"12345")
    os.utime(stray, (time.time() - 2 * 86400,) * 2)
    assert "doctor --fix" in samespace("--home", held, "doctor").output
    assert "belong to --fix" in samespace("--home", held, "doctor", "--yes", code=2).output
    assert str(stray) in samespace("--home", held, "doctor", "--fix", "--dry-run", columns=300).output
    assert "Aborted" in samespace("--home", held, "doctor", "--fix", code=1).output
    assert stray.exists()
    report = json.loads(samespace("--home", held, "--json", "doctor", "--fix", "--yes").stdout)
    assert [o["path"] for o in report["removed"]] == [str(stray)]
    assert not stray.exists()
    assert "nothing was left behind" in samespace("--home", held, "doctor", "--fix", "--yes").output


@pytest.mark.parametrize("command", [("db", "upgrade"), ("db", "check"), ("db", "backup", "elsewhere")])
def test_a_server_is_looked_after_on_its_own_machine(samespace, command):
    said = samespace("--home", "http://127.0.0.1:1", *command, code=1).output
    assert "is a server: run this on its machine" in said


def test_a_missing_choice_is_told_in_one_line(samespace, home):
    said = samespace("--home", home, "token", "create", "ci", code=2).output
    assert len(said.splitlines()) == 1
    assert "reader, writer, admin" in said
