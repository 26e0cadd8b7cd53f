"""The README does what it says: its Python and its commands are run as they are written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language, containing):
    found = [b for b in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in b]
    assert len(found) == 1, f"one {language} block with {containing!r}"
    return found[0]


def test_the_python_lines(tmp_path):
    code = block("python", 'connect("./home")')
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "upgrade without backfill"
    assert "['a' 'b']" in done.stdout and "['b' 'a']" in done.stdout, "each query finds its own item first"


def test_the_python_lines_need_the_transform_and_the_evaluation(tmp_path):
    code = block("python", 'connect("./home")')
    for missing, error in (("reg.add_transform", "Incompatible"), ("reg.evaluate", "Unmeasured")):
        lines = [line for line in code.splitlines() if not line.startswith((missing, "print(reg.compare"))]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        home = tmp_path / error
        home.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)], cwd=home, env=env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode != 0
        assert f"registry.errors.{error}:" in done.stderr


def test_the_commands_step_by_step(tmp_path, monkeypatch, samespace):
    commands = [shlex.split(line, comments=True) for line in block("sh", "samespace train independent").splitlines()]
    commands = [c[1:] for c in commands if c and c != ["samespace", "serve"]]
    assert len(commands) >= 12
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAMESPACE_HOME", "./home")
    for command in commands:
        done = samespace(*command)
    assert "digits/2 instead of digits/1, on bench: upgrade without backfill" in done.stdout
